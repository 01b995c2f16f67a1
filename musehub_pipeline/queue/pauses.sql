-- The statements of `pauses.py`.

-- fragment: paused
-- Whether an operator holds back the jobs of a repo, or all jobs.
(
    EXISTS (SELECT FROM musehub_pipeline_pauses WHERE repo_id = '*')
    OR coalesce(repo_id, '') IN (SELECT repo_id FROM musehub_pipeline_pauses)
)

-- name: pause
-- Hold back jobs, unless they are already.
INSERT INTO musehub_pipeline_pauses (repo_id, reason) VALUES (%(repo_id)s, %(reason)s)
ON CONFLICT (repo_id) DO NOTHING;

-- name: resume
-- Hold back jobs no longer.
DELETE FROM musehub_pipeline_pauses WHERE repo_id = %(repo_id)s;

-- name: resume_all
-- Hold back nothing any longer.
DELETE FROM musehub_pipeline_pauses;

-- name: pauses
-- What is held back, and how many jobs wait for that; all of them where it is the whole queue.
SELECT nullif(pause.repo_id, '*') AS repo_id, repo.owner, repo.slug, pause.paused_at, pause.reason,
    (
        SELECT count(*) FROM musehub_background_jobs AS job
        WHERE job.job_type = 'mpack.index' AND job.status = 'pending'
            AND pause.repo_id IN ('*', job.repo_id)
    ) AS jobs
FROM musehub_pipeline_pauses AS pause
LEFT JOIN musehub_repos AS repo USING (repo_id)
ORDER BY pause.paused_at, pause.repo_id;

-- name: pause_of_job
-- Which pause holds back a job, if one does: that of the queue first.
SELECT nullif(pause.repo_id, '*') AS repo_id, pause.reason
FROM musehub_pipeline_pauses AS pause
JOIN musehub_background_jobs AS job ON pause.repo_id IN ('*', job.repo_id)
WHERE job.job_id = %(job_id)s
ORDER BY pause.repo_id = '*' DESC
LIMIT 1;
