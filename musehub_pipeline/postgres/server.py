"""The PostgreSQL server: by which URL, with which databases, and what it means that it fails."""

from functools import cache

import psycopg
from psycopg import errors, sql
from psycopg.pq import Conninfo
from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError

from musehub_pipeline.domain.errors import SettingsError, Transient, Trouble
from musehub_pipeline.postgres.session import connect, where

_TRANSIENT_SQLSTATES = ("08", "25006", "25P03", "25P04", "3D000", "40", "53", "55", "57", "58")
"""Classes and codes: connection, read-only after a failover, idle or open too long, no such
database yet, rollback (deadlock), resources, not available, operator, system."""


def database_url(text: str, *, variable: str = "MUSEHUB_DATABASE_URL") -> URL:
    """Return the URL of a PostgreSQL database, with psycopg as its driver.

    Raises:
        SettingsError: `text`, the value of `variable`, is no such URL.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise SettingsError(f"{variable}: not a database URL") from error
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise SettingsError(
            f"{variable}: {url.drivername!r} is not postgresql, which the pipeline needs"
        )
    for name in url.query:
        if name not in _parameters():
            hint = ", which it calls sslmode" if name == "ssl" else ""
            raise SettingsError(
                f"{variable}: PostgreSQL's client knows no parameter {name!r}{hint}"
            )
    return url.set(drivername="postgresql+psycopg")


@cache
def _parameters() -> set[str]:
    """Return what a URL may say behind its question mark."""
    return {option.keyword.decode() for option in Conninfo.get_defaults()}


def ensure_database(existing: URL, name: str) -> bool:
    """Create a database on the server of another, unless it is there; return whether it was not.

    Raises:
        psycopg.Error: the server did not, as where the user may not.
    """
    with connect(existing) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
        if found.rowcount:
            return False
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except (errors.DuplicateDatabase, errors.UniqueViolation):  # another process starts too
            return False
        return True


def is_transient(error: psycopg.Error) -> bool:
    """Tell whether the server may recover from `error`."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(_TRANSIENT_SQLSTATES)


def unavailable(url: URL, error: BaseException) -> Transient:
    """Return the trouble of a database that cannot be reached, or gave up; no password is shown."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    first_line = str(error).strip().split("\n", 1)[0]
    return Transient(Trouble.DATABASE_UNAVAILABLE, f"{where(url)}: {first_line}")
