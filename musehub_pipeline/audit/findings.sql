-- The statements of `findings.py`. They run in one transaction, on tables that go with it.

-- name: findings_make
-- Objects whose bytes are wrong.
CREATE TEMP TABLE findings (
    object_id text PRIMARY KEY, what text, expected_bytes bigint, actual_bytes bigint, actual_id text
) ON COMMIT DROP;

-- name: findings_make_holders
-- The repos that hold them; for no object, those whose mpacks are read as well.
CREATE TEMP TABLE finding_holders (repo_id text, object_id text) ON COMMIT DROP;

-- name: findings_make_supplies
-- The mpacks that have them, by number.
CREATE TEMP TABLE finding_supplies (object_id text, mpack integer) ON COMMIT DROP;

-- name: findings_make_jobs
-- The jobs that pushed these mpacks.
CREATE TEMP TABLE finding_jobs (mpack integer, mpack_key text, job_id text) ON COMMIT DROP;

-- name: findings_note
-- Some of what was found.
INSERT INTO findings (object_id, what, expected_bytes, actual_bytes, actual_id)
SELECT object_id, what, expected_bytes, actual_bytes, actual_id
FROM unnest(
    %(object_ids)b::text[], %(whats)b::text[], %(expected)s::bigint[], %(actual)s::bigint[], %(actual_ids)s::text[]
) AS new (object_id, what, expected_bytes, actual_bytes, actual_id)
ON CONFLICT DO NOTHING;

-- name: findings_note_holders
-- Who holds it, in one pass over all refs.
INSERT INTO finding_holders (repo_id, object_id)
SELECT r.repo_id, r.object_id FROM musehub_object_refs AS r JOIN findings USING (object_id)
UNION ALL
SELECT DISTINCT repo_id, NULL FROM musehub_background_jobs WHERE job_id = ANY(%(job_ids)s::text[]);

-- name: findings_analyze
-- Tell the planner how many they are: nobody else looks at tables of a session.
ANALYZE findings, finding_holders;

-- fragment: findings_pushes
-- The done jobs of the repos that hold what was found.
FROM musehub_background_jobs AS j
WHERE j.job_type = 'mpack.index' AND j.status = 'done'
    AND j.repo_id IN (SELECT repo_id FROM finding_holders)

-- name: findings_mpacks
-- The mpacks that they have pushed, each beside its jobs.
SELECT right(j.payload ->> 'mpack_key', 64) AS hex, j.job_id
-- include: findings_pushes
ORDER BY hex, j.job_id;

-- name: findings_count_mpacks
-- How many these are.
SELECT count(DISTINCT coalesce(right(j.payload ->> 'mpack_key', 64), ''))
-- include: findings_pushes
;

-- name: findings_among
-- Which of some objects were found to be wrong.
SELECT object_id FROM findings WHERE object_id = ANY(%(ids)b);

-- name: findings_note_supply
-- What of it an mpack has.
INSERT INTO finding_supplies (object_id, mpack) SELECT DISTINCT id, %(mpack)s::integer FROM unnest(%(ids)b::text[]) AS id;

-- name: findings_note_jobs
-- Who pushed that mpack.
INSERT INTO finding_jobs (mpack, mpack_key, job_id)
SELECT %(mpack)s::integer, %(mpack_key)s, job_id FROM unnest(%(job_ids)b::text[]) AS job_id;

-- name: findings
-- All that was found, with the repos that hold it and the jobs whose mpacks have it.
SELECT f.object_id, f.what, f.expected_bytes, f.actual_bytes, f.actual_id,
    coalesce(holders.repo_ids, '{}'), coalesce(suppliers.jobs, '[]')
FROM findings AS f
LEFT JOIN (
    SELECT object_id, array_agg(repo_id ORDER BY repo_id) AS repo_ids FROM finding_holders GROUP BY object_id
) AS holders USING (object_id)
LEFT JOIN (
    SELECT object_id, jsonb_agg(jsonb_build_array(job_id, mpack_key) ORDER BY job_id) AS jobs
    FROM finding_supplies JOIN finding_jobs USING (mpack)
    GROUP BY object_id
) AS suppliers USING (object_id)
ORDER BY f.object_id;
