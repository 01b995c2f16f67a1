-- The statements of `fsck_tables.py`. They run in a transaction, on tables of its own that go with it: what
-- storage holds is noted there, so that PostgreSQL compares whole sets.

-- name: fsck_begin
-- See every table as it is at one moment, whatever is written meanwhile.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- name: fsck_make_repos
-- The repos that are looked at, and what can be said of their refs: see `fsck_refs`.
CREATE TEMP TABLE fsck_repos (
    repo_id text PRIMARY KEY,
    judged_from timestamptz NOT NULL,
    readable boolean NOT NULL DEFAULT true
) ON COMMIT DROP;

-- name: fsck_make_pushes
-- The mpacks that were read whole, by number, and for each repo a job that pushed it.
CREATE TEMP TABLE fsck_pushes (mpack integer, repo_id text, job_id text, done boolean) ON COMMIT DROP;

-- name: fsck_make_items
-- What is in these mpacks.
CREATE TEMP TABLE fsck_items (mpack integer, kind text, id text) ON COMMIT DROP;

-- name: fsck_make_unsupplied
-- The refs that no done job accounts for.
CREATE TEMP TABLE fsck_unsupplied (repo_id text, object_id text, created_at timestamptz) ON COMMIT DROP;

-- name: fsck_make_named
-- The objects that manifests name, and for each some snapshots that do.
CREATE TEMP TABLE fsck_named (repo_id text, object_id text, snapshot_id text) ON COMMIT DROP;

-- name: fsck_make_stored
-- The objects that storage holds.
CREATE TEMP TABLE fsck_stored (object_id text, size_bytes bigint) ON COMMIT DROP;

-- name: fsck_analyze
-- Tell the planner how large they have become: nobody else looks at tables of a session.
ANALYZE fsck_repos, fsck_pushes, fsck_items, fsck_unsupplied, fsck_named, fsck_stored;

-- name: fsck_note_repos
-- The repos that are not deleted. Rows of done jobs may have been pruned, the oldest first; what these
-- wrote is older than the end of the first one that is left, which may have been indexed again since.
-- Where nothing was published, none was pruned.
INSERT INTO fsck_repos (repo_id, judged_from)
SELECT r.repo_id, CASE WHEN r.pushed_at IS NULL THEN '-infinity' ELSE coalesce(min(j.done_at), 'infinity') END
FROM musehub_repos AS r
LEFT JOIN (
    SELECT repo_id,
        -- include: first_done_at
        AS done_at
    FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status = 'done'
) AS j USING (repo_id)
WHERE r.deleted_at IS NULL AND (%(repo_id)s::text IS NULL OR r.repo_id = %(repo_id)s)
    AND (%(repo_ids)s::text[] IS NULL OR r.repo_id = ANY(%(repo_ids)s))
GROUP BY r.repo_id;

-- name: fsck_repo_sizes
-- The repos that are looked at, how many jobs each has, and how large the mpacks are of those that are done.
SELECT r.repo_id, count(j.repo_id) AS jobs, coalesce(sum(j.size_bytes), 0)::float AS size_bytes
FROM musehub_repos AS r
LEFT JOIN (
    SELECT repo_id,
        CASE jsonb_typeof(result -> 'mpack_size_bytes')
            WHEN 'number' THEN least((result ->> 'mpack_size_bytes')::numeric, 1e15)
        END AS size_bytes
    FROM musehub_background_jobs
    WHERE job_type = 'mpack.index'
) AS j USING (repo_id)
WHERE r.deleted_at IS NULL AND (%(repo_id)s::text IS NULL OR r.repo_id = %(repo_id)s)
GROUP BY r.repo_id
ORDER BY r.repo_id;

-- name: fsck_counts
-- How much there is to look at.
SELECT
    jobs.*,
    (SELECT count(*) FROM musehub_branches JOIN fsck_repos USING (repo_id)) AS branches,
    (SELECT count(*) FROM musehub_commits JOIN fsck_repos USING (repo_id)) AS commits,
    (SELECT count(*) FROM musehub_snapshots JOIN fsck_repos USING (repo_id)) AS snapshots,
    (SELECT count(*) FROM musehub_object_refs JOIN fsck_repos USING (repo_id)) AS object_refs,
    (
        SELECT count(*) FROM musehub_objects AS o
        WHERE %(repo_id)s::text IS NULL OR EXISTS (
            SELECT FROM musehub_object_refs AS r
            WHERE r.repo_id = %(repo_id)s AND r.object_id = o.object_id
        )
    ) AS objects
FROM (
    SELECT
        count(*) AS jobs,
        count(*) FILTER (WHERE status = 'pending') AS jobs_pending,
        count(*) FILTER (WHERE status = 'running') AS jobs_running,
        count(*) FILTER (WHERE status = 'done') AS jobs_done,
        count(*) FILTER (WHERE status = 'failed') AS jobs_failed
    FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND (%(repo_id)s::text IS NULL OR repo_id = %(repo_id)s)
) AS jobs;

-- name: fsck_snapshot_keys
-- All snapshots, those of one repo beside each other: they name much the same.
SELECT s.repo_id, s.snapshot_id
FROM musehub_snapshots AS s
JOIN fsck_repos USING (repo_id)
ORDER BY s.repo_id, s.snapshot_id;

-- name: fsck_note_named
-- What some snapshots name, each object once. What is no map is taken for an object that is missing.
INSERT INTO fsck_named (repo_id, object_id, snapshot_id)
SELECT s.repo_id, entry.value, min(s.snapshot_id)
FROM unnest(%(repo_ids)b::text[], %(snapshot_ids)b::text[]) AS chunk (repo_id, snapshot_id)
JOIN musehub_snapshots AS s USING (repo_id, snapshot_id)
CROSS JOIN LATERAL jsonb_each_text(
    CASE jsonb_typeof(s.manifest) WHEN 'object' THEN s.manifest ELSE jsonb_build_object('', s.manifest) END
) AS entry
GROUP BY s.repo_id, entry.value;

-- name: fsck_note_stored
-- Some of what storage holds.
INSERT INTO fsck_stored (object_id, size_bytes)
SELECT object_id, size_bytes FROM unnest(%(ids)b::text[], %(sizes)b::bigint[]) AS new (object_id, size_bytes);

-- fragment: pushing
-- The repos' jobs: the done ones, or those others that may account for refs which no done one does.
FROM musehub_background_jobs AS j
JOIN fsck_repos USING (repo_id)
WHERE j.job_type = 'mpack.index' AND CASE
    WHEN %(done)s THEN j.status = 'done'
    ELSE j.status <> 'done' AND j.repo_id IN (SELECT repo_id FROM fsck_unsupplied)
END

-- name: fsck_mpacks
-- Which mpacks the jobs have pushed.
SELECT right(j.payload ->> 'mpack_key', 64) AS hex, j.repo_id, array_agg(j.job_id ORDER BY j.job_id)
-- include: pushing
GROUP BY hex, j.repo_id
ORDER BY hex, j.repo_id;

-- name: fsck_count_mpacks
-- How many mpacks these are.
SELECT count(DISTINCT right(j.payload ->> 'mpack_key', 64))
-- include: pushing
;

-- name: fsck_note_items
-- Some of what is in mpacks.
INSERT INTO fsck_items (mpack, kind, id)
SELECT mpack, kind, id
FROM unnest(%(mpacks)b::integer[], %(kinds)b::text[], %(ids)b::text[]) AS new (mpack, kind, id);

-- name: fsck_note_pushes
-- An mpack that was read whole, for each repo that it was pushed to.
INSERT INTO fsck_pushes (mpack, repo_id, job_id, done)
SELECT %(mpack)s, repo_id, job_id, %(done)s
FROM unnest(%(repo_ids)b::text[], %(job_ids)b::text[]) AS new (repo_id, job_id);

-- name: fsck_note_unreadable
-- Repos of which an mpack cannot be read: nobody can tell what it supplied.
UPDATE fsck_repos SET readable = false WHERE repo_id = ANY(%(repo_ids)b);

-- name: fsck_note_unsupplied
-- Refs on objects that are in no mpack of a done job of the repo.
INSERT INTO fsck_unsupplied (repo_id, object_id, created_at)
SELECT r.repo_id, r.object_id, r.created_at
FROM musehub_object_refs AS r
JOIN fsck_repos USING (repo_id)
WHERE NOT EXISTS (
    SELECT FROM fsck_pushes AS p JOIN fsck_items AS i USING (mpack)
    WHERE p.repo_id = r.repo_id AND i.kind = 'object' AND i.id = r.object_id
);

-- name: fsck_forget_supplied
-- Refs that a job accounts for which is not done: it failed late, or is under way.
DELETE FROM fsck_unsupplied AS u
USING fsck_pushes AS p JOIN fsck_items AS i USING (mpack)
WHERE NOT p.done AND p.repo_id = u.repo_id AND i.kind = 'object' AND i.id = u.object_id;

-- name: fsck_count_unjudged
-- How many refs there are of which nobody can tell.
SELECT count(*)
FROM fsck_unsupplied AS u
JOIN fsck_repos AS r USING (repo_id)
WHERE NOT r.readable OR u.created_at < r.judged_from;
