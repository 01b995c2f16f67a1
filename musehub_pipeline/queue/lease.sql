-- The statements of `lease.py`.

-- fragment: repo_name
-- How people call the job's repo, unless its row is gone.
(SELECT repo.owner || '/' || repo.slug FROM musehub_repos AS repo WHERE repo.repo_id = job.repo_id) AS repo_name,

-- fragment: held
-- The job, as long as it is held by whoever claimed it.
WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND run_id = %(run_id)s AND status = %(status)s

-- fragment: ended_attempt
-- The history goes on with how this attempt ended.
attempts = attempts || jsonb_build_object(
    'attempt', attempt, 'run_id', run_id, 'started_at', started_at,
    'ended_at', clock_timestamp(), 'code', %(code)s::text, 'message', %(message)s::text
)

-- fragment: unclaimed
-- As if the job had never been claimed.
status = 'pending',
attempt = attempt - 1,
run_id = NULL,
started_at = NULL,
lease_expires_at = NULL

-- fragment: as_before
-- As a job that had ended was before it was claimed.
attempt = attempt - 1,
run_id = attempts -> -1 ->> 'run_id',
started_at = (attempts -> -1 ->> 'started_at')::timestamptz,
lease_expires_at = NULL

-- fragment: witness
-- Note that the run was at work on this server: PostgreSQL empties the table when it has crashed.
witness AS (
    INSERT INTO musehub_pipeline_witnesses (run_id) VALUES (%(run_id)s) ON CONFLICT DO NOTHING
)

-- name: publish
-- End jobs as done, all at one moment, for whoever still holds their leases. Of one that was done before, the
-- branch has moved long ago: what its result says of that stays. Rows are locked in the order in which
-- others lock them, so that nobody waits in a circle, and until the end of the transaction nobody waits
-- longer than `patience` for a row that others have locked. What the run wrote lazily is on disk with this
-- commit, unless the server has crashed since the claim, or another took its place: then there is no witness.
WITH ended AS MATERIALIZED (
    SELECT *
    FROM unnest(%(job_ids)b::text[], %(claimed)b::bigint[], %(statuses)b::text[], %(results)b::text[])
        AS ended (id, claimed, held_as, facts)
), patience AS MATERIALIZED (
    SELECT set_config('lock_timeout', %(patience)s, true)
), locked AS MATERIALIZED (
    SELECT job.job_id FROM patience, musehub_background_jobs AS job
    WHERE job.job_id = ANY(%(job_ids)b)
    ORDER BY job.created_at, job.job_id
    FOR NO KEY UPDATE OF job
)
UPDATE musehub_background_jobs
SET status = 'done',
    finished_at = statement_timestamp(),
    lease_expires_at = NULL,
    not_before = NULL,
    error_code = NULL,
    error = NULL,
    result = ended.facts::jsonb || CASE WHEN status = 'done' THEN jsonb_strip_nulls(jsonb_build_object(
        'head', result -> 'head', 'head_moved', result -> 'head_moved'
    )) ELSE '{}' END,
    index_version = %(index_version)s,
    -- include: ended_attempt
FROM ended
WHERE job_id IN (SELECT job_id FROM locked) AND job_id = ended.id
    AND attempt = ended.claimed AND run_id = %(run_id)s AND status = ended.held_as
    AND lease_expires_at > clock_timestamp()
    AND EXISTS (SELECT FROM musehub_pipeline_witnesses WHERE run_id = %(run_id)s);

-- name: has_lost_its_witness
-- Whether the job is still held, and only the witness is gone.
SELECT FROM musehub_background_jobs
-- include: held
    AND lease_expires_at > clock_timestamp()
    AND NOT EXISTS (SELECT FROM musehub_pipeline_witnesses WHERE run_id = %(run_id)s);

-- name: was_published
-- Whether it was this very claim that ended the job as done: the answer to a commit may be lost. A job
-- that was done before the claim has a lease until it is published.
SELECT FROM musehub_background_jobs
WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND run_id = %(run_id)s AND status = 'done'
    AND lease_expires_at IS NULL;

-- name: fail
-- End a job for good. One that had failed may have another reason now; one that was done stays so.
UPDATE musehub_background_jobs
SET status = 'failed',
    finished_at = clock_timestamp(),
    lease_expires_at = NULL,
    error_code = %(code)s::text,
    error = %(message)s::text,
    -- include: ended_attempt
-- include: held
    AND status <> 'done';

-- name: retry_later
-- Another attempt is made after a pause.
UPDATE musehub_background_jobs
SET status = 'pending',
    not_before = clock_timestamp() + %(pause)s,
    run_id = NULL,
    lease_expires_at = NULL,
    error_code = %(code)s::text,
    error = %(message)s::text,
    -- include: ended_attempt
-- include: held
;

-- name: give_back
-- Other runs may take the job at once.
UPDATE musehub_background_jobs
SET not_before = clock_timestamp(),
    -- include: unclaimed
-- include: held
;

-- name: give_back_past
-- It was not indexed again.
UPDATE musehub_background_jobs
SET
    -- include: as_before
-- include: held
;

-- name: overtaken
-- Whether a job that was created after this one has moved a branch of its repo.
WITH j AS MATERIALIZED (
    SELECT job_id, repo_id, created_at FROM musehub_background_jobs WHERE job_id = %(job_id)s
)
SELECT EXISTS (
    SELECT FROM j
    JOIN musehub_background_jobs AS later ON later.repo_id = j.repo_id
    WHERE later.job_type = 'mpack.index' AND later.status = 'done'
        AND later.created_at >= (SELECT created_at FROM j)  -- so that an index is read from there
        AND (later.created_at, later.job_id) > (j.created_at, j.job_id)
        AND later.payload ->> 'branch' = %(branch)s AND later.payload ->> 'head' IS NOT NULL
) AS overtaken;

-- name: move_heads
-- Move branches from the heads that the pushes were judged against; make one only where it had none, and in
-- no repo that has been deleted meanwhile. In order, so that nobody waits in a circle.
WITH moved AS MATERIALIZED (
    SELECT *
    FROM unnest(%(repo_ids)s::text[], %(branches)s::text[], %(heads)s::text[], %(expected)s::text[])
        AS moved (repo_id, name, head, expected)
)
INSERT INTO musehub_branches AS branch (repo_id, name, head_commit_id)
SELECT repo_id, name, head
FROM moved
WHERE EXISTS (SELECT FROM musehub_repos AS repo WHERE repo.repo_id = moved.repo_id AND deleted_at IS NULL)
    AND (expected IS NULL OR EXISTS (
        SELECT FROM musehub_branches AS branch
        WHERE branch.repo_id = moved.repo_id AND branch.name = moved.name
    ))
ORDER BY repo_id, name
ON CONFLICT (repo_id, name) DO UPDATE SET head_commit_id = excluded.head_commit_id
WHERE nullif(branch.head_commit_id, '') IS NOT DISTINCT FROM (
    SELECT expected FROM moved WHERE moved.repo_id = branch.repo_id AND moved.name = branch.name
);

-- name: touch_repos
-- Note the time of a push to repos, unless they have been deleted.
WITH locked AS MATERIALIZED (
    SELECT repo_id FROM musehub_repos
    WHERE repo_id = ANY(%(repo_ids)s) AND deleted_at IS NULL
    ORDER BY repo_id
    FOR NO KEY UPDATE
)
UPDATE musehub_repos SET pushed_at = clock_timestamp()
WHERE repo_id IN (SELECT repo_id FROM locked)
RETURNING repo_id;
