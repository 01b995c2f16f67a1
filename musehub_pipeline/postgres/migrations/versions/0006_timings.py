"""A view of what each done job took: one flat row, for whoever asks in SQL."""

from alembic import op

revision = "0006"
down_revision = "0005"

_VIEW = """
CREATE OR REPLACE VIEW musehub_mpack_timings AS
SELECT
    job_id,
    repo_id,
    finished_at,
    (result ->> 'mpack_size_bytes')::bigint AS mpack_size_bytes,
    (result ->> 'elapsed_ms')::float AS elapsed_ms,
    (result ->> 'fetch_mpack_ms')::float AS fetch_mpack_ms,
    (result ->> 'unpack_ms')::float AS unpack_ms,
    (result ->> 'object_puts_ms')::float AS object_puts_ms,
    (result ->> 'object_insert_ms')::float AS object_insert_ms,
    (result ->> 'object_refs_ms')::float AS object_refs_ms,
    (result ->> 'snapshot_insert_ms')::float AS snapshot_insert_ms,
    (result ->> 'commit_insert_ms')::float AS commit_insert_ms,
    attempt,
    (result ->> 'batch_jobs')::integer AS batch_jobs,
    run_id
FROM musehub_background_jobs
WHERE job_type = 'mpack.index' AND status = 'done'
"""


def upgrade() -> None:
    op.execute(_VIEW)
