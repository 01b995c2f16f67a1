-- The statements of `status.py`.

-- fragment: queue_wait_ms
-- How long a job waited in the queue until its first attempt, or its last where there is no history.
CASE WHEN isfinite(job.created_at) THEN extract(epoch FROM coalesce(
    (jsonb_path_query_first(job.attempts, '$[*].started_at ? (@ != null)') #>> '{}')::timestamptz,
    job.started_at
) - job.created_at)::float * 1000 END

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
    count(*) FILTER (
        WHERE status = 'pending' AND
            -- include: paused
    ) AS paused,
    count(*) FILTER (WHERE status = 'running') AS running,
    count(*) FILTER (WHERE status = 'running' AND lease_expires_at < clock_timestamp())
        AS expired_leases,
    extract(
        epoch FROM clock_timestamp() - min(created_at)
            FILTER (WHERE status = 'pending' AND attempt = 0 AND isfinite(created_at))
    )::float AS oldest_unclaimed_seconds
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status IN ('pending', 'running');

-- name: retries_by_code
-- How many jobs wait for another attempt, by the reason of the last, the most frequent first.
SELECT error_code, count(*) AS jobs
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status = 'pending' AND error_code IS NOT NULL
GROUP BY error_code
ORDER BY jobs DESC, error_code;

-- name: failures
-- How many jobs failed since a time, by reason, the most frequent first.
SELECT error_code, count(*) AS jobs
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status = 'failed' AND finished_at > %(since)s
GROUP BY error_code
ORDER BY jobs DESC, error_code;

-- name: throughput
-- What was done of late. A job waited in the queue until its first attempt, or its last where there is no history.
SELECT
    count(*) AS done_1h,
    coalesce(sum(bytes), 0)::bigint AS bytes_1h,
    count(*)::float / 60 AS done_per_minute,
    coalesce(sum(bytes), 0)::float / 60 AS bytes_per_minute,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY elapsed_ms) AS elapsed_ms_p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY elapsed_ms) AS elapsed_ms_p95,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY queue_wait_ms) AS queue_wait_ms_p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY queue_wait_ms) AS queue_wait_ms_p95
FROM (
    SELECT
        (result ->> 'mpack_size_bytes')::numeric AS bytes,
        (result ->> 'elapsed_ms')::float AS elapsed_ms,
        -- include: queue_wait_ms
        AS queue_wait_ms
    FROM musehub_background_jobs AS job
    WHERE job_type = 'mpack.index' AND status = 'done' AND finished_at > now() - interval '1 hour'
) AS done;
