"""The PostgreSQL server: by which URL, with how much patience, and what it means that it fails."""

from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError

from musehub_pipeline.domain.errors import SettingsError, Transient, Trouble

_PATIENCE: dict[str, Any] = {
    "connect_timeout": 10,  # seconds, as are the next two
    # A server whose machine is gone says nothing, and one may wait for its answer for ever. Less
    # than half a lease by default, so that a heartbeat can try again.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,  # milliseconds
}

UTF8 = {"client_encoding": "UTF8"}
"""What every connection asks for, whatever URL, role or environment say: bulk statements send their
texts as UTF-8, and a server that took them for something else would store other texts."""

_TRANSIENT_SQLSTATES = ("08", "25006", "25P03", "3D000", "40", "53", "55", "57", "58")
"""Classes and codes: connection, read-only after a failover, idle too long, no such database (yet),
rollback (deadlock), resources, not available, operator, system."""


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
    return url.set(drivername="postgresql+psycopg")


def patience(url: URL) -> dict[str, Any]:
    """Return how long a server that cannot be heard is waited for, where `url` does not say so.

    One that is busy is waited for as long as it takes.
    """
    return {name: value for name, value in _PATIENCE.items() if name not in url.query}


def connect(url: URL) -> psycopg.Connection[Any]:
    """Connect outside of any pool; each statement is by itself.

    Raises:
        psycopg.Error: the server did not let us.
    """
    # As the pool does, which reads several hosts in a way of its own.
    arguments, options = url.get_dialect()().create_connect_args(url)
    return psycopg.connect(*arguments, autocommit=True, **{**patience(url), **options, **UTF8})


def ensure_database(existing: URL, name: str) -> bool:
    """Create a database on the server of another, unless it is there; return whether it was not.

    Raises:
        psycopg.Error: the server did not, as where the user may not.
    """
    with connect(existing) as connection:
        connection.execute("SELECT pg_advisory_lock(1)")  # against another process that starts too
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
        if found.rowcount == 0:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return found.rowcount == 0


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
    places = {name: value for name, value in url.query.items() if name in {"host", "port"}}
    where = url.set(query=places).render_as_string(hide_password=True)
    return Transient(Trouble.DATABASE_UNAVAILABLE, f"{where}: {first_line}")
