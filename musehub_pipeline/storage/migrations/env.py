"""Alembic's entry: runs the revisions on the connection that `migrate.upgrade` holds."""

from alembic import context

from musehub_pipeline.storage.migrate import VERSION_TABLE
from musehub_pipeline.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
