-- The statements of `index.py`.
--
-- Rows of the index are written lazily: they need not be on disk before the commit that publishes
-- them, and that one waits for all before it.

-- name: repos
-- Which of the repos exist, and which are deleted.
SELECT repo_id, deleted_at IS NOT NULL AS deleted FROM musehub_repos WHERE repo_id = ANY(%(repo_ids)s);

-- name: branch_heads
-- Where branches stand.
SELECT repo_id, name, head_commit_id
FROM unnest(%(repo_ids)s::text[], %(names)s::text[]) AS asked (repo_id, name)
JOIN musehub_branches USING (repo_id, name);

-- name: walk
-- Walk from the commits in `begin` over parents, nearest first, up to `most` commits with `begin` among
-- them. `found`: how many of `sought` were met; `reached`: how many commits were. LIMIT 1 changes no
-- result, but makes the planner look up each parent by its key, whatever it thinks of a growing table.
WITH RECURSIVE line AS (
    SELECT commit_id, parent_ids FROM musehub_commits
    WHERE repo_id = %(repo_id)s AND commit_id = ANY(%(begin)s)
    UNION
    SELECT parent.commit_id, parent.parent_ids
    FROM line
    CROSS JOIN LATERAL jsonb_array_elements_text(
        CASE jsonb_typeof(line.parent_ids) WHEN 'array' THEN line.parent_ids END
    ) AS parent_id
    CROSS JOIN LATERAL (
        SELECT commit_id, parent_ids FROM musehub_commits
        WHERE repo_id = %(repo_id)s AND commit_id = parent_id
        LIMIT 1
    ) AS parent
)
SELECT count(*) FILTER (WHERE commit_id = ANY(%(sought)s)) AS found, count(*) AS reached
FROM (SELECT commit_id FROM line LIMIT %(most)s) AS nearest;

-- name: estimated_rows
-- About how many rows tables have, as of when they were last vacuumed or analyzed: what the catalogue
-- knows, and no scan. Of a table that never was, it knows nothing.
SELECT named.name, pg_class.reltuples::bigint AS rows
FROM unnest(%(tables)s::text[]) AS named (name)
JOIN pg_class ON pg_class.oid = to_regclass(named.name)
WHERE pg_class.reltuples >= 0;

-- name: verified_mpacks
-- Which of the mpacks were judged, and indexed, for whatever repo: every content in them hashes to its id.
SELECT DISTINCT payload ->> 'mpack_key' AS mpack_key
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status = 'done' AND index_version = %(index_version)s
    AND payload ->> 'mpack_key' = ANY(%(mpack_keys)s);

-- name: sizes_of_objects
-- Which of the objects have a row, and of what size; one that tells none is healed like one that is wrong.
SELECT object_id, size_bytes FROM musehub_objects
WHERE object_id = ANY(%(ids)b) AND size_bytes IS NOT NULL;

-- name: held_objects
-- Which of the objects the repo holds.
SELECT object_id FROM musehub_object_refs
WHERE repo_id = %(repo_id)s AND object_id = ANY(%(ids)b);

-- name: held_objects_together
-- Which of them several repos hold.
SELECT repo_id, object_id
FROM unnest(%(repo_ids)b::text[], %(ids)b::text[]) AS asked (repo_id, object_id)
JOIN musehub_object_refs USING (repo_id, object_id);

-- name: held_snapshots
-- Which of the snapshots the repo holds.
SELECT snapshot_id FROM musehub_snapshots
WHERE repo_id = %(repo_id)s AND snapshot_id = ANY(%(ids)b);

-- name: held_snapshots_together
-- Which of them several repos hold.
SELECT repo_id, snapshot_id
FROM unnest(%(repo_ids)b::text[], %(ids)b::text[]) AS asked (repo_id, snapshot_id)
JOIN musehub_snapshots USING (repo_id, snapshot_id);

-- name: held_commits
-- Which of the commits the repo holds.
SELECT commit_id FROM musehub_commits
WHERE repo_id = %(repo_id)s AND commit_id = ANY(%(ids)b);

-- name: held_commits_together
-- Which of them several repos hold.
SELECT repo_id, commit_id
FROM unnest(%(repo_ids)b::text[], %(ids)b::text[]) AS asked (repo_id, commit_id)
JOIN musehub_commits USING (repo_id, commit_id);

-- fragment: lazily
-- One row: the disk is not waited for. None, and nothing is written, if the server has crashed since the run
-- began: what these rows point at may be lost.
lazily AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true)
    WHERE %(run_id)s::text IS NULL
        OR EXISTS (SELECT FROM musehub_pipeline_witnesses WHERE run_id = %(run_id)s)
)

-- fragment: insert_objects
-- Rows for stored bytes; a row of another size, or of bytes that lay elsewhere, is healed.
WITH
    -- include: lazily
INSERT INTO musehub_objects AS existing (object_id, size_bytes, storage_uri, created_at)
SELECT object_id, size_bytes, %(uri)s || substr(object_id, 8, 2) || '/' || substr(object_id, 8), now()
FROM lazily, unnest(%(ids)b::text[], %(sizes)b::bigint[]) AS new (object_id, size_bytes)
ON CONFLICT (object_id) DO UPDATE
SET size_bytes = excluded.size_bytes, storage_uri = excluded.storage_uri
WHERE (existing.size_bytes, existing.storage_uri)
    IS DISTINCT FROM (excluded.size_bytes, excluded.storage_uri)

-- name: insert_objects
-- include: insert_objects
;

-- name: insert_objects_together
-- include: insert_objects
RETURNING '', object_id;

-- name: upsert_object_refs
-- The repo's refs to objects that it supplied.
WITH
    -- include: lazily
INSERT INTO musehub_object_refs (repo_id, object_id, created_at)
SELECT %(repo_id)s, object_id, now() FROM lazily, unnest(%(ids)b::text[]) AS new (object_id)
ON CONFLICT DO NOTHING;

-- name: upsert_object_refs_together
-- Those of several repos.
WITH
    -- include: lazily
INSERT INTO musehub_object_refs (repo_id, object_id, created_at)
SELECT repo_id, object_id, now()
FROM lazily, unnest(%(repo_ids)b::text[], %(ids)b::text[]) AS new (repo_id, object_id)
ON CONFLICT DO NOTHING
RETURNING repo_id, object_id;

-- name: insert_snapshots
-- Manifests of the repo.
WITH
    -- include: lazily
INSERT INTO musehub_snapshots (repo_id, snapshot_id, manifest, created_at)
SELECT %(repo_id)s, snapshot_id, manifest::jsonb, coalesce(created_at, now())
FROM lazily, unnest(%(ids)b::text[], %(manifests)b::text[], %(created)b::timestamptz[])
    AS new (snapshot_id, manifest, created_at)
ON CONFLICT DO NOTHING;

-- name: insert_snapshots_together
-- Manifests of several repos.
WITH
    -- include: lazily
INSERT INTO musehub_snapshots (repo_id, snapshot_id, manifest, created_at)
SELECT repo_id, snapshot_id, manifest::jsonb, coalesce(created_at, now())
FROM lazily, unnest(
    %(repo_ids)b::text[], %(ids)b::text[], %(manifests)b::text[], %(created)b::timestamptz[]
) AS new (repo_id, snapshot_id, manifest, created_at)
ON CONFLICT DO NOTHING
RETURNING repo_id, snapshot_id;

-- name: insert_commits
-- Commits of the repo.
WITH
    -- include: lazily
INSERT INTO musehub_commits (
    repo_id, commit_id, branch, parent_ids, message, author, timestamp, snapshot_id, commit_meta,
    created_at
)
SELECT
    %(repo_id)s, commit_id, branch, parent_ids::jsonb, message, author, timestamp, snapshot_id,
    commit_meta::jsonb, now()
FROM lazily, unnest(
    %(commit_id)b::text[], %(branch)b::text[], %(parent_ids)b::text[], %(message)b::text[],
    %(author)b::text[], %(timestamp)b::timestamptz[], %(snapshot_id)b::text[],
    %(commit_meta)b::text[]
) AS new (commit_id, branch, parent_ids, message, author, timestamp, snapshot_id, commit_meta)
ON CONFLICT DO NOTHING;

-- name: insert_commits_together
-- Commits of several repos.
WITH
    -- include: lazily
INSERT INTO musehub_commits (
    repo_id, commit_id, branch, parent_ids, message, author, timestamp, snapshot_id, commit_meta,
    created_at
)
SELECT
    repo_id, commit_id, branch, parent_ids::jsonb, message, author, timestamp, snapshot_id,
    commit_meta::jsonb, now()
FROM lazily, unnest(
    %(repo_ids)b::text[], %(commit_id)b::text[], %(branch)b::text[], %(parent_ids)b::text[],
    %(message)b::text[], %(author)b::text[], %(timestamp)b::timestamptz[],
    %(snapshot_id)b::text[], %(commit_meta)b::text[]
) AS new (
    repo_id, commit_id, branch, parent_ids, message, author, timestamp, snapshot_id, commit_meta
)
ON CONFLICT DO NOTHING
RETURNING repo_id, commit_id;
