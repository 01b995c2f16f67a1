"""What the queue engine needs: history of attempts, runs that are alive, a notice of new jobs."""

from alembic import op

from musehub_pipeline.postgres.migrations.tables_0005 import metadata
from musehub_pipeline.postgres.reconcile import reconcile

revision = "0002"
down_revision = "0001"

# Once a statement, whatever it inserts: a hub may insert thousands of rows at a time.
_NOTIFY = """
CREATE OR REPLACE FUNCTION musehub_pipeline_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('musehub_pipeline_jobs', '');
    RETURN NULL;
END $$
"""
_TRIGGER = """
CREATE OR REPLACE TRIGGER musehub_pipeline_notify
AFTER INSERT ON musehub_background_jobs
FOR EACH STATEMENT EXECUTE FUNCTION musehub_pipeline_notify()
"""


def upgrade() -> None:
    reconcile(op.get_bind(), metadata)
    op.execute(_NOTIFY)
    op.execute(_TRIGGER)
