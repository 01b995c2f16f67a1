-- The statements of `standstill.py`.

-- name: standstill_settings
-- Let the transaction wait for storage: were it ended meanwhile, claims would begin too early. But no
-- longer than it may take: a process that was stopped must not hold up all claims for ever.
SELECT set_config('idle_in_transaction_session_timeout', '10min', true);

-- name: jobs_under_way
-- How many jobs runs have: live ones, also where the run is silent, and ended ones that they index again.
SELECT count(*) AS jobs,
    count(*) FILTER (WHERE lease_expires_at IS NULL OR lease_expires_at < clock_timestamp()) AS dead
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND (
    status = 'running' OR (status IN ('done', 'failed') AND lease_expires_at > clock_timestamp())
);
