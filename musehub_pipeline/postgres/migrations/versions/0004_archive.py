"""Indexes of the jobs that have ended: a backfill goes over their days, and leases some of them."""

from alembic import op

from musehub_pipeline.postgres.migrations.tables_0005 import metadata
from musehub_pipeline.postgres.reconcile import reconcile

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    reconcile(op.get_bind(), metadata)
