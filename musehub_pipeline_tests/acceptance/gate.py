"""A gate at which runs stop in the midst of their work: no hook in the pipeline, but triggers.

What a run writes where a gate is waits, until the test opens it.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

TABLES = (
    "musehub_objects",
    "musehub_object_refs",
    "musehub_snapshots",
    "musehub_commits",
    "musehub_branches",  # in the midst of what `summarize` publishes
)
"""Those that a run writes to, in this order."""

_LOCK = 3_141_592  # any number that no other advisory lock has

_WAIT = sql.SQL("PERFORM pg_advisory_xact_lock_shared({});").format(_LOCK)


class Gate:
    """Closed while the `with` block lasts."""

    def __init__(self, database_url: str) -> None:
        self._connection = psycopg.connect(database_url, autocommit=True)

    def __enter__(self) -> Self:
        self._connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def waiting(self) -> int:
        """Return how many runs stand before it."""
        [[count]] = self._connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND objid = %s AND mode = 'ShareLock'",
            [_LOCK],
        )
        return count

    def stand_before_ops(self, ops: Sequence[str]) -> None:
        """Stand where Dagster notes that an op begins: the n-th run to start stops at the n-th."""
        self._connection.execute("CREATE TABLE stops (number serial, run_id text)")
        self._define(
            sql.SQL(
                "IF NEW.dagster_event_type = 'PIPELINE_START' THEN"
                "   INSERT INTO stops (run_id) VALUES (NEW.run_id);"
                " ELSIF NEW.step_key ="
                "   (SELECT ({ops}::text[])[number] FROM stops WHERE run_id = NEW.run_id)"
                " THEN {wait} END IF;"
            ).format(ops=sql.Literal(list(ops)), wait=_WAIT)
        )
        self._connection.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON event_logs FOR EACH ROW"
            " WHEN (NEW.dagster_event_type IN ('PIPELINE_START', 'STEP_START'))"
            " EXECUTE FUNCTION stop()"
        )

    def stand_behind_rows(self, tables: Sequence[str]) -> None:
        """Stand behind a row that was inserted into a table: the first run to come stops there."""
        self._define(
            sql.SQL(
                "IF pg_try_advisory_xact_lock({lock}, TG_RELID::integer) THEN {wait} END IF;"
            ).format(lock=_LOCK, wait=_WAIT)
        )
        for table in tables:
            self._connection.execute(
                sql.SQL(
                    "CREATE TRIGGER stop AFTER INSERT ON {} FOR EACH ROW EXECUTE FUNCTION stop()"
                ).format(sql.Identifier(table))
            )

    def _define(self, body: sql.Composed) -> None:
        head = "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS"
        self._connection.execute(sql.SQL(head + " $$ BEGIN {} RETURN NEW; END $$").format(body))
