"""An index over the mpacks of jobs that are done."""

from alembic import op

from musehub_pipeline.storage.reconcile import reconcile
from musehub_pipeline.storage.schema import metadata

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    reconcile(op.get_bind(), metadata)
