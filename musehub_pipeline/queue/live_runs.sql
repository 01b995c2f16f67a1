-- The statements of `live_runs.py`.

-- name: begin_run
-- A run says that it is alive. One that takes nothing from the queue has claimed from the beginning.
INSERT INTO musehub_pipeline_runs AS run (run_id, claimed_at, alive_until)
VALUES (
    %(run_id)s, CASE WHEN NOT %(claims)s THEN clock_timestamp() END, clock_timestamp() + %(lease)s
)
ON CONFLICT (run_id) DO UPDATE
SET claimed_at = coalesce(run.claimed_at, excluded.claimed_at), alive_until = excluded.alive_until;

-- name: expect_runs
-- Runs that have not said a word yet get as long as a lease for it.
INSERT INTO musehub_pipeline_runs (run_id, alive_until)
SELECT run_id, clock_timestamp() + %(lease)s FROM unnest(%(run_ids)s::text[]) AS new (run_id)
ON CONFLICT DO NOTHING;

-- fragment: about_to_claim
-- Runs that have said a word just now and have not claimed yet; one that takes longer may be dead.
claimed_at IS NULL AND started_at > clock_timestamp() - interval '5 s' AND alive_until > clock_timestamp()

-- name: count_about_to_claim
-- How many runs will take a batch each of what is due.
SELECT count(*) FROM musehub_pipeline_runs
WHERE
    -- include: about_to_claim
;

-- name: run_claimed
-- A run has claimed what there was.
UPDATE musehub_pipeline_runs SET claimed_at = clock_timestamp() WHERE run_id = %(run_id)s;

-- name: renew_run
-- A run says that it is still alive.
UPDATE musehub_pipeline_runs SET alive_until = clock_timestamp() + %(lease)s WHERE run_id = %(run_id)s;

-- name: end_run
-- A run ends: it claims nothing any more.
UPDATE musehub_pipeline_runs
SET claimed_at = coalesce(claimed_at, clock_timestamp()), alive_until = clock_timestamp() + %(lease)s
WHERE run_id = %(run_id)s;

-- name: renew
-- The heartbeat of a run: all its leases at once, by the database's clock. One that another session has
-- locked does not hold up the others.
WITH live AS (
    SELECT job_id FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status = 'running' AND run_id = %(run_id)s
        AND lease_expires_at > clock_timestamp()
    FOR UPDATE SKIP LOCKED
), past AS (
    SELECT job_id FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status IN ('done', 'failed') AND run_id = %(run_id)s
        AND lease_expires_at > clock_timestamp()
    FOR UPDATE SKIP LOCKED
)
UPDATE musehub_background_jobs AS job
SET lease_expires_at = clock_timestamp() + %(lease)s
FROM (TABLE live UNION ALL TABLE past) AS held
WHERE job.job_id = held.job_id;

-- name: release_run
-- Give all leases of a run back, as if it had claimed nothing.
UPDATE musehub_background_jobs
SET
    -- include: unclaimed
WHERE job_type = 'mpack.index' AND status = 'running' AND run_id = %(run_id)s;

-- name: release_run_past
-- Leave the jobs that it indexes again as they were.
UPDATE musehub_background_jobs
SET
    -- include: as_before
WHERE job_type = 'mpack.index' AND status IN ('done', 'failed') AND run_id = %(run_id)s
    AND lease_expires_at IS NOT NULL;

-- name: runs
-- Which of the runs are known, and of others those that are about to claim: whether they are alive, and
-- whether they have claimed.
SELECT run_id, alive_until > clock_timestamp() AS alive, claimed_at IS NOT NULL AS claimed
FROM musehub_pipeline_runs
WHERE run_id = ANY(%(run_ids)s) OR (
    -- include: about_to_claim
);

-- name: forget_runs
-- Runs that died long ago.
DELETE FROM musehub_pipeline_runs WHERE alive_until < clock_timestamp() - %(age)s::interval;

-- name: forget_witnesses
-- Those of runs that nobody knows any more.
DELETE FROM musehub_pipeline_witnesses AS witness
WHERE NOT EXISTS (SELECT FROM musehub_pipeline_runs WHERE run_id = witness.run_id);
