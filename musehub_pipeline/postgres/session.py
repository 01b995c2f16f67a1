"""Sessions of the server: what each of them is, whatever URL, role, database or environment say.

It is asked for as a session begins, which takes no time. A pooler in between passes next to nothing
of that on, and may lend another session for each transaction: there every transaction begins with
what was asked for, and nothing outlasts it.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, LiteralString, cast

import psycopg
from psycopg import IsolationLevel, errors, sql
from psycopg.pq import Conninfo
from sqlalchemy.engine import URL

from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.postgres.statements import statement

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
"""What even poolers pass on: bulk statements send their texts as UTF-8, and a server that took them
for something else would store other texts."""

_SETTINGS = {
    "DateStyle": "ISO, MDY",  # the driver reads times in no other
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "statement_timeout": "0",  # one that is busy is waited for as long as it takes
    "idle_session_timeout": "0",
}
_OF_TRANSACTIONS = {
    "default_transaction_isolation": "read committed",  # a claim sees what others have claimed
    "default_transaction_read_only": "off",
}
_HEARD = {"musehub.session": "asked"}  # a name of our own, by which it shows that all was heard
_NO_TIMEOUT = {"transaction_timeout": "0"}  # which a server before PostgreSQL 17 does not know
_IDLE = "idle_in_transaction_session_timeout"
_NOTICE_DEATH = "client_connection_check_interval"

_NO_OPTIONS = "startup parameter"
"""What poolers say of settings that they do not pass on."""
_deaf: set[tuple[Any, Any]] = set()
"""Where one has said so: it is not asked again, for it logs that."""


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
    parameters = {**patience(url), **options, **UTF8, "autocommit": True, "prepare_threshold": None}
    return Sessions().open(arguments, parameters)


def asked_of_others(url: URL) -> str:
    """Return libpq's parameter `options` for sessions at `url` that another program opens.

    It is empty where a pooler answers, which passes none on.

    Raises:
        SettingsError: a pooler answers, and what holds there by default would break that program.
        psycopg.Error: the server did not let us.
    """
    with connect(url) as connection:
        if not Sessions().begin(connection):
            return options(_SETTINGS | _OF_TRANSACTIONS)
        for name, wanted in _OF_TRANSACTIONS.items():
            [(found,)] = connection.execute(statement("setting"), {"name": name}).fetchall()
            if found != wanted:
                raise SettingsError(
                    f"a pooler answers at {where(url)}, and by default {name} is {found!r} there,"
                    f" not {wanted!r}: change that of the role, or name PostgreSQL itself"
                )
    return ""


def options(settings: Mapping[str, str], *, before: str = "") -> str:
    """Return libpq's parameter of that name: settings, which win over those that come `before`."""
    ours = ("-c {}={}".format(name, value.replace(" ", r"\ ")) for name, value in settings.items())
    return " ".join(filter(None, (before, *ours)))


class Sessions:
    """How sessions begin; in one, a transaction in which nothing happens may last for `idle`."""

    def __init__(self, *, idle: timedelta | None = None) -> None:
        self._idle = None if idle is None else str(round(idle / timedelta(milliseconds=1)))
        self._settings = _SETTINGS | ({} if self._idle is None else {_IDLE: self._idle})

    def open(
        self, arguments: Sequence[Any], parameters: Mapping[str, Any]
    ) -> psycopg.Connection[Any]:
        """Connect, with what psycopg takes.

        Raises:
            psycopg.Error: the server did not let us.
        """
        given = str(parameters.get("options") or _options_of_environment())
        asked = options(self._settings | _OF_TRANSACTIONS | _HEARD, before=given)
        place = parameters.get("host"), parameters.get("port")
        if place not in _deaf:
            try:
                return psycopg.connect(*arguments, **{**parameters, "options": asked})
            except psycopg.OperationalError as error:
                if _NO_OPTIONS not in str(error):
                    raise
            _deaf.add(place)
        return psycopg.connect(*arguments, **parameters)

    def begin(self, connection: psycopg.Connection[Any]) -> LiteralString:
        """Begin a session; return what each of its transactions begins with: nothing, mostly.

        Nothing is where the server has heard what it was asked for, and answers itself: poolers
        give process ids of their own making.
        """
        before, connection.autocommit = connection.autocommit, True
        try:
            [(pid, heard, reads, timed)] = connection.execute(statement("backend")).fetchall()
            is_pooled = pid != connection.info.backend_pid or not heard
            if timed and not is_pooled:
                connection.execute(_set(_NO_TIMEOUT))
            notices = self._idle is not None and self._notice_death(connection, local=is_pooled)
        finally:
            connection.autocommit = before
        if not is_pooled:
            return ""
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        connection.read_only = False if reads else None
        settings = self._settings | ({_NOTICE_DEATH: str(self._idle)} if notices else {})
        return _set(settings | (_NO_TIMEOUT if timed else {}), local=True)

    def _notice_death(self, connection: psycopg.Connection[Any], *, local: bool) -> bool:
        """Have the server look whether its client is still there; not all systems can tell."""
        parameters = {"milliseconds": self._idle, "local": local}
        try:
            connection.execute(statement("notice_death"), parameters)
        except errors.InvalidParameterValue:
            return False
        return True


def _set(settings: Mapping[str, str], *, local: bool = False) -> LiteralString:
    scope = sql.SQL("LOCAL" if local else "SESSION")
    assignments = (
        sql.SQL("SET {} {} TO {}").format(scope, sql.Identifier(name), sql.Literal(value))
        for name, value in settings.items()
    )
    return cast("LiteralString", sql.SQL("; ").join(assignments).as_string())


def _options_of_environment() -> str:
    """Return what libpq would take from its environment, were it not told otherwise."""
    found = {option.keyword: option.val for option in Conninfo.get_defaults()}
    return (found.get(b"options") or b"").decode()


def where(url: URL) -> str:
    """Return the part of a URL that says where a database is; no password is shown."""
    places = {name: value for name, value in url.query.items() if name in {"host", "port"}}
    return url.set(query=places).render_as_string(hide_password=True)
