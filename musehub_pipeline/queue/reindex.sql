-- The statements of `reindex.py`. A job that is indexed again keeps its status until the new result
-- is published: only its lease, its run and its attempt say that somebody works on it.

-- fragment: kills
-- How many runs died over a job. `attempts` lists the attempts that ended; a released one is not counted.
-- `attempt` exceeds the last entry by the runs that died, and by one more while a run is at work.
CROSS JOIN LATERAL (
    SELECT j.attempt - coalesce((j.attempts -> -1 ->> 'attempt')::integer, j.attempt)
        - CASE WHEN j.lease_expires_at > clock_timestamp() THEN 1 ELSE 0 END AS kills
) AS died

-- fragment: of_living_repos
-- Jobs of repos that are not deleted.
FROM musehub_background_jobs AS j
JOIN musehub_repos AS r ON r.repo_id = j.repo_id AND r.deleted_at IS NULL

-- fragment: is_outdated
-- Whether an older version has done the job.
j.status = 'done' AND coalesce(j.index_version, 0) < %(index_version)s

-- fragment: past
-- The jobs of some days that have ended. `chosen`: the selection takes the job. Callers also leave out
-- jobs with too many `kills`.
-- include: of_living_repos
CROSS JOIN LATERAL (
    SELECT CASE %(selection)s
        WHEN 'outdated' THEN
            -- include: is_outdated
        WHEN 'failed' THEN j.status = 'failed' AND (%(codes)s::text[] = '{}' OR j.error_code = ANY(%(codes)s))
        ELSE true
    END AND (%(ended_before)s::timestamptz IS NULL OR j.finished_at IS NULL OR j.finished_at < %(ended_before)s)
        AS chosen
) AS selection
-- include: kills
WHERE j.job_type = 'mpack.index' AND j.status IN ('done', 'failed')
    AND j.created_at >= %(since)s AND j.created_at < %(before)s
    AND (%(repo_id)s::text IS NULL OR j.repo_id = %(repo_id)s)
    AND (%(job_ids)s::text[] IS NULL OR j.job_id = ANY(%(job_ids)s))

-- name: past_jobs
-- The jobs that a backfill would take, oldest first. One whose run died is a suspect.
SELECT j.job_id, j.attempt, coalesce((j.result ->> 'mpack_size_bytes')::bigint, 0) AS size_bytes,
    kills > 0 OR j.error_code IS NOT DISTINCT FROM 'LEASE_EXPIRED' AS suspect,
    CASE WHEN j.result ->> 'mpack_size_bytes' IS NULL THEN j.payload ->> 'mpack_key' END AS unread_key
-- include: past
    AND chosen AND kills < %(max_kills)s
ORDER BY j.created_at, j.job_id;

-- name: past_days
-- How many jobs of each day have ended, and what a backfill would take of them.
SELECT
    date_trunc('day', j.created_at, 'UTC') AS day,
    count(*) AS ended,
    count(*) FILTER (WHERE chosen AND kills < %(max_kills)s) AS jobs,
    coalesce(
        sum((j.result ->> 'mpack_size_bytes')::bigint) FILTER (WHERE chosen AND kills < %(max_kills)s), 0
    )::bigint AS mpack_bytes,
    count(*) FILTER (
        WHERE chosen AND kills < %(max_kills)s AND j.result ->> 'mpack_size_bytes' IS NULL
    ) AS unmeasured,
    count(*) FILTER (WHERE j.status = 'done' AND j.index_version >= %(index_version)s) AS current,
    count(*) FILTER (WHERE j.status = 'failed') AS failed,
    count(*) FILTER (WHERE chosen AND kills >= %(max_kills)s) AS given_up
-- include: past
GROUP BY day
ORDER BY day;

-- name: past_standing
-- How far indexing again has come. Jobs are counted by repo first, so that no plan joins each to all repos.
SELECT
    clock_timestamp() AS at,
    coalesce(sum(current), 0)::bigint AS current,
    coalesce(sum(outdated), 0)::bigint AS outdated,
    coalesce(sum(outdated_bytes), 0)::bigint AS outdated_bytes,
    coalesce(sum(given_up), 0)::bigint AS given_up,
    coalesce(sum(before), 0)::bigint AS before
FROM (
    SELECT
        j.repo_id,
        count(*) FILTER (WHERE timely AND j.status = 'done' AND NOT is_outdated) AS current,
        count(*) FILTER (WHERE timely AND is_outdated) AS outdated,
        sum((j.result ->> 'mpack_size_bytes')::bigint) FILTER (WHERE timely AND is_outdated) AS outdated_bytes,
        count(*) FILTER (WHERE timely AND kills >= %(max_kills)s) AS given_up,
        count(*) FILTER (WHERE NOT timely) AS before
    FROM musehub_background_jobs AS j
    CROSS JOIN LATERAL (
        SELECT j.created_at >= %(since)s AS timely,
            -- include: is_outdated
                AS is_outdated
    ) AS standing
    -- include: kills
    WHERE j.job_type = 'mpack.index' AND j.status IN ('done', 'failed')
    GROUP BY j.repo_id
) AS of_repo
JOIN musehub_repos AS r ON r.repo_id = of_repo.repo_id AND r.deleted_at IS NULL;

-- name: past_leases
-- What runs index again at this moment.
SELECT count(*) AS leased, count(DISTINCT j.run_id) AS runs
-- include: of_living_repos
WHERE j.job_type = 'mpack.index' AND j.status IN ('done', 'failed')
    AND j.lease_expires_at > clock_timestamp();

-- name: past_failures
-- How many jobs have failed, by reason, the most frequent first.
SELECT j.error_code, count(*) AS jobs
-- include: of_living_repos
WHERE j.job_type = 'mpack.index' AND j.status = 'failed' AND j.created_at >= %(since)s
GROUP BY j.error_code
ORDER BY jobs DESC, j.error_code;

-- name: pace
-- How long the newest of the jobs that are done took: each its share of its batch.
SELECT
    count(*) AS jobs,
    coalesce(sum((result ->> 'mpack_size_bytes')::bigint), 0)::bigint AS mpack_bytes,
    coalesce(sum(
        (result ->> 'elapsed_ms')::float
            / CASE WHEN result ? 'batch_elapsed_ms' THEN 1 ELSE (result ->> 'batch_jobs')::float END
    ), 0) / 1000 AS seconds
FROM (
    SELECT result
    FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status = 'done'
        AND result ->> 'elapsed_ms' IS NOT NULL AND result ->> 'batch_jobs' IS NOT NULL
    ORDER BY finished_at DESC
    LIMIT %(jobs)s
) AS newest;

-- name: claim_past
-- Lease jobs that have ended, where nobody else has touched them since they were planned. A row that
-- has no history, as an older version or another program left it, begins one: how it had ended.
WITH
    -- include: witness
UPDATE musehub_background_jobs AS job
SET attempt = least(job.attempt, 2147483646) + 1,
    run_id = %(run_id)s,
    started_at = clock_timestamp(),
    lease_expires_at = clock_timestamp() + %(lease)s,
    attempts = CASE WHEN job.attempts = '[]' THEN jsonb_build_array(jsonb_build_object(
        'attempt', job.attempt, 'run_id', coalesce(job.result ->> 'run_id', job.run_id),
        'started_at', job.started_at, 'ended_at', job.finished_at, 'code', job.error_code, 'message', job.error
    )) ELSE job.attempts END
FROM (
    SELECT j.job_id
    FROM unnest(%(job_ids)s::text[], %(attempts)s::integer[]) AS planned (job_id, attempt)
    JOIN musehub_background_jobs AS j ON j.job_id = planned.job_id AND j.attempt = planned.attempt
    WHERE j.job_type = 'mpack.index' AND j.status IN ('done', 'failed')
        AND (j.lease_expires_at IS NULL OR j.lease_expires_at < clock_timestamp())
    ORDER BY j.job_id
    FOR UPDATE OF j SKIP LOCKED
) AS free
WHERE job.job_id = free.job_id
RETURNING job.job_id, job.repo_id, job.status, job.attempt, job.attempts_forgiven, job.payload,
    -- include: repo_name
    job.created_at;
