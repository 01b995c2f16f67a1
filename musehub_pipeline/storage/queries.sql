-- Every statement that runs, by name. A line `-- name:` begins one; the comment under it says what for.

-- name: lock_claims
-- Claims follow each other, so that each sees the repos that the one before it took.
SELECT pg_advisory_xact_lock(hashtextextended('musehub_pipeline.claim', 0));

-- name: rescue_expired
-- A run that died without a word leaves an expired lease: its jobs wait again, or have had enough.
UPDATE musehub_background_jobs AS job
SET status = CASE WHEN dead.enough THEN 'failed' ELSE 'pending' END,
    finished_at = CASE WHEN dead.enough THEN clock_timestamp() END,
    error_code = 'LEASE_EXPIRED',
    error = dead.message,
    attempts = attempts || jsonb_build_object(
        'attempt', attempt, 'run_id', run_id, 'started_at', started_at,
        'ended_at', clock_timestamp(), 'code', 'LEASE_EXPIRED', 'message', dead.message
    ),
    run_id = NULL,
    lease_expires_at = NULL
FROM (
    SELECT job_id,
        'run ' || coalesce(run_id, '?') || ' died, its lease expired at ' || lease_expires_at AS message,
        attempt - attempts_forgiven >= %(max_attempts)s OR (
            SELECT count(*) + 1 FROM jsonb_array_elements(attempts) AS earlier
            WHERE earlier ->> 'code' = 'LEASE_EXPIRED'
                AND (earlier ->> 'attempt')::integer > attempts_forgiven
        ) >= %(max_kills)s AS enough
    FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status = 'running' AND lease_expires_at < clock_timestamp()
    ORDER BY job_id
    FOR UPDATE
) AS dead
WHERE job.job_id = dead.job_id
RETURNING job.job_id, job.repo_id, job.status, job.error_code, job.error;

-- name: claim_due
-- Lease the oldest due jobs. One that waits behind another of its repo, which is under way or in
-- backoff, is not due. One whose run died is taken alone, for it may be what killed the run.
WITH due AS (
    SELECT j.job_id, j.repo_id, j.created_at, j.error_code IS NOT DISTINCT FROM 'LEASE_EXPIRED' AS suspect
    FROM musehub_background_jobs AS j
    WHERE j.job_type = 'mpack.index' AND j.status = 'pending'
        AND (j.not_before IS NULL OR j.not_before <= clock_timestamp())
        AND NOT EXISTS (
            SELECT FROM musehub_background_jobs AS earlier
            WHERE earlier.repo_id = j.repo_id
                AND earlier.job_type = 'mpack.index' AND earlier.status IN ('pending', 'running')
                AND (
                    earlier.status = 'running'
                    OR (
                        earlier.not_before > clock_timestamp()
                        AND (earlier.created_at, earlier.job_id) < (j.created_at, j.job_id)
                    )
                )
        )
    ORDER BY j.created_at, j.job_id
    LIMIT %(limit)s
    FOR UPDATE OF j
), ranked AS (
    SELECT job_id,
        row_number() OVER oldest AS place,
        first_value(suspect) OVER oldest AS alone,
        bool_or(suspect) OVER (PARTITION BY repo_id ORDER BY created_at, job_id) AS behind_suspect
    FROM due
    WINDOW oldest AS (ORDER BY created_at, job_id)
)
UPDATE musehub_background_jobs AS job
SET status = 'running',
    attempt = job.attempt + 1,
    run_id = %(run_id)s,
    started_at = clock_timestamp(),
    lease_expires_at = clock_timestamp() + %(lease)s
FROM ranked
WHERE job.job_id = ranked.job_id
    AND CASE WHEN ranked.alone THEN ranked.place = 1 ELSE NOT ranked.behind_suspect END
RETURNING job.job_id, job.repo_id, job.attempt, job.attempts_forgiven, job.payload, job.created_at,
    job.started_at;

-- name: claim_named
-- Lease the named jobs, in backoff or not, unless an earlier one of the repo is unfinished and not
-- among them.
UPDATE musehub_background_jobs AS job
SET status = 'running',
    attempt = job.attempt + 1,
    run_id = %(run_id)s,
    started_at = clock_timestamp(),
    lease_expires_at = clock_timestamp() + %(lease)s
FROM (
    SELECT j.job_id
    FROM musehub_background_jobs AS j
    WHERE j.job_type = 'mpack.index' AND j.status = 'pending' AND j.job_id = ANY(%(job_ids)s)
        AND NOT EXISTS (
            SELECT FROM musehub_background_jobs AS earlier
            WHERE earlier.repo_id = j.repo_id
                AND earlier.job_type = 'mpack.index' AND earlier.status IN ('pending', 'running')
                AND (
                    earlier.status = 'running'
                    OR (
                        (earlier.created_at, earlier.job_id) < (j.created_at, j.job_id)
                        AND NOT earlier.job_id = ANY(%(job_ids)s)
                    )
                )
        )
    FOR UPDATE OF j
) AS due
WHERE job.job_id = due.job_id
RETURNING job.job_id, job.repo_id, job.attempt, job.attempts_forgiven, job.payload, job.created_at,
    job.started_at;

-- name: verified_mpacks
-- Which of the mpacks were judged, and indexed, for whatever repo: every content in them hashes to its id.
SELECT DISTINCT payload ->> 'mpack_key' AS mpack_key
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status = 'done' AND index_version = %(index_version)s
    AND payload ->> 'mpack_key' = ANY(%(mpack_keys)s);

-- name: count_due
-- How many jobs a claim without a limit would take, one after the other; in one pass.
SELECT count(*)
FROM (
    SELECT
        status, lease_expires_at < clock_timestamp() AS expired,
        bool_or(status = 'running' AND lease_expires_at >= clock_timestamp())
            OVER (PARTITION BY repo_id) AS held,
        bool_or(status = 'pending' AND not_before IS NOT NULL AND not_before > clock_timestamp())
            OVER (PARTITION BY repo_id ORDER BY created_at, job_id) AS behind
    FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status IN ('pending', 'running')
) AS unfinished
WHERE (status = 'pending' AND NOT coalesce(held, false) AND NOT coalesce(behind, false))
    OR (status = 'running' AND expired);

-- name: backlog
-- How deep the queue is, and how many of its jobs are under way.
SELECT
    count(*) FILTER (WHERE status = 'pending') AS pending,
    count(*) FILTER (WHERE status = 'running') AS running,
    extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE status = 'pending'))::float
        AS oldest_seconds,
    extract(epoch FROM min(greatest(not_before, lease_expires_at)) FILTER (
        WHERE greatest(not_before, lease_expires_at) > clock_timestamp()
    ) - clock_timestamp())::float AS next_seconds
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status IN ('pending', 'running');

-- name: due
-- The oldest jobs that a claim would take, and whether they would be taken alone.
SELECT j.job_id, j.repo_id, j.attempt, j.error_code IS NOT DISTINCT FROM 'LEASE_EXPIRED' AS suspect
FROM musehub_background_jobs AS j
WHERE j.job_type = 'mpack.index' AND j.status = 'pending'
    AND (j.not_before IS NULL OR j.not_before <= clock_timestamp())
    AND NOT EXISTS (
        SELECT FROM musehub_background_jobs AS earlier
        WHERE earlier.repo_id = j.repo_id
            AND earlier.job_type = 'mpack.index' AND earlier.status IN ('pending', 'running')
            AND (
                earlier.status = 'running'
                OR (
                    earlier.not_before > clock_timestamp()
                    AND (earlier.created_at, earlier.job_id) < (j.created_at, j.job_id)
                )
            )
    )
ORDER BY j.created_at, j.job_id
LIMIT %(limit)s;

-- name: begin_run
-- A run says that it is alive.
INSERT INTO musehub_pipeline_runs (run_id, alive_until)
VALUES (%(run_id)s, clock_timestamp() + %(lease)s)
ON CONFLICT (run_id) DO UPDATE SET alive_until = excluded.alive_until;

-- name: expect_runs
-- Runs that have not said a word yet get as long as a lease for it.
INSERT INTO musehub_pipeline_runs (run_id, alive_until)
SELECT run_id, clock_timestamp() + %(lease)s FROM unnest(%(run_ids)s::text[]) AS new (run_id)
ON CONFLICT DO NOTHING;

-- name: run_claimed
-- A run has claimed what there was.
UPDATE musehub_pipeline_runs SET claimed_at = clock_timestamp() WHERE run_id = %(run_id)s;

-- name: renew_run
-- A run says that it is still alive.
UPDATE musehub_pipeline_runs SET alive_until = clock_timestamp() + %(lease)s WHERE run_id = %(run_id)s;

-- name: runs
-- Which of the runs are known, whether they are alive, and whether they have claimed.
SELECT run_id, alive_until > clock_timestamp() AS alive, claimed_at IS NOT NULL AS claimed
FROM musehub_pipeline_runs WHERE run_id = ANY(%(run_ids)s);

-- name: forget_runs
-- Runs that died long ago.
DELETE FROM musehub_pipeline_runs WHERE alive_until < clock_timestamp() - %(age)s::interval;

-- name: blocking_job
-- The oldest unfinished job of a job's repo that comes before it, or is under way.
SELECT earlier.job_id, earlier.status
FROM musehub_background_jobs AS earlier
JOIN musehub_background_jobs AS j ON j.job_id = %(job_id)s AND j.repo_id = earlier.repo_id
WHERE earlier.job_type = 'mpack.index' AND earlier.status IN ('pending', 'running')
    AND earlier.job_id <> j.job_id
    AND (earlier.status = 'running' OR (earlier.created_at, earlier.job_id) < (j.created_at, j.job_id))
ORDER BY earlier.created_at, earlier.job_id
LIMIT 1;

-- name: renew
-- The heartbeat of a run: all its leases at once, by the database's clock.
UPDATE musehub_background_jobs
SET lease_expires_at = clock_timestamp() + %(lease)s
WHERE job_type = 'mpack.index' AND status = 'running' AND run_id = %(run_id)s
    AND lease_expires_at > clock_timestamp();

-- name: release
-- Give a lease back. `spent` says whether the attempt counts.
UPDATE musehub_background_jobs
SET status = 'pending',
    attempt = attempt - CASE WHEN %(spent)s THEN 0 ELSE 1 END,
    not_before = clock_timestamp() + %(delay)s,
    run_id = NULL,
    started_at = CASE WHEN %(spent)s THEN started_at END,
    lease_expires_at = NULL,
    error_code = CASE WHEN %(spent)s THEN %(code)s ELSE error_code END,
    error = CASE WHEN %(spent)s THEN %(message)s ELSE error END,
    attempts = CASE WHEN %(spent)s THEN attempts || jsonb_build_object(
        'attempt', attempt, 'run_id', run_id, 'started_at', started_at,
        'ended_at', clock_timestamp(), 'code', %(code)s::text, 'message', %(message)s::text
    ) ELSE attempts END
WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND run_id = %(run_id)s AND status = 'running';

-- name: release_run
-- Give all leases of a run back, as if it had claimed nothing.
UPDATE musehub_background_jobs
SET status = 'pending', attempt = attempt - 1, run_id = NULL, started_at = NULL,
    lease_expires_at = NULL
WHERE job_type = 'mpack.index' AND status = 'running' AND run_id = %(run_id)s;

-- name: fail
-- End a job for good.
UPDATE musehub_background_jobs
SET status = 'failed',
    finished_at = clock_timestamp(),
    lease_expires_at = NULL,
    error_code = %(code)s,
    error = %(message)s,
    attempts = attempts || jsonb_build_object(
        'attempt', attempt, 'run_id', run_id, 'started_at', started_at,
        'ended_at', clock_timestamp(), 'code', %(code)s::text, 'message', %(message)s::text
    )
WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND run_id = %(run_id)s AND status = 'running';

-- name: publish_job
-- End a job as done, for whoever still holds its lease.
UPDATE musehub_background_jobs
SET status = 'done',
    finished_at = clock_timestamp(),
    lease_expires_at = NULL,
    not_before = NULL,
    error_code = NULL,
    error = NULL,
    result = %(result)s::text::jsonb,
    index_version = %(index_version)s,
    attempts = attempts || jsonb_build_object(
        'attempt', attempt, 'run_id', run_id, 'started_at', started_at,
        'ended_at', clock_timestamp(), 'code', NULL, 'message', NULL
    )
WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND run_id = %(run_id)s AND status = 'running'
    AND lease_expires_at > clock_timestamp();

-- name: was_published
-- Whether it was this very claim that ended the job as done: the answer to a commit may be lost.
SELECT FROM musehub_background_jobs
WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND run_id = %(run_id)s AND status = 'done';

-- name: prune_done
-- Forget jobs that were done long ago; what they brought stays.
DELETE FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status = 'done' AND finished_at < clock_timestamp() - %(age)s::interval;

-- name: move_head
-- Move a branch from the head that the push was judged against; make it only where it had none.
INSERT INTO musehub_branches AS branch (repo_id, name, head_commit_id)
SELECT %(repo_id)s::text, %(branch)s::text, %(head)s::text
WHERE %(force)s OR %(expected)s::text IS NULL OR EXISTS (
    SELECT FROM musehub_branches
    WHERE repo_id = %(repo_id)s::text AND name = %(branch)s::text
)
ON CONFLICT (repo_id, name) DO UPDATE SET head_commit_id = excluded.head_commit_id
WHERE %(force)s OR branch.head_commit_id IS NOT DISTINCT FROM %(expected)s::text;

-- name: touch_repo
-- Note the time of the push.
UPDATE musehub_repos SET pushed_at = clock_timestamp() WHERE repo_id = %(repo_id)s;

-- name: repos
-- Which of the repos exist, and which are deleted.
SELECT repo_id, deleted_at FROM musehub_repos WHERE repo_id = ANY(%(repo_ids)s);

-- name: branch_head
-- Where a branch stands.
SELECT head_commit_id FROM musehub_branches WHERE repo_id = %(repo_id)s AND name = %(branch)s;

-- name: is_ancestor
-- Whether a commit is among the ancestors of others, themselves included; nearest first.
WITH RECURSIVE line AS (
    SELECT commit_id, parent_ids FROM musehub_commits
    WHERE repo_id = %(repo_id)s AND commit_id = ANY(%(descendants)s)
    UNION
    SELECT parent.commit_id, parent.parent_ids
    FROM line
    CROSS JOIN LATERAL jsonb_array_elements_text(line.parent_ids) AS parent_id
    JOIN musehub_commits AS parent
        ON parent.repo_id = %(repo_id)s AND parent.commit_id = parent_id
)
SELECT EXISTS (SELECT FROM line WHERE commit_id = %(ancestor)s);

-- name: sizes_of_objects
-- Which of the objects have a row, and of what size.
SELECT object_id, size_bytes FROM musehub_objects WHERE object_id = ANY(%(ids)b);

-- name: held_objects
-- Which of the objects the repo holds.
SELECT object_id FROM musehub_object_refs
WHERE repo_id = %(repo_id)s AND object_id = ANY(%(ids)b);

-- name: held_snapshots
-- Which of the snapshots the repo holds.
SELECT snapshot_id FROM musehub_snapshots
WHERE repo_id = %(repo_id)s AND snapshot_id = ANY(%(ids)b);

-- name: held_commits
-- Which of the commits the repo holds.
SELECT commit_id FROM musehub_commits
WHERE repo_id = %(repo_id)s AND commit_id = ANY(%(ids)b);

-- name: insert_objects
-- Rows for stored bytes; a row of another size is healed.
INSERT INTO musehub_objects AS existing (object_id, size_bytes, storage_uri, created_at)
SELECT object_id, size_bytes, %(uri)s || substr(object_id, 8, 2) || '/' || substr(object_id, 8), now()
FROM unnest(%(ids)b::text[], %(sizes)b::bigint[]) AS new (object_id, size_bytes)
ON CONFLICT (object_id) DO UPDATE
SET size_bytes = excluded.size_bytes, storage_uri = excluded.storage_uri
WHERE existing.size_bytes IS DISTINCT FROM excluded.size_bytes;

-- name: upsert_object_refs
-- The repo's claims on objects that it supplied.
INSERT INTO musehub_object_refs (repo_id, object_id, created_at)
SELECT %(repo_id)s, object_id, now() FROM unnest(%(ids)b::text[]) AS new (object_id)
ON CONFLICT DO NOTHING;

-- name: insert_snapshots
-- Manifests of the repo.
INSERT INTO musehub_snapshots (repo_id, snapshot_id, manifest, created_at)
SELECT %(repo_id)s, snapshot_id, manifest::jsonb, coalesce(created_at, now())
FROM unnest(%(ids)b::text[], %(manifests)b::text[], %(created)b::timestamptz[])
    AS new (snapshot_id, manifest, created_at)
ON CONFLICT DO NOTHING;

-- name: insert_commits
-- Commits of the repo.
INSERT INTO musehub_commits (
    repo_id, commit_id, branch, parent_ids, message, author, timestamp, snapshot_id, commit_meta,
    created_at
)
SELECT
    %(repo_id)s, commit_id, branch, parent_ids::jsonb, message, author, timestamp, snapshot_id,
    commit_meta::jsonb, now()
FROM unnest(
    %(commit_id)b::text[], %(branch)b::text[], %(parent_ids)b::text[], %(message)b::text[],
    %(author)b::text[], %(timestamp)b::timestamptz[], %(snapshot_id)b::text[],
    %(commit_meta)b::text[]
) AS new (commit_id, branch, parent_ids, message, author, timestamp, snapshot_id, commit_meta)
ON CONFLICT DO NOTHING;

-- name: job
-- One row of the queue, with all its columns.
SELECT * FROM musehub_background_jobs WHERE job_id = %(job_id)s AND job_type = 'mpack.index';

-- name: outcomes
-- How some jobs stand.
SELECT job_id, repo_id, status, error_code, error, result
FROM musehub_background_jobs
WHERE job_id = ANY(%(job_ids)s)
ORDER BY created_at, job_id;

-- name: jobs
-- The newest rows of the queue, by status, repo, reason and age where they are given.
SELECT j.job_id, j.repo_id, r.owner, r.slug, j.status, j.attempt, j.created_at, j.started_at,
    j.finished_at, j.not_before, j.error_code, j.error,
    (j.result ->> 'elapsed_ms')::float AS elapsed_ms
FROM musehub_background_jobs AS j
LEFT JOIN musehub_repos AS r USING (repo_id)
WHERE j.job_type = 'mpack.index'
    AND (%(status)s::text IS NULL OR j.status = %(status)s)
    AND (%(repo_id)s::text IS NULL OR j.repo_id = %(repo_id)s)
    AND (%(code)s::text IS NULL OR j.error_code = %(code)s)
    AND (%(older_than)s::interval IS NULL OR j.created_at < now() - %(older_than)s::interval)
    AND (%(newer_than)s::interval IS NULL OR j.created_at > now() - %(newer_than)s::interval)
ORDER BY j.created_at DESC, j.job_id DESC
LIMIT %(limit)s;

-- name: repo_by_slug
-- A repo by its public name.
SELECT repo_id, default_branch, deleted_at FROM musehub_repos
WHERE owner = %(owner)s AND slug = %(slug)s;

-- name: create_repo
-- A new repo, unless one of that name exists.
INSERT INTO musehub_repos (repo_id, owner, slug, name, default_branch)
VALUES (%(repo_id)s, %(owner)s, %(slug)s, %(slug)s, %(default_branch)s)
ON CONFLICT (owner, slug) DO NOTHING;

-- name: enqueue
-- A job row, with the seven columns that the hub writes and no other.
INSERT INTO musehub_background_jobs
    (job_id, repo_id, job_type, payload, status, created_at, attempt)
VALUES
    (%(job_id)s, %(repo_id)s, 'mpack.index', %(payload)s::text::jsonb, 'pending', clock_timestamp(), 0);

-- name: heads
-- Where the branches of a repo stand, and what is noted about these commits.
SELECT b.name, c.commit_id, c.commit_meta
FROM musehub_branches AS b
JOIN musehub_commits AS c ON c.repo_id = b.repo_id AND c.commit_id = b.head_commit_id
WHERE b.repo_id = %(repo_id)s;

-- name: wake
-- What waits for new jobs, as the sensor does, looks at the queue when this commits.
SELECT pg_notify('musehub_pipeline_jobs', '');

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
WHERE job_type = 'mpack.index' AND status = 'failed'
    AND (%(job_ids)s::text[] IS NULL OR job_id = ANY(%(job_ids)s))
    AND (%(repo_id)s::text IS NULL OR repo_id = %(repo_id)s)
    AND (%(code)s::text IS NULL OR error_code = %(code)s)
RETURNING job_id, created_at;

-- name: cancel
-- End jobs that wait, by an operator's decision.
UPDATE musehub_background_jobs
SET status = 'failed',
    not_before = NULL,
    finished_at = clock_timestamp(),
    error_code = %(code)s,
    error = %(message)s,
    attempts = attempts || jsonb_build_object(
        'attempt', attempt, 'run_id', NULL, 'started_at', NULL,
        'ended_at', clock_timestamp(), 'code', %(code)s::text, 'message', %(message)s::text
    )
WHERE job_type = 'mpack.index' AND status = 'pending' AND job_id = ANY(%(job_ids)s)
RETURNING job_id, created_at;

-- name: standing
-- The unfinished part of the queue; `count_due` says how much of it is due.
SELECT
    clock_timestamp() AS at,
    count(*) FILTER (WHERE status = 'pending') AS pending,
    extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE status = 'pending'))::float
        AS oldest_pending_seconds,
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
        extract(epoch FROM coalesce(
            (jsonb_path_query_first(attempts, '$[*].started_at ? (@ != null)') #>> '{}')::timestamptz,
            started_at
        ) - created_at)::float * 1000 AS queue_wait_ms
    FROM musehub_background_jobs
    WHERE job_type = 'mpack.index' AND status = 'done' AND finished_at > now() - %(age)s::interval
) AS done;
