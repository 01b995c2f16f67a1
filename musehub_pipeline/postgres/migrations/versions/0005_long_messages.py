"""Long messages are stored uncompressed, as manifests are."""

from alembic import op

from musehub_pipeline.postgres.reconcile import reconcile
from musehub_pipeline.postgres.schema import metadata

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    reconcile(op.get_bind(), metadata)
