"""Creating and upgrading the tables, with Alembic."""

from functools import cache
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from musehub_pipeline.domain.errors import SchemaMismatch
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.postgres.server import is_transient, unavailable

VERSION_TABLE = "musehub_pipeline_version"
"""Our own table: the hub may have an `alembic_version` in the same database."""

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('musehub_pipeline.migrate', 0))")


def upgrade(database: Database) -> str:
    """Create or upgrade the tables, in one transaction; return the revision they are at.

    Those of a later version stay as they are.

    Raises:
        SchemaMismatch: tables of the hub are there that cannot work, or the database cannot hold
            every text.
        Transient: DATABASE_UNAVAILABLE.
    """
    try:
        with database.engine.begin() as connection:
            connection.execute(_LOCK)
            _check_encoding(connection)
            if (found := _revision(connection)) and not is_due(found):
                return found
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return _revision(connection) or ""
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error) and not is_transient(error.orig):
            raise _refused(error.orig) from error
        raise unavailable(database.url, error) from error


def current(database: Database) -> str | None:
    """Return the revision that the tables are at; None where there are none.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    with database.autocommit() as transaction:
        made = transaction.value("has_revision")
        rows = transaction.tuples("revision") if made else []
    return rows[0][0] if rows else None


def is_due(revision: str | None) -> bool:
    """Tell whether an upgrade is due where the tables are at a revision.

    With a later one this version works, too: a revision only adds to the one before
    (test_upgrades.py), so that the tables are upgraded first, and what runs on them afterwards.
    """
    return revision is None or revision < latest()


def search_path(database: Database) -> str:
    """Return the schemas in which tables are looked for, as the role has them.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    with database.autocommit() as transaction:
        return transaction.value("setting", {"name": "search_path"})


@cache
def latest() -> str:
    """Return the revision that this version of the pipeline needs."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _check_encoding(connection: Connection) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise SchemaMismatch(
            f"the database stores its texts in {encoding}, which cannot hold all that is pushed."
            " The pipeline needs a database that was made with"
            " CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8';"
        )


def _revision(connection: Connection) -> str | None:
    options = {"version_table": VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _refused(error: psycopg.Error) -> SchemaMismatch:
    """Return what the database has against an upgrade: rows that a new constraint forbids, say."""
    what = error.diag
    detail = f" ({what.message_detail})" if what.message_detail else ""
    return SchemaMismatch(
        "the database refused the upgrade, and nothing was changed:\n"
        f"- {what.table_name or 'it'}: {what.message_primary or error}{detail}"
    )
