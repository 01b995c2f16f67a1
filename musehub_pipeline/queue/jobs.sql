-- The statements of `jobs.py`.

-- fragment: filtered
-- Jobs by status, repo, reason and age, where these are given.
WHERE j.job_type = 'mpack.index'
    AND (%(status)s::text IS NULL OR j.status = %(status)s)
    AND (%(repo_id)s::text IS NULL OR j.repo_id = %(repo_id)s)
    AND (%(code)s::text IS NULL OR j.error_code = %(code)s::text)
    AND (%(older_than)s::interval IS NULL OR j.created_at < now() - %(older_than)s::interval)
    AND (%(newer_than)s::interval IS NULL OR j.created_at > now() - %(newer_than)s::interval)

-- fragment: first_done_at
-- When a job was done first, whenever it was indexed again.
coalesce(
    (jsonb_path_query_first(attempts, '$[*] ? (@.code == null).ended_at') #>> '{}')::timestamptz,
    finished_at
)

-- name: job
-- One row of the queue, with all its columns.
SELECT * FROM musehub_background_jobs WHERE job_id = %(job_id)s AND job_type = 'mpack.index';

-- name: jobs_called
-- Some jobs whose ids begin so, with or without what tells the hash.
SELECT job_id FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND %(text)s::text <> ''
    AND (starts_with(job_id, %(text)s) OR starts_with(job_id, 'sha256:' || %(text)s))
ORDER BY job_id
LIMIT 4;

-- name: blocking_job
-- The oldest unfinished job of a job's repo that comes before it, or is under way.
SELECT earlier.job_id, earlier.status
FROM musehub_background_jobs AS earlier
JOIN musehub_background_jobs AS j ON j.job_id = %(job_id)s AND j.repo_id = earlier.repo_id
WHERE earlier.job_type = 'mpack.index' AND earlier.status IN ('pending', 'running')
    AND earlier.job_id <> j.job_id
    AND (earlier.status = 'running' OR (earlier.created_at, earlier.job_id) < (j.created_at, j.job_id))
ORDER BY earlier.created_at, earlier.job_id
LIMIT 1;

-- name: prune_done
-- Forget jobs that were done long ago; what they brought stays. Those go first that brought the oldest
-- rows, as fsck takes it.
DELETE FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status = 'done' AND
    -- include: first_done_at
    < clock_timestamp() - %(age)s::interval;

-- name: outcomes
-- How some jobs stand.
SELECT job_id, repo_id, status, error_code, error, result
FROM musehub_background_jobs
WHERE job_id = ANY(%(job_ids)s)
ORDER BY created_at, job_id;

-- name: jobs
-- The first rows of the queue that the filters let through: the newest, unless sorted otherwise.
SELECT j.job_id, j.repo_id, r.owner, r.slug, j.status, j.attempt, j.created_at, j.started_at,
    j.finished_at, j.not_before, j.error_code, j.error,
    (j.result ->> 'elapsed_ms')::float AS elapsed_ms
FROM musehub_background_jobs AS j
LEFT JOIN musehub_repos AS r USING (repo_id)
-- include: filtered
ORDER BY
    CASE %(sort)s::text
        WHEN 'elapsed' THEN (j.result ->> 'elapsed_ms')::float
        WHEN 'attempt' THEN j.attempt
    END DESC NULLS LAST,
    j.created_at DESC,
    j.job_id DESC
LIMIT %(limit)s;

-- name: wait_shortly
-- Wait for no row that others have locked longer than a moment, as long as the transaction lasts.
SELECT set_config('lock_timeout', '1s', true);

-- name: choose
-- The jobs of a status that all the filters let through, locked, oldest first.
SELECT j.job_id
FROM musehub_background_jobs AS j
-- include: filtered
    AND (%(job_ids)s::text[] IS NULL OR j.job_id = ANY(%(job_ids)s))
ORDER BY j.created_at, j.job_id
FOR UPDATE;

-- name: retry
-- Failed jobs wait again, with all attempts before them. `attempt` goes on counting: it is the fence.
UPDATE musehub_background_jobs
SET status = 'pending',
    attempts_forgiven = attempt,
    not_before = NULL,
    finished_at = NULL,
    error_code = NULL,
    error = NULL,
    run_id = NULL,
    lease_expires_at = NULL
WHERE job_id = ANY(%(job_ids)s);

-- name: cancel
-- End jobs that wait, by an operator's decision.
UPDATE musehub_background_jobs
SET status = 'failed',
    not_before = NULL,
    finished_at = clock_timestamp(),
    error_code = %(reason)s::text,
    error = %(message)s::text,
    attempts = attempts || jsonb_build_object(
        'attempt', attempt, 'run_id', NULL, 'started_at', NULL,
        'ended_at', clock_timestamp(), 'code', %(reason)s::text, 'message', %(message)s::text
    )
WHERE job_id = ANY(%(job_ids)s);

-- name: wake
-- What waits for new jobs, as the sensor does, looks at the queue when this commits.
SELECT pg_notify('musehub_pipeline_jobs', '');
