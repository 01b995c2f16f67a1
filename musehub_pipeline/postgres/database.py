"""The connection to PostgreSQL: a pool, transactions, and the names of its failures."""

import json
import logging
import select
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, LiteralString, Self, TypeVar, cast

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import kwargs_row
from psycopg.types.datetime import TimestamptzBinaryLoader, TimestamptzLoader
from psycopg.types.json import set_json_loads
from sqlalchemy import Connection, PoolProxiedConnection, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from musehub_pipeline.domain.errors import QueryFailed
from musehub_pipeline.postgres import arrays
from musehub_pipeline.postgres.server import database_url, is_transient, unavailable
from musehub_pipeline.postgres.session import UTF8, Sessions, connect, patience, where
from musehub_pipeline.postgres.statements import statement

_POOL_SIZE = 10
_CANCEL_SECONDS = 5
_LOOK_SECONDS = 1.0
_STREAMED_ROWS = 2_000
_FIRST = datetime(1, 1, 2, tzinfo=UTC)  # a day within Python's years, to be shown in any zone
_LAST = datetime(9999, 12, 30, tzinfo=UTC)

Row = dict[str, Any]
Parameters = Mapping[str, Any] | None
T = TypeVar("T")
Of = Callable[..., T]

_DISCARDED_STATES = {TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN}
"""A signal ended the wait for an answer, which is still to come; or the connection is closed."""

_TRANSACTION_PREFIX = "beginning"
"""Key of a connection's `info`: the statements that each of its transactions begins with."""

_log = logging.getLogger("musehub_pipeline.database")


class Database:
    """A pool of connections to one PostgreSQL database; safe to share between threads."""

    def __init__(self, url: str, *, idle: timedelta | None = None) -> None:
        """Prepare the pool; nothing is connected before it is needed.

        A transaction in which nothing happens for `idle` is rolled back by the server, and within
        that time it notices that its client is gone: a process that is frozen, killed, or whose
        machine is gone, must not keep its locks.

        Raises:
            SettingsError: `url` is not the URL of a PostgreSQL database.
        """
        self.url = database_url(url)
        self.engine = create_engine(
            self.url,
            pool_size=_POOL_SIZE,
            max_overflow=0,
            connect_args=patience(self.url)
            | UTF8
            | {
                # A prepared statement keeps the plan that it got while its table was empty.
                "prepare_threshold": None,
            },
        )
        self._sessions = Sessions(idle=idle)
        event.listen(self.engine, "do_connect", self._connect)
        event.listen(self.engine, "connect", self._begin_session)
        event.listen(self.engine, "checkout", _check_open)
        event.listen(self.engine, "begin", _begin_of_engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()

    @contextmanager
    def transaction(self) -> Generator["Transaction"]:
        """Run the block in one transaction: committed at its end, rolled back when it raises.

        Raises:
            Transient: DATABASE_UNAVAILABLE, where the server failed and may recover.
        """
        with self._lent() as lent, _transaction(lent) as transaction:
            yield transaction

    @contextmanager
    def autocommit(self) -> Generator["Transaction"]:
        """As `transaction`, but each statement by itself: one trip to the server, and not three.

        Through a pooler all is one transaction, because each begins with statements of its own.
        """
        with self._lent() as lent:
            if lent.info[_TRANSACTION_PREFIX]:
                with _transaction(lent) as transaction:
                    yield transaction
                return
            connection = _driver(lent)
            try:
                connection.autocommit = True
                yield Transaction(connection)
            finally:
                if connection.info.transaction_status is TransactionStatus.IDLE:
                    connection.autocommit = False

    @contextmanager
    def _lent(self) -> Generator[PoolProxiedConnection]:
        try:
            connection = self.engine.raw_connection()
        except (psycopg.Error, DBAPIError, PoolTimeoutError) as error:
            raise unavailable(self.url, error) from error
        try:
            yield connection
        except BaseException as error:
            is_away = isinstance(error, psycopg.Error) and is_transient(error)
            if is_away or _driver(connection).info.transaction_status in _DISCARDED_STATES:
                connection.invalidate()
            if is_away:
                raise unavailable(self.url, error) from error
            raise
        finally:
            connection.close()

    def now(self) -> datetime:
        """Return the time by the server's clock, which all ages and leases go by.

        Raises:
            Transient: DATABASE_UNAVAILABLE.
        """
        with self.transaction() as transaction:
            return transaction.value("now")

    @contextmanager
    def notices(self, channel: LiteralString) -> Generator[Callable[[float], bool]]:
        """Listen on a channel for the block; what it gives waits so many seconds for a notice.

        Through a pooler nobody can listen: there it waits no longer than a second, and says so.

        Raises:
            Transient: DATABASE_UNAVAILABLE.
        """
        if self._is_pooled():
            _tell_of_pooler(where(self.url))
            yield _wait_unheard
            return
        try:
            with connect(self.url) as connection:
                connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))

                def came() -> bool:
                    return any(True for _ in connection.notifies(timeout=0))

                def wait(seconds: float) -> bool:
                    if came():
                        return True
                    # The driver's own wait would wake ten times a second.
                    _readable(connection).poll(seconds * 1_000)
                    return came()

                yield wait
        except psycopg.Error as error:
            raise unavailable(self.url, error) from error

    def _is_pooled(self) -> bool:
        with self._lent() as lent:
            return bool(lent.info[_TRANSACTION_PREFIX])

    def _connect(
        self, _dialect: object, _entry: object, arguments: list[Any], parameters: dict[str, Any]
    ) -> psycopg.Connection[Any]:
        return self._sessions.open(arguments, parameters)

    def _begin_session(
        self, connection: psycopg.Connection[Any], entry: ConnectionPoolEntry
    ) -> None:
        entry.info[_TRANSACTION_PREFIX] = self._sessions.begin(connection)
        _adapt(connection)

    def query(self, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run a query of the operator's, which may only read; return its columns and rows.

        A superuser's is run as pg_read_all_data.

        Raises:
            QueryFailed: the database refused it, or it is no query.
            Transient: DATABASE_UNAVAILABLE.
        """
        try:
            with self.transaction() as transaction:
                transaction.rows("read_only_role")
                return transaction.query(text)
        except psycopg.Error as error:
            raise QueryFailed(str(error).strip()) from error


class Transaction:
    """Runs named statements on one connection. A row is an `of` of its columns."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def rows(self, name: str, parameters: Parameters = None, *, of: Of[T] = Row) -> list[T]:
        """Return the rows of the statement `name`."""
        cursor = self._connection.cursor(row_factory=kwargs_row(of))
        return cursor.execute(statement(name), parameters).fetchall()

    def tuples(self, name: str, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """Return the rows of the statement `name` as tuples: for thousands of them."""
        return self._connection.cursor().execute(statement(name), parameters).fetchall()

    def stream(self, name: str, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the statement `name`, which only reads: for any number of them."""
        with self._connection.cursor(name) as cursor:
            cursor.itersize = _STREAMED_ROWS
            yield from cursor.execute(statement(name), parameters)

    def row(self, name: str, parameters: Parameters = None, *, of: Of[T] = Row) -> T | None:
        """Return the first row of the statement `name`, if it gives any."""
        return next(iter(self.rows(name, parameters, of=of)), None)

    def one(self, name: str, parameters: Parameters = None, *, of: Of[T] = Row) -> T:
        """Return the row of the statement `name`, which always gives exactly one."""
        [row] = self.rows(name, parameters, of=of)
        return row

    def value(self, name: str, parameters: Parameters = None) -> Any:
        """Return the one value of the one row of the statement `name`."""
        [(value,)] = self.tuples(name, parameters)
        return value

    def query(self, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the columns and rows of a query, which may only read."""
        connection = self._connection
        connection.execute("SET TRANSACTION READ ONLY")
        if not _has_columns(connection, text):
            raise QueryFailed("it gives no rows: only a query may be run, such as SELECT")
        try:
            # Not a statement of the program's: whoever typed it may log in to the database.
            cursor = connection.execute(cast("LiteralString", text), binary=True)
        except psycopg.errors.ReadOnlySqlTransaction as error:  # no failover: it was asked for
            raise QueryFailed(str(error).strip()) from error
        names = [column.name for column in cursor.description or ()]
        return names, cursor.fetchall() if names else []

    def cancel(self) -> None:
        """End the statement that another thread waits for, which then raises."""
        with suppress(psycopg.Error):  # the server is away: it waits no longer either
            self._connection.cancel_safe(timeout=_CANCEL_SECONDS)

    def write(self, name: str, parameters: Parameters = None) -> int:
        """Run the statement `name` and return how many rows it inserted or changed."""
        return max(0, self._connection.execute(statement(name), parameters).rowcount)


def _has_columns(connection: psycopg.Connection[Any], text: str) -> bool:
    """Ask the server before anything is run: COPY, DO or RESET could do more than read.

    It takes one statement at a time: no second one can leave the transaction.
    """
    server = connection.pgconn
    for answer in (server.prepare(b"", text.encode()), server.describe_prepared(b"")):
        if answer.status != ExecStatus.COMMAND_OK:
            raise error_from_result(answer, encoding="utf-8")
    return answer.nfields > 0


def _driver(lent: PoolProxiedConnection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", lent.driver_connection)  # which the URL names


@contextmanager
def _transaction(lent: PoolProxiedConnection) -> Generator[Transaction]:
    """Commit what the block did; where it raises, the pool rolls it back."""
    connection = _driver(lent)
    if beginning := lent.info[_TRANSACTION_PREFIX]:
        connection.execute(beginning)
    yield Transaction(connection)
    connection.commit()


def _begin_of_engine(connection: Connection) -> None:
    """Have transactions begin in the same way that are SQLAlchemy's own."""
    if beginning := connection.info[_TRANSACTION_PREFIX]:
        connection.exec_driver_sql(beginning)


@cache  # once a process
def _tell_of_pooler(place: str) -> None:
    _log.warning(
        "a pooler answers at %s, through which nobody can listen for new jobs: they are looked for"
        " every second. With a URL of PostgreSQL itself they are seen at once.",
        place,
    )


def _wait_unheard(seconds: float) -> bool:
    time.sleep(min(seconds, _LOOK_SECONDS))
    return False


def _check_open(connection: psycopg.Connection[Any], *_: object) -> None:
    """Have the pool connect anew where the server has closed a connection that waited.

    A server announces that it closes a connection, and sends nothing else unasked. A ping, as the
    pool would send, costs as much as a small statement.
    """
    if connection.closed:
        raise DisconnectionError
    if _readable(connection).poll(0):
        raise DisconnectionError


def _readable(connection: psycopg.Connection[Any]) -> select.poll:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return poll


class _TimeLoader(TimestamptzLoader):
    """Reads a time; of one that Python has no value for, the first or the last that is shown."""

    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:  # one odd row must not hide the others
            text = bytes(data)
            return _FIRST if text == b"-infinity" or text.endswith(b"BC") else _LAST


class _BinaryTimeLoader(TimestamptzBinaryLoader):
    """The same for what is asked for in binary form: microseconds since the year 2000."""

    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            return _FIRST if int.from_bytes(data, signed=True) < 0 else _LAST


def _adapt(connection: psycopg.Connection[Any]) -> None:
    for loader in (_TimeLoader, _BinaryTimeLoader):
        connection.adapters.register_loader("timestamptz", loader)
    set_json_loads(_loads, connection)
    arrays.register(connection)


def _loads(text: str | bytes) -> Any:
    """Read JSON; what Python cannot read stays text: one odd row must not hide the others."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.decode() if isinstance(text, bytes) else text
