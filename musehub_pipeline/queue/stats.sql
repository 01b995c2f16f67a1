-- The statements of `stats.py`.

-- fragment: done_of_period
(
    SELECT * FROM musehub_mpack_timings
    WHERE finished_at > %(since)s
    ORDER BY finished_at DESC
    LIMIT %(most)s
) AS job

-- name: stats_totals
-- How many jobs were done, and since when.
SELECT
    count(*) AS jobs,
    coalesce(sum(mpack_size_bytes), 0)::bigint AS mpack_bytes,
    min(finished_at) AS first_at,
    clock_timestamp() AS at
FROM
    -- include: done_of_period

-- name: stats_times
-- Milliseconds of each timing: in all, and of a job.
SELECT
    timing.key,
    sum(timing.ms) AS total_ms,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY timing.ms) AS p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY timing.ms) AS p95,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY timing.ms) AS p99,
    max(timing.ms) AS max
FROM
    -- include: done_of_period
    ,
    LATERAL (VALUES
        ('elapsed_ms', job.elapsed_ms),
        ('fetch_mpack_ms', job.fetch_mpack_ms),
        ('unpack_ms', job.unpack_ms),
        ('object_puts_ms', job.object_puts_ms),
        ('object_insert_ms', job.object_insert_ms),
        ('object_refs_ms', job.object_refs_ms),
        ('snapshot_insert_ms', job.snapshot_insert_ms),
        ('commit_insert_ms', job.commit_insert_ms)
    ) AS timing (key, ms)
WHERE timing.ms IS NOT NULL
GROUP BY timing.key;

-- name: stats_slowest_jobs
-- The jobs that took longest.
SELECT job.job_id, job.repo_id, job.mpack_size_bytes, job.elapsed_ms, job.finished_at
FROM
    -- include: done_of_period
WHERE job.elapsed_ms IS NOT NULL
ORDER BY job.elapsed_ms DESC, job.job_id
LIMIT %(rows)s;

-- name: stats_busiest_repos
-- The repos whose jobs took longest, taken together.
SELECT
    job.repo_id, repo.owner, repo.slug, count(*) AS jobs,
    sum(job.mpack_size_bytes)::bigint AS mpack_bytes, sum(job.elapsed_ms) AS elapsed_ms
FROM
    -- include: done_of_period
LEFT JOIN musehub_repos AS repo USING (repo_id)
GROUP BY job.repo_id, repo.owner, repo.slug
ORDER BY elapsed_ms DESC NULLS LAST, job.repo_id
LIMIT %(rows)s;

-- name: stats_failures
-- How many jobs failed meanwhile, by reason, the most frequent first.
SELECT error_code, count(*) AS jobs
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status = 'failed' AND finished_at > %(since)s
GROUP BY error_code
ORDER BY jobs DESC, error_code;
