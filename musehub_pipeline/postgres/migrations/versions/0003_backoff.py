"""An index of what waits for another attempt: a claim looks there, and not at a whole backlog."""

from alembic import op

from musehub_pipeline.postgres.migrations.tables_0005 import metadata
from musehub_pipeline.postgres.reconcile import reconcile

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    reconcile(op.get_bind(), metadata)
