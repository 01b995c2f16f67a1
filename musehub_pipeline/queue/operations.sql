-- The statements of `operations.py`.

-- fragment: filtered
-- Jobs by status, repo, reason and age, where these are given.
WHERE j.job_type = 'mpack.index'
    AND (%(status)s::text IS NULL OR j.status = %(status)s)
    AND (%(repo_id)s::text IS NULL OR j.repo_id = %(repo_id)s)
    AND (%(code)s::text IS NULL OR j.error_code = %(code)s::text)
    AND (%(older_than)s::interval IS NULL OR j.created_at < now() - %(older_than)s::interval)
    AND (%(newer_than)s::interval IS NULL OR j.created_at > now() - %(newer_than)s::interval)

-- name: outcomes
-- How some jobs stand.
SELECT job_id, repo_id, status, error_code, error, result
FROM musehub_background_jobs
WHERE job_id = ANY(%(job_ids)s)
ORDER BY created_at, job_id;

-- name: jobs
-- The newest rows of the queue that the filters let through.
SELECT j.job_id, j.repo_id, r.owner, r.slug, j.status, j.attempt, j.created_at, j.started_at,
    j.finished_at, j.not_before, j.error_code, j.error,
    (j.result ->> 'elapsed_ms')::float AS elapsed_ms
FROM musehub_background_jobs AS j
LEFT JOIN musehub_repos AS r USING (repo_id)
-- include: filtered
ORDER BY j.created_at DESC, j.job_id DESC
LIMIT %(limit)s;

-- name: standing
-- The unfinished part of the queue; `count_due` says how much of it is due.
SELECT
    clock_timestamp() AS at,
    count(*) FILTER (WHERE status = 'pending') AS pending,
    extract(
        epoch FROM clock_timestamp()
            - min(created_at) FILTER (WHERE status = 'pending' AND isfinite(created_at))
    )::float AS oldest_pending_seconds,
    count(*) FILTER (WHERE status = 'pending' AND not_before > clock_timestamp()) AS in_backoff,
    count(*) FILTER (WHERE status = 'running') AS running,
    count(*) FILTER (WHERE status = 'running' AND lease_expires_at < clock_timestamp())
        AS expired_leases
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status IN ('pending', 'running');

-- name: failures
-- How many jobs failed of late, by reason, the most frequent first.
SELECT error_code, count(*) AS jobs
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status = 'failed' AND finished_at > now() - %(age)s::interval
GROUP BY error_code
ORDER BY jobs DESC, error_code;

-- name: throughput
-- What was done of late. A job waited in the queue until its first attempt, or its last where there is no history.
SELECT
    count(*) AS jobs,
    coalesce(sum(bytes), 0)::bigint AS bytes,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY elapsed_ms) AS elapsed_ms,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY queue_wait_ms) AS queue_wait_ms
FROM (
    SELECT
        (result ->> 'mpack_size_bytes')::numeric AS bytes,
        (result ->> 'elapsed_ms')::float AS elapsed_ms,
        CASE WHEN isfinite(created_at) THEN extract(epoch FROM coalesce(
            (jsonb_path_query_first(attempts, '$[*].started_at ? (@ != null)') #>> '{}')::timestamptz,
            started_at
        ) - created_at)::float * 1000 END AS queue_wait_ms
    FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status = 'done' AND finished_at > now() - %(age)s::interval
) AS done;

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
