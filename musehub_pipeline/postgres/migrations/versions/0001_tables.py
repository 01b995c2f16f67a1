"""The tables of the index and the queue, beside whatever the hub has already.

It creates what `schema.py` says today, so a fresh database is complete after it. Later revisions
add what an older database lacks, in the same way.
"""

from alembic import op

from musehub_pipeline.postgres.reconcile import reconcile
from musehub_pipeline.postgres.schema import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    reconcile(op.get_bind(), metadata)
