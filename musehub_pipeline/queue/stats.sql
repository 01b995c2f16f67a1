-- The statements of `stats.py`.

-- fragment: done_of_period
-- The jobs done since a time, the newest of them, with their times.
(
    SELECT * FROM musehub_mpack_timings
    WHERE finished_at > %(since)s
    ORDER BY finished_at DESC
    LIMIT %(most)s
) AS job

-- fragment: timed_job
-- One job with all its times.
SELECT taken.job_id, coalesce(repo.owner || '/' || repo.slug, taken.repo_id) AS repo,
    taken.finished_at, taken.mpack_size_bytes, taken.elapsed_ms,
    coalesce(taken.fetch_mpack_ms, 0) AS fetch_mpack_ms,
    coalesce(taken.unpack_ms, 0) AS unpack_ms,
    coalesce(taken.object_puts_ms, 0) AS object_puts_ms,
    coalesce(taken.object_insert_ms, 0) AS object_insert_ms,
    coalesce(taken.object_refs_ms, 0) AS object_refs_ms,
    coalesce(taken.snapshot_insert_ms, 0) AS snapshot_insert_ms,
    coalesce(taken.commit_insert_ms, 0) AS commit_insert_ms
FROM (
    SELECT * FROM
    -- include: done_of_period
) AS taken
LEFT JOIN musehub_repos AS repo USING (repo_id)
WHERE taken.elapsed_ms IS NOT NULL

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

-- name: stats_newest
-- The newest jobs with their times.
-- include: timed_job
ORDER BY taken.finished_at DESC
LIMIT %(rows)s;

-- name: stats_slowest_timed_jobs
-- The jobs that took longest, with their times.
-- include: timed_job
ORDER BY taken.elapsed_ms DESC, taken.job_id
LIMIT %(rows)s;

-- name: stats_course
-- The period in parts that last equally long, of which those are left out in which no job ended: what an average
-- job took, and how long jobs had waited.
SELECT
    %(begin)s::timestamptz + (part - 1) * (%(end)s::timestamptz - %(begin)s::timestamptz) / %(parts)s
        AS begins_at,
    count(*) AS jobs,
    coalesce(sum(mpack_size_bytes), 0)::bigint AS mpack_bytes,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY wait_ms) AS wait_p50_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY wait_ms) AS wait_p95_ms,
    coalesce(avg(fetch_mpack_ms), 0) AS fetch_mpack_ms,
    coalesce(avg(unpack_ms), 0) AS unpack_ms,
    coalesce(avg(object_puts_ms), 0) AS object_puts_ms,
    coalesce(avg(object_insert_ms), 0) AS object_insert_ms,
    coalesce(avg(object_refs_ms), 0) AS object_refs_ms,
    coalesce(avg(snapshot_insert_ms), 0) AS snapshot_insert_ms,
    coalesce(avg(commit_insert_ms), 0) AS commit_insert_ms
FROM (
    SELECT taken.*,
        -- include: queue_wait_ms
        AS wait_ms,
        least(%(parts)s, greatest(1, width_bucket(
            extract(epoch FROM taken.finished_at)::float,
            extract(epoch FROM %(begin)s::timestamptz)::float,
            extract(epoch FROM %(end)s::timestamptz)::float,
            %(parts)s
        ))) AS part
    FROM (
        SELECT * FROM
        -- include: done_of_period
    ) AS taken
    JOIN musehub_background_jobs AS job USING (job_id)
) AS done
GROUP BY part
ORDER BY part;
