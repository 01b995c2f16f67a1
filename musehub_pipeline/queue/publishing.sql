-- The statements of `publishing.py`.

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
    -- include: ended_attempt
-- include: fence
    AND status = 'running' AND lease_expires_at > clock_timestamp();

-- name: was_published
-- Whether it was this very claim that ended the job as done: the answer to a commit may be lost. A job
-- that was done before the claim has a lease until it is published.
SELECT FROM musehub_background_jobs
-- include: fence
    AND status = 'done' AND lease_expires_at IS NULL;

-- name: move_head
-- Move a branch from the head that the push was judged against; make it only where it had none, and in no
-- repo that has been deleted meanwhile.
INSERT INTO musehub_branches AS branch (repo_id, name, head_commit_id)
SELECT %(repo_id)s::text, %(branch)s::text, %(head)s::text
WHERE EXISTS (SELECT FROM musehub_repos WHERE repo_id = %(repo_id)s::text AND deleted_at IS NULL)
    AND (%(expected)s::text IS NULL OR EXISTS (
        SELECT FROM musehub_branches
        WHERE repo_id = %(repo_id)s::text AND name = %(branch)s::text
    ))
ON CONFLICT (repo_id, name) DO UPDATE SET head_commit_id = excluded.head_commit_id
WHERE nullif(branch.head_commit_id, '') IS NOT DISTINCT FROM %(expected)s::text;

-- name: touch_repo
-- Note the time of the push, unless the repo has been deleted.
UPDATE musehub_repos SET pushed_at = clock_timestamp() WHERE repo_id = %(repo_id)s AND deleted_at IS NULL;
