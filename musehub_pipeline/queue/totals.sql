-- The statements of `totals.py`.

-- name: ended_since
-- What ended lately and is not counted yet, the newest first.
SELECT
    job_id,
    status = 'done' AS done,
    error_code,
    attempt,
    finished_at,
    coalesce((result ->> 'mpack_size_bytes')::bigint, 0) AS mpack_bytes,
    ARRAY[
        CASE WHEN isfinite(created_at) THEN extract(epoch FROM coalesce(
            (jsonb_path_query_first(attempts, '$[*].started_at ? (@ != null)') #>> '{}')::timestamptz,
            started_at
        ) - created_at)::float * 1000 END,
        (result ->> 'elapsed_ms')::float,
        (result ->> 'fetch_mpack_ms')::float,
        (result ->> 'unpack_ms')::float,
        (result ->> 'object_puts_ms')::float,
        (result ->> 'object_insert_ms')::float,
        (result ->> 'object_refs_ms')::float,
        (result ->> 'snapshot_insert_ms')::float,
        (result ->> 'commit_insert_ms')::float
    ] AS milliseconds
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status IN ('done', 'failed')
    AND finished_at > %(since)s AND job_id <> ALL(%(counted)s::text[])
ORDER BY finished_at DESC
LIMIT %(most)s;

-- name: bytes_of_jobs
SELECT pg_relation_size('musehub_background_jobs');

-- name: count_by_status
SELECT status, count(*) FROM musehub_background_jobs WHERE job_type = 'mpack.index' GROUP BY status;

-- name: estimate_by_status
-- By the catalogue, which knows how often each status occurred when the table was last analyzed.
SELECT said.status, (said.part * class.reltuples)::bigint
FROM pg_stats AS stats
JOIN pg_namespace AS space ON space.nspname = stats.schemaname
JOIN pg_class AS class ON class.relnamespace = space.oid AND class.relname = stats.tablename,
    unnest(stats.most_common_vals::text::text[], stats.most_common_freqs) AS said (status, part)
WHERE class.oid = 'musehub_background_jobs'::regclass AND stats.attname = 'status'
    AND class.reltuples > 0;
