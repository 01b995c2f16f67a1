-- The questions of `fsck.py`: each gives the rows that break an invariant. What is noted in the
-- tables fsck_*, `fsck_tables.sql` tells.

-- name: fsck_jobs
-- Jobs that ended without saying how, or that are running and nobody works on. `now()` is the moment
-- before the rows are seen: a lease that is renewed later is not taken for expired.
SELECT j.job_id, breach.message
FROM musehub_background_jobs AS j
CROSS JOIN LATERAL (
    VALUES
        (j.status = 'failed' AND j.error_code IS NULL, 'is failed, without an error_code'),
        (j.status = 'failed' AND j.finished_at IS NULL, 'is failed, without finished_at'),
        (j.status = 'done' AND jsonb_typeof(j.result) IS DISTINCT FROM 'object', 'is done, without a result'),
        (j.status = 'done' AND j.finished_at IS NULL, 'is done, without finished_at'),
        (j.status = 'done' AND j.index_version IS NULL, 'is done, without an index_version'),
        (j.status = 'running' AND j.run_id IS NULL, 'is running, without a run_id'),
        (j.status = 'running' AND j.lease_expires_at IS NULL, 'is running, without a lease'),
        (
            j.status = 'running' AND j.lease_expires_at < now(),
            'is running, and its lease expired at '
            || to_char(j.lease_expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        ),
        (
            j.status NOT IN ('pending', 'running', 'done', 'failed'),
            'has a status that is none: ' || j.status
        )
) AS breach (found, message)
WHERE j.job_type = 'mpack.index' AND (%(repo_id)s::text IS NULL OR j.repo_id = %(repo_id)s) AND breach.found
ORDER BY j.job_id, breach.message;

-- name: fsck_heads
-- Branches that stand at a commit which the repo lacks.
SELECT b.repo_id, b.name, 'its head ' || b.head_commit_id || ' is no commit of the repo'
FROM musehub_branches AS b
JOIN fsck_repos USING (repo_id)
WHERE b.head_commit_id <> '' AND NOT EXISTS (
    SELECT FROM musehub_commits AS c WHERE c.repo_id = b.repo_id AND c.commit_id = b.head_commit_id
)
ORDER BY b.repo_id, b.name;

-- name: fsck_commits_without_snapshot
-- Commits whose snapshot the repo lacks.
SELECT c.repo_id, c.commit_id, 'its snapshot ' || c.snapshot_id || ' is not in the repo'
FROM musehub_commits AS c
JOIN fsck_repos USING (repo_id)
WHERE NOT EXISTS (
    SELECT FROM musehub_snapshots AS s WHERE s.repo_id = c.repo_id AND s.snapshot_id = c.snapshot_id
)
ORDER BY c.repo_id, c.commit_id;

-- name: fsck_commits_without_parent
-- Commits of which the repo lacks a parent. What is no list is taken for a parent that is missing.
SELECT c.repo_id, c.commit_id, 'its parent ' || coalesce(parent_id, 'null') || ' is not in the repo'
FROM musehub_commits AS c
JOIN fsck_repos USING (repo_id)
CROSS JOIN LATERAL jsonb_array_elements_text(
    CASE jsonb_typeof(c.parent_ids) WHEN 'array' THEN c.parent_ids ELSE jsonb_build_array(c.parent_ids) END
) AS parent_id
WHERE NOT EXISTS (
    SELECT FROM musehub_commits AS parent
    WHERE parent.repo_id = c.repo_id AND parent.commit_id = parent_id
)
ORDER BY c.repo_id, c.commit_id, parent_id;

-- name: fsck_manifests
-- Objects that a manifest names and that have no row, or that the repo does not hold. Each is told once
-- for a repo, at the first snapshot that names it.
SELECT
    n.repo_id, n.snapshot_id,
    'its manifest names ' || coalesce(n.object_id, 'null') || ', which has '
    || concat_ws(
        ' and ',
        CASE WHEN o.object_id IS NULL THEN 'no object row' END,
        CASE WHEN r.object_id IS NULL THEN 'no ref in the repo' END
    )
FROM (
    SELECT repo_id, object_id, min(snapshot_id) AS snapshot_id FROM fsck_named GROUP BY repo_id, object_id
) AS n
LEFT JOIN musehub_objects AS o ON o.object_id = n.object_id
LEFT JOIN musehub_object_refs AS r ON r.repo_id = n.repo_id AND r.object_id = n.object_id
WHERE o.object_id IS NULL OR r.object_id IS NULL
ORDER BY n.repo_id, n.snapshot_id, n.object_id;

-- name: fsck_objects
-- Object rows without their bytes; of one repo, those that it holds.
SELECT
    o.object_id,
    CASE
        WHEN s.object_id IS NULL THEN 'has ' || o.size_bytes || ' bytes, and nothing is stored'
        ELSE 'has ' || o.size_bytes || ' bytes, and ' || s.size_bytes || ' are stored'
    END
FROM musehub_objects AS o
LEFT JOIN fsck_stored AS s ON s.object_id = o.object_id
WHERE s.size_bytes IS DISTINCT FROM o.size_bytes AND (
    %(repo_id)s::text IS NULL OR EXISTS (
        SELECT FROM musehub_object_refs AS r WHERE r.repo_id = %(repo_id)s AND r.object_id = o.object_id
    )
)
ORDER BY o.object_id;

-- fragment: supplied
-- What done jobs supplied to their repos, each thing once, and how many rows it has.
SELECT supplied.repo_id, supplied.id,
    'job ' || supplied.job_id || ' supplied it, and it has ' || count(stored.repo_id) || ' rows',
    supplied.job_id
FROM (
    SELECT i.kind, p.repo_id, i.id, min(p.job_id) AS job_id
    FROM fsck_items AS i JOIN fsck_pushes AS p USING (mpack)
    WHERE p.done
    GROUP BY i.kind, p.repo_id, i.id
) AS supplied

-- fragment: not_one_row
-- Only what has none, or several.
GROUP BY supplied.repo_id, supplied.id, supplied.job_id
HAVING count(stored.repo_id) <> 1
ORDER BY supplied.repo_id, supplied.id;

-- name: fsck_supplied_objects
-- Objects of done jobs that have not one row.
SELECT supplied.id, 'job ' || supplied.job_id || ' supplied it, and it has ' || count(o.object_id) || ' rows',
    supplied.job_id
FROM (
    SELECT i.id, min(p.job_id) AS job_id
    FROM fsck_items AS i JOIN fsck_pushes AS p USING (mpack)
    WHERE p.done AND i.kind = 'object'
    GROUP BY i.id
) AS supplied
LEFT JOIN musehub_objects AS o ON o.object_id = supplied.id
GROUP BY supplied.id, supplied.job_id
HAVING count(o.object_id) <> 1
ORDER BY supplied.id;

-- name: fsck_supplied_refs
-- Objects of done jobs on which their repo has not one ref.
-- include: supplied
LEFT JOIN musehub_object_refs AS stored ON stored.repo_id = supplied.repo_id AND stored.object_id = supplied.id
WHERE supplied.kind = 'object'
-- include: not_one_row

-- name: fsck_supplied_snapshots
-- Snapshots of done jobs that have not one row in their repo.
-- include: supplied
LEFT JOIN musehub_snapshots AS stored ON stored.repo_id = supplied.repo_id AND stored.snapshot_id = supplied.id
WHERE supplied.kind = 'snapshot'
-- include: not_one_row

-- name: fsck_supplied_commits
-- Commits of done jobs that have not one row in their repo.
-- include: supplied
LEFT JOIN musehub_commits AS stored ON stored.repo_id = supplied.repo_id AND stored.commit_id = supplied.id
WHERE supplied.kind = 'commit'
-- include: not_one_row

-- name: fsck_refs
-- Refs that no job of the repo accounts for, where all that may have been pushed can be read.
SELECT u.repo_id, u.object_id, 'no job of the repo supplied it'
FROM fsck_unsupplied AS u
JOIN fsck_repos AS r USING (repo_id)
WHERE r.readable AND u.created_at >= r.judged_from
ORDER BY u.repo_id, u.object_id;
