"""Alembic's entry: runs the revisions on the connection that `migrate.upgrade` holds."""

from alembic import context

from musehub_pipeline.postgres.migrate import VERSION_TABLE
from musehub_pipeline.postgres.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
