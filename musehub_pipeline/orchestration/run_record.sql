-- The statements of `run_record.py`.

-- name: run_record
-- The job of a run in Dagster's tables, and the process that it had.
SELECT run.pipeline_name, tag.value
FROM runs AS run
LEFT JOIN run_tags AS tag ON tag.run_id = run.run_id AND tag.key = %(tag)s::text
WHERE run.run_id = %(run_id)s::text;
