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

-- name: heads
-- Where the branches of a repo stand, and what is noted about these commits.
SELECT b.name, c.commit_id, c.commit_meta
FROM musehub_branches AS b
JOIN musehub_commits AS c ON c.repo_id = b.repo_id AND c.commit_id = b.head_commit_id
WHERE b.repo_id = %(repo_id)s;
