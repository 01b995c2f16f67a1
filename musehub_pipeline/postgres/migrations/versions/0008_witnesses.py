"""A table that PostgreSQL empties when it has lost what was not yet on its disk."""

from alembic import op

revision = "0008"
down_revision = "0007"

_TABLE = """
CREATE UNLOGGED TABLE IF NOT EXISTS musehub_pipeline_witnesses (
    run_id text CONSTRAINT musehub_pipeline_witnesses_pkey PRIMARY KEY
)
"""


def upgrade() -> None:
    op.execute(_TABLE)
