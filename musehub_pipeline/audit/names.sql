-- The statements of `names.py`. Deleted repos are left out.

-- name: names_counts
-- How much there is to look at.
SELECT
    (SELECT count(*) FROM musehub_branches JOIN musehub_repos USING (repo_id)
        WHERE deleted_at IS NULL AND (%(only)s::text IS NULL OR repo_id = %(only)s)) AS branches,
    (SELECT count(*) FROM musehub_snapshots JOIN musehub_repos USING (repo_id)
        WHERE deleted_at IS NULL AND (%(only)s::text IS NULL OR repo_id = %(only)s)) AS snapshots;

-- name: names_of_branches
-- Some branches, the next after a row.
SELECT b.repo_id, b.name
FROM musehub_branches AS b
JOIN musehub_repos AS r USING (repo_id)
WHERE r.deleted_at IS NULL AND (%(only)s::text IS NULL OR b.repo_id = %(only)s)
    AND (b.repo_id, b.name) > (%(repo_id)s, %(name)s)
ORDER BY b.repo_id, b.name
LIMIT %(most)s;

-- name: names_in_manifests
-- The paths of some snapshots, the next after a row: of one, or of as many as are not too large together.
SELECT sized.repo_id, sized.snapshot_id, ARRAY (
    SELECT jsonb_object_keys(CASE jsonb_typeof(sized.manifest) WHEN 'object' THEN sized.manifest ELSE '{}' END)
)
FROM (
    SELECT next.*, sum(size_bytes) OVER (ORDER BY next.repo_id, next.snapshot_id) - size_bytes AS bytes_before
    FROM (
        SELECT s.repo_id, s.snapshot_id, s.manifest, pg_column_size(s.manifest) AS size_bytes
        FROM musehub_snapshots AS s
        JOIN musehub_repos AS r USING (repo_id)
        WHERE r.deleted_at IS NULL AND (%(only)s::text IS NULL OR s.repo_id = %(only)s)
            AND (s.repo_id, s.snapshot_id) > (%(repo_id)s, %(name)s)
        ORDER BY s.repo_id, s.snapshot_id
        LIMIT %(most)s
    ) AS next
) AS sized
WHERE sized.bytes_before < %(most_bytes)s
ORDER BY sized.repo_id, sized.snapshot_id;
