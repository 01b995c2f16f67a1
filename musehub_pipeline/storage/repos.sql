-- The statements of `repos.py`.

-- name: repo_by_slug
-- A repo by its public name.
SELECT repo_id, default_branch, deleted_at FROM musehub_repos
WHERE owner = %(owner)s AND slug = %(slug)s;

-- name: repo_by_id
-- A repo by its id.
SELECT repo_id, default_branch, deleted_at FROM musehub_repos
WHERE repo_id = %(repo_id)s;

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

-- name: lock_repo
-- Whoever enqueues what no job names does so alone, and in a repo that stays.
SELECT FROM musehub_repos WHERE repo_id = %(repo_id)s AND deleted_at IS NULL FOR NO KEY UPDATE;

-- name: jobs_of_mpacks
-- The newest job of a repo for each of some mpacks; `spellings` has both of each.
SELECT DISTINCT ON (1) 'sha256:' || right(payload ->> 'mpack_key', 64) AS mpack_key, job_id
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND repo_id = %(repo_id)s AND payload ->> 'mpack_key' = ANY(%(spellings)s)
ORDER BY 1, created_at DESC, job_id DESC;

-- name: heads
-- Where the branches of a repo stand, and what is noted about these commits.
SELECT b.name, c.commit_id, c.commit_meta
FROM musehub_branches AS b
JOIN musehub_commits AS c ON c.repo_id = b.repo_id AND c.commit_id = b.head_commit_id
WHERE b.repo_id = %(repo_id)s;
