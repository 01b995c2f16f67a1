"""The tables of the index and the queue, beside whatever the hub has already.

It makes them as they are at 0005, so a fresh database is complete after it. The revisions up to
there add what an older database lacks, in the same way.
"""

from alembic import op

from musehub_pipeline.postgres.migrations.tables_0005 import metadata
from musehub_pipeline.postgres.reconcile import reconcile

revision = "0001"
down_revision = None


def upgrade() -> None:
    reconcile(op.get_bind(), metadata)
