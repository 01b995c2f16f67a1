"""What an operator holds back: jobs of some repositories, or of all."""

from alembic import op

revision = "0007"
down_revision = "0006"

_TABLE = """
CREATE TABLE IF NOT EXISTS musehub_pipeline_pauses (
    repo_id text CONSTRAINT musehub_pipeline_pauses_pkey PRIMARY KEY,
    paused_at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL DEFAULT ''
)
"""


def upgrade() -> None:
    op.execute(_TABLE)
