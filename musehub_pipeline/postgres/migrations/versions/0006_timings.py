"""A view of what each done job took: one flat row, for whoever asks in SQL.

Of a result that somebody else wrote, what is no number is none, and hides no other row.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

_VIEW = """
CREATE OR REPLACE VIEW musehub_mpack_timings AS
SELECT
    job_id,
    repo_id,
    finished_at,
    jsonb_path_query_first(result, '$.mpack_size_bytes ? (@.type() == "number")')::bigint
        AS mpack_size_bytes,
    jsonb_path_query_first(result, '$.elapsed_ms ? (@.type() == "number")')::float
        AS elapsed_ms,
    jsonb_path_query_first(result, '$.fetch_mpack_ms ? (@.type() == "number")')::float
        AS fetch_mpack_ms,
    jsonb_path_query_first(result, '$.unpack_ms ? (@.type() == "number")')::float
        AS unpack_ms,
    jsonb_path_query_first(result, '$.object_puts_ms ? (@.type() == "number")')::float
        AS object_puts_ms,
    jsonb_path_query_first(result, '$.object_insert_ms ? (@.type() == "number")')::float
        AS object_insert_ms,
    jsonb_path_query_first(result, '$.object_refs_ms ? (@.type() == "number")')::float
        AS object_refs_ms,
    jsonb_path_query_first(result, '$.snapshot_insert_ms ? (@.type() == "number")')::float
        AS snapshot_insert_ms,
    jsonb_path_query_first(result, '$.commit_insert_ms ? (@.type() == "number")')::float
        AS commit_insert_ms,
    attempt,
    jsonb_path_query_first(result, '$.batch_jobs ? (@.type() == "number")')::integer
        AS batch_jobs,
    run_id
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status = 'done'
"""


def upgrade() -> None:
    op.execute(_VIEW)
