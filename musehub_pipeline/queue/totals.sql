-- The statements of `totals.py`.

-- name: ended_since
-- What ended lately and is not counted yet, the newest first.
SELECT
    job.job_id,
    job.status = 'done' AS done,
    job.error_code,
    job.attempt,
    job.finished_at,
    coalesce(taken.mpack_size_bytes, 0) AS mpack_bytes,
    ARRAY[
        -- include: queue_wait_ms
        ,
        taken.elapsed_ms,
        taken.fetch_mpack_ms,
        taken.unpack_ms,
        taken.object_puts_ms,
        taken.object_insert_ms,
        taken.object_refs_ms,
        taken.snapshot_insert_ms,
        taken.commit_insert_ms
    ] AS milliseconds,
    clock_timestamp() AS at
FROM musehub_background_jobs AS job
LEFT JOIN musehub_mpack_timings AS taken USING (job_id)
WHERE job.job_type = 'mpack.index' AND job.status IN ('done', 'failed')
    AND job.finished_at > %(since)s AND job.job_id <> ALL(%(counted)s::text[])
ORDER BY job.finished_at DESC
LIMIT %(most)s;

-- name: bytes_of_jobs
-- How large the table of jobs is.
SELECT pg_relation_size('musehub_background_jobs');

-- name: count_by_status
-- How many jobs there are of each status, counted.
SELECT status, count(*) FROM musehub_background_jobs WHERE job_type = 'mpack.index' GROUP BY status;

-- name: estimate_by_status
-- Estimates from the catalogue, once the table was analyzed. One index covers all ended jobs, the other
-- the done ones.
SELECT status, jobs::bigint
FROM (
    SELECT ended.reltuples - done.reltuples, done.reltuples
    FROM pg_class AS jobs, pg_class AS ended, pg_class AS done
    WHERE jobs.oid = 'musehub_background_jobs'::regclass AND jobs.reltuples >= 0
        AND ended.oid = 'musehub_background_jobs_ended'::regclass
        AND done.oid = 'musehub_background_jobs_verified'::regclass
) AS known (failed, done),
LATERAL (VALUES ('failed', greatest(0, failed)), ('done', done)) AS said (status, jobs);
