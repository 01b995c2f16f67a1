-- The statements of `enqueue.py`.

-- name: enqueue
-- A job row, with the seven columns that the hub writes and no other.
INSERT INTO musehub_background_jobs
    (job_id, repo_id, job_type, payload, status, created_at, attempt)
VALUES
    (%(job_id)s, %(repo_id)s, 'mpack.index', %(payload)s::text::jsonb, 'pending', clock_timestamp(), 0);

-- name: lock_repo
-- Whoever enqueues what no job names does so alone, and in a repo that stays.
SELECT FROM musehub_repos WHERE repo_id = %(repo_id)s AND deleted_at IS NULL FOR NO KEY UPDATE;

-- name: jobs_of_mpacks
-- The newest job of a repo for each of some mpacks; `spellings` has both of each.
SELECT DISTINCT ON (1) 'sha256:' || right(payload ->> 'mpack_key', 64) AS mpack_key, job_id
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND repo_id = %(repo_id)s AND payload ->> 'mpack_key' = ANY(%(spellings)s)
ORDER BY 1, created_at DESC, job_id DESC;
