-- The statements of `claim.py`. All that runs stands in files like this, by name: a line `-- name:`
-- begins one, and the comment under it says what for. A line `-- fragment:` begins what several have in
-- common; where a line says `-- include:`, it stands.

-- fragment: expired
-- What a run has left that died, or a program before this one, which knew no leases.
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status = 'running'
    AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())

-- fragment: waiting
-- Jobs that wait, in repos that no run is at and no operator has paused.
FROM musehub_background_jobs AS j
WHERE j.job_type = 'mpack.index' AND j.status = 'pending'
    AND j.repo_id NOT IN (
        SELECT repo_id FROM musehub_background_jobs
        WHERE job_type = 'mpack.index' AND status = 'running' AND repo_id IS NOT NULL
    )
    AND NOT
        -- include: paused

-- fragment: earlier
-- The jobs of j's repo that wait and come before it.
SELECT FROM musehub_background_jobs AS earlier
WHERE earlier.repo_id = j.repo_id
    AND earlier.job_type = 'mpack.index' AND earlier.status = 'pending'
    AND (earlier.created_at, earlier.job_id) < (j.created_at, j.job_id)

-- fragment: oldest_due
-- The oldest jobs that are due: those in no backoff, and behind none of their repo that is in one.
-- Both looks at not_before are of one moment: else a later job could pass an earlier one that is due
-- just now.
-- include: waiting
    AND (j.not_before IS NULL OR j.not_before <= statement_timestamp())
    AND NOT EXISTS (
        -- include: earlier
            AND earlier.not_before > statement_timestamp()
    )
ORDER BY j.created_at, j.job_id

-- fragment: free
-- Which of those due nobody else has locked. Such rows are not waited for, nor are the later ones of
-- their repos taken.
WITH unlocked AS (
    SELECT job_id FROM musehub_background_jobs
    WHERE job_id IN (SELECT job_id FROM due) AND status = 'pending'
    FOR UPDATE SKIP LOCKED
)
SELECT due.*, bool_and(unlocked.job_id IS NOT NULL) OVER up_to_it AS is_free
FROM due
LEFT JOIN unlocked USING (job_id)
WINDOW up_to_it AS (PARTITION BY repo_id ORDER BY created_at, job_id)

-- fragment: death
-- How the last run died that had the job, where one did.
jsonb_path_query_array(j.attempts, '$[*] ? (@.code == "LEASE_EXPIRED")') -> -1 AS death

-- fragment: suspicion
-- With which run the job died, and how many of those that it held then are taken together: half. Of
-- many, one may be what killed it; it is found by halves, and fails when it dies alone.
CASE WHEN death IS NOT NULL THEN coalesce(death ->> 'run_id', job_id) END AS died_with,
CASE WHEN death IS NOT NULL THEN
    CASE jsonb_typeof(death -> 'jobs')
        WHEN 'number' THEN ceil(least(greatest((death ->> 'jobs')::numeric, 1), 1000000) / 2)::integer
        ELSE 1
    END
END AS together

-- name: lock_claims
-- Claims follow each other, so that each sees the repos that the one before it took.
SELECT pg_advisory_xact_lock(hashtextextended('musehub_pipeline.claim', 0));

-- name: rescue_expired
-- A run that died without a word leaves an expired lease: its jobs wait again, or have had enough. For
-- a death that others shared, none has: only one of them may have been what killed the run. Their leases
-- may end later: one that was locked when the run's heart beat was not renewed with them.
WITH held AS MATERIALIZED (
    SELECT run_id, count(*) AS jobs FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status = 'running'
    GROUP BY run_id
), expired AS MATERIALIZED (
    SELECT job_id, run_id, lease_expires_at, attempt, attempts, attempts_forgiven
    -- include: expired
    ORDER BY job_id
    FOR UPDATE SKIP LOCKED
), dead AS (
    SELECT job_id, run_id,
        'run ' || coalesce(run_id, '?') || ' died, its lease expired at ' || coalesce(lease_expires_at::text, '?') AS message,
        greatest(held.jobs, 1) AS jobs,
        attempt - attempts_forgiven >= %(max_attempts)s AS is_last,
        1 + (
            SELECT count(*) FROM jsonb_array_elements(attempts) AS earlier
            WHERE earlier ->> 'code' = 'LEASE_EXPIRED' AND coalesce(earlier -> 'jobs', '1') = '1'
                AND (earlier ->> 'attempt')::integer > attempts_forgiven
        ) AS kills
    FROM expired
    LEFT JOIN held USING (run_id)  -- one without a run is alone
), judged AS (
    SELECT *, is_last OR (jobs = 1 AND kills >= %(max_kills)s) AS enough FROM dead
)
UPDATE musehub_background_jobs AS job
SET status = CASE WHEN dead.enough THEN 'failed' ELSE 'pending' END,
    finished_at = CASE WHEN dead.enough THEN clock_timestamp() END,
    error_code = 'LEASE_EXPIRED',
    error = dead.message,
    attempts = attempts || jsonb_build_object(
        'attempt', attempt, 'run_id', dead.run_id, 'started_at', started_at,
        'ended_at', clock_timestamp(), 'code', 'LEASE_EXPIRED', 'message', dead.message,
        'jobs', dead.jobs
    ),
    run_id = NULL,
    lease_expires_at = NULL
FROM judged AS dead
WHERE job.job_id = dead.job_id
RETURNING job.job_id, job.repo_id, dead.run_id, job.status, job.error_code, job.error;

-- name: choose_due
-- The oldest due jobs, locked and in order. Those over which a run died go with others of that run only.
WITH due AS (
    SELECT j.job_id, j.repo_id, j.created_at,
        -- include: death
    -- include: oldest_due
    LIMIT %(limit)s
), free AS (
    -- include: free
), suspected AS (
    SELECT job_id, repo_id, created_at,
        -- include: suspicion
    FROM free
    WHERE is_free
), compared AS (
    SELECT *,
        first_value(together) OVER oldest AS most,
        died_with IS NOT DISTINCT FROM first_value(died_with) OVER oldest AS is_alike
    FROM suspected
    WINDOW oldest AS (ORDER BY created_at, job_id)
), chosen AS (
    SELECT job_id, created_at, most,
        bool_and(is_alike) OVER (PARTITION BY repo_id ORDER BY created_at, job_id) AS may_go
    FROM compared
)
SELECT job_id FROM chosen
WHERE may_go
ORDER BY created_at, job_id
LIMIT (SELECT min(most) FROM chosen);

-- name: choose_named
-- The named jobs, locked and in order, in backoff or not, unless an earlier one of the repo is unfinished and
-- not among them.
WITH due AS (
    SELECT j.job_id, j.repo_id, j.created_at
    -- include: waiting
        AND j.job_id = ANY(%(job_ids)s)
        AND NOT EXISTS (
            -- include: earlier
                AND NOT earlier.job_id = ANY(%(job_ids)s)
        )
), free AS (
    -- include: free
)
SELECT job_id FROM free WHERE is_free ORDER BY created_at, job_id;

-- name: lease
-- Lease the chosen jobs, which are locked. One odd row, with no room for its attempt, must not fail the others.
WITH
    -- include: witness
UPDATE musehub_background_jobs AS job
SET status = 'running',
    attempt = least(coalesce(attempt, 0), 2147483646) + 1,
    run_id = %(run_id)s,
    started_at = clock_timestamp(),
    lease_expires_at = clock_timestamp() + %(lease)s
WHERE job_id = ANY(%(job_ids)s)
RETURNING job_id, coalesce(repo_id, '') AS repo_id, attempt, attempts_forgiven, payload, started_at,
    -- include: repo_name
    coalesce(created_at, started_at) AS created_at,
    (  -- When the first of the bad reads ended that followed each other, up to the last attempt.
        SELECT min((entry ->> 'ended_at')::timestamptz)
        FROM (
            SELECT entry, bool_and(entry ->> 'code' = ANY(%(read_again)s) IS TRUE)
                OVER (ORDER BY place DESC) AS unread
            FROM jsonb_path_query_array(attempts, '$[*] ? (@.attempt > $forgiven)',
                jsonb_build_object('forgiven', attempts_forgiven)) AS since_forgiven,
                jsonb_array_elements(since_forgiven) WITH ORDINALITY AS one (entry, place)
        ) AS attempt
        WHERE unread
    ) AS unread_since;

-- name: expired_leases
-- Whether a run died, so that a claim would first take its jobs back.
SELECT 1
-- include: expired
LIMIT 1;

-- name: backlog
-- How deep the queue is, as far as it is worth counting, how many of its jobs are under way, and
-- when a backoff or a lease ends.
SELECT pending, running, oldest_seconds,
    EXISTS (SELECT FROM musehub_pipeline_pauses) AS paused,
    extract(epoch FROM least(backoff_ends_at, lease_ends_at) - clock_timestamp())::float AS next_seconds
FROM (
    SELECT
        count(*) AS pending,
        extract(
            epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE isfinite(created_at))
        )::float AS oldest_seconds
    FROM (
        SELECT created_at FROM musehub_background_jobs
        WHERE job_type = 'mpack.index' AND status = 'pending'
        ORDER BY created_at, job_id
        LIMIT %(most)s
    ) AS oldest
) AS waiting, (
    SELECT min(not_before) AS backoff_ends_at
    FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status = 'pending' AND not_before > clock_timestamp()
) AS in_backoff, (
    SELECT
        count(*) AS running,
        min(lease_expires_at) FILTER (WHERE lease_expires_at > clock_timestamp()) AS lease_ends_at
    FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status = 'running'
) AS under_way;

-- name: due
-- The oldest jobs that a claim would take, and with how many others they would be taken.
SELECT job_id, repo_id, attempt,
    -- include: suspicion
FROM (
    SELECT j.job_id, j.repo_id, j.attempt, j.created_at,
        -- include: death
    -- include: oldest_due
    LIMIT %(limit)s
) AS due
ORDER BY created_at, job_id;

-- name: count_due
-- How many jobs a claim without a limit would take, one after the other; in one pass.
SELECT count(*)
FROM (
    SELECT
        repo_id, status, coalesce(lease_expires_at < statement_timestamp(), true) AS expired,
        bool_or(status = 'running' AND lease_expires_at >= statement_timestamp())
            OVER (PARTITION BY repo_id) AS held,
        bool_or(status = 'pending' AND not_before IS NOT NULL AND not_before > statement_timestamp())
            OVER (PARTITION BY repo_id ORDER BY created_at, job_id) AS behind
    FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status IN ('pending', 'running')
) AS unfinished
WHERE (
    (status = 'pending' AND NOT coalesce(held, false) AND NOT coalesce(behind, false))
    OR (status = 'running' AND expired)
) AND NOT
    -- include: paused
;
