"""Long messages are stored uncompressed, as manifests are."""

from alembic import op

from musehub_pipeline.postgres.migrations.tables_0005 import metadata
from musehub_pipeline.postgres.reconcile import reconcile

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    reconcile(op.get_bind(), metadata)
