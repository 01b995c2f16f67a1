"""What Dagster keeps of runs, written with fewer round trips and processes than it takes alone.

Its own classes open a connection for each query, ask again and again what their tables look like,
write each event by itself, and copy what a run prints by four more processes: together more than
half of a small run. What is stored is the same, and either can read what the other wrote.
"""

import logging
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock, Timer
from typing import Any, Self, cast

import psycopg
import sqlalchemy as sa
from dagster._config import UserConfigSchema
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    FAILURE_EVENTS,
    PIPELINE_EVENTS,
    DagsterEventType,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.config import PostgresStorageConfig
from dagster._core.storage.event_log.migration import ASSET_KEY_INDEX_COLS
from dagster._core.storage.event_log.schema import AssetKeyTable, SqlEventLogStorageTable
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.auth import PgTokenProvider
from dagster_postgres.utils import (
    DagsterPostgresException,
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
    set_pg_statement_timeout,
)
from psycopg2.errors import DuplicateObject
from sqlalchemy.dialects import postgresql
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError, ProgrammingError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_fixed

from musehub_pipeline.postgres.server import database_url
from musehub_pipeline.postgres.session import asked_of_others

_CONNECTIONS = 20
_HELD_SECONDS = 0.2
_VARIABLE = "MUSEHUB_DAGSTER_DATABASE_URL"
_log = logging.getLogger("musehub_pipeline.records")

_MADE = DagsterEventType.ASSET_MATERIALIZATION
_AT_ONCE = (PIPELINE_EVENTS | ASSET_EVENTS | ASSET_CHECK_EVENTS | FAILURE_EVENTS) - {_MADE}
"""Events that are not buffered: they change other tables than the log, or somebody waits for them.
Materializations are buffered all the same, as a run has several at a time."""


class TickLogs(LocalComputeLogManager):
    """What sensors and schedules log. What runs print goes where their process prints."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """There is nothing to configure."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Keep them where Dagster does, beside its dagster.yaml."""
        del config_value
        return cls(str(Path(os.environ["DAGSTER_HOME"], "storage")), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext]:
        """Capture nothing."""
        yield CapturedLogContext(log_key)

    def is_capture_complete(self, log_key: Sequence[str]) -> bool:
        """Tell that no more is to be waited for."""
        del log_key
        return True


class PostgresRecords(DagsterPostgresStorage):
    """All of Dagster's records, over connections that are kept."""

    def __init__(
        self, config: PostgresStorageConfig, inst_data: ConfigurableClassData | None
    ) -> None:
        postgres_url = _asking(pg_url_from_config(config))
        token_provider = get_token_provider_from_config(config)
        makes_tables = config.get("should_autocreate_tables", True)
        _beside_others(super().__init__, postgres_url, makes_tables, inst_data, token_provider)
        engine = _engine(postgres_url, token_provider, max_overflow=_CONNECTIONS)
        self._run_storage = _Runs(postgres_url, token_provider, engine)
        self._event_log_storage = _Events(postgres_url, token_provider, engine)
        self._schedule_storage = _Schedules(postgres_url, token_provider, engine)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Make it as storage.yaml says, by what Dagster's own class knows."""
        return cls(cast("PostgresStorageConfig", config_value), inst_data)


def _is_being_made(error: BaseException) -> bool:
    return isinstance(error, ProgrammingError) and isinstance(error.orig, DuplicateObject)


def _tell(state: RetryCallState) -> None:
    if state.attempt_number == 1:
        _log.warning("another process makes Dagster's tables: looks again for 5 s")


_beside_others = Retrying(
    retry=retry_if_exception(_is_being_made),
    wait=wait_fixed(0.2),
    stop=stop_after_delay(5),
    before_sleep=_tell,
    reraise=True,
)
"""Daemon, code server and workers that begin together make the tables at the same time. Dagster
waits for that itself, but not in each of the ways in which PostgreSQL says so."""


def _asking(postgres_url: str) -> str:
    """Return a URL whose sessions ask for what Dagster needs, whatever its role has by default."""
    try:
        options = asked_of_others(database_url(postgres_url, variable=_VARIABLE))
    except psycopg.Error:  # Dagster tries again, and says so
        return postgres_url
    url = sa.make_url(postgres_url)
    if not options:
        return postgres_url
    asked = " ".join(filter(None, (str(url.query.get("options", "")), options)))
    return url.update_query_dict({"options": asked}).render_as_string(hide_password=False)


def _engine(
    postgres_url: str, token_provider: PgTokenProvider | None, **pool: int | None
) -> sa.Engine:
    """Return an engine that keeps a connection, and looks whether it lives before it uses it."""
    return create_pg_engine(
        postgres_url,
        token_provider,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        pool_pre_ping=True,
        **pool,
    )


class _Connected:
    """A storage of the webserver's, too: there Dagster makes an engine that does not look.

    Each connection that PostgreSQL had ended, as when it was restarted, was an error of the UI.
    """

    postgres_url: str
    _token_provider: PgTokenProvider | None
    _engine: sa.Engine

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        """Have statements end in so many milliseconds, and connections in so many seconds."""
        self._engine = _engine(
            self.postgres_url,
            self._token_provider,
            pool_recycle=pool_recycle,
            max_overflow=max_overflow,
        )

        def limit(connection: Any, _: object) -> None:
            set_pg_statement_timeout(connection, statement_timeout)

        listen(self._engine, "connect", limit)


class _Runs(_Connected, PostgresRunStorage):
    def __init__(
        self, postgres_url: str, token_provider: PgTokenProvider | None, engine: sa.Engine
    ) -> None:
        super().__init__(
            postgres_url, should_autocreate_tables=False, token_provider=token_provider
        )
        self._engine = engine
        self.has_run_stats_index_cols = cache(super().has_run_stats_index_cols)


class _Schedules(_Connected, PostgresScheduleStorage):
    def __init__(
        self, postgres_url: str, token_provider: PgTokenProvider | None, engine: sa.Engine
    ) -> None:
        super().__init__(
            postgres_url, should_autocreate_tables=False, token_provider=token_provider
        )
        self._engine = engine
        self.has_instigators_table = cache(super().has_instigators_table)


class _Events(_Connected, PostgresEventLogStorage):
    """The event log, which buffers step events and materializations until the next step begins.

    They wait for a fifth of a second at the most. An event that cannot wait flushes the buffer
    first, so the order is kept.
    """

    def __init__(
        self, postgres_url: str, token_provider: PgTokenProvider | None, engine: sa.Engine
    ) -> None:
        super().__init__(
            postgres_url, should_autocreate_tables=False, token_provider=token_provider
        )
        self._engine = engine
        self._held: list[EventLogEntry] = []
        self._holding = Lock()
        self._writing = Lock()
        self._timer: Timer | None = None
        self._failed = False

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event, now or soon."""
        kind = event.dagster_event and event.dagster_event.event_type
        if kind in _AT_ONCE:
            self.flush()
            super().store_event(event)
            return
        told = self._failed or kind == DagsterEventType.STEP_START
        with self._holding:
            self._held.append(event)
            if self._timer is None and not told:
                self._timer = Timer(_HELD_SECONDS, self._flush_soon)
                self._timer.daemon = True
                self._timer.start()
        if told:  # a step begins only once that is known, and nothing goes on that cannot be stored
            self.flush()

    def flush(self) -> None:
        """Store what waits, in one transaction; where that is refused, one by one."""
        with self._writing:
            with self._holding:
                events = self._held.copy()
            if not events:
                return
            try:
                self._store_together(events)
                self._forget(len(events))
            except (DBAPIError, DagsterPostgresException):
                for event in events:
                    super().store_event(event)
                    self._forget(1)
            self._failed = False

    def _store_together(self, events: Sequence[EventLogEntry]) -> None:
        rows = [self._event_to_row(event) for event in events]
        insert = SqlEventLogStorageTable.insert()
        insert = insert.returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
        with self.index_transaction() as connection:  # all, or else one by one
            ids = connection.execute(insert, rows).scalars()
            made = [
                (event, event_id)
                for event, event_id in zip(events, ids, strict=True)
                if event.dagster_event_type == _MADE
            ]
            if made:
                self._store_asset_event_tags(connection, *zip(*made, strict=True))
                self._note_latest(connection, made)

    def _note_latest(
        self, connection: sa.Connection, made: list[tuple[EventLogEntry, int]]
    ) -> None:
        """Note of assets what was last made of each, as Dagster does it of one."""
        has_times = self.has_secondary_index(ASSET_KEY_INDEX_COLS)
        latest = {
            _key(event): self._get_asset_entry_values(event, event_id, has_times)
            for event, event_id in made
        }
        # In one order, whoever writes: else two runs could wait for each other.
        rows = [{"asset_key": key} | latest[key] for key in sorted(latest)]
        insert = postgresql.insert(AssetKeyTable)
        changed = {name: insert.excluded[name] for name in rows[0]}
        key = [AssetKeyTable.c.asset_key]
        connection.execute(insert.on_conflict_do_update(index_elements=key, set_=changed), rows)

    def _forget(self, number: int) -> None:
        with self._holding:
            del self._held[:number]

    def _flush_soon(self) -> None:
        with self._holding:
            self._timer = None
        try:
            self.flush()
        except (DBAPIError, DagsterPostgresException):
            self._failed = True

    def dispose(self) -> None:
        """Store what waits, and let go."""
        self._flush_soon()
        if self._held:
            _log.warning("%d events of runs could not be stored", len(self._held))
        super().dispose()


def _key(event: EventLogEntry) -> str:
    asset_key = event.get_dagster_event().asset_key
    return asset_key.to_string() if asset_key else ""
