"""The queue in numbers: what waits, what is under way, and what went on of late."""

from datetime import datetime, timedelta
from typing import Any, TypedDict, TypeVar

from musehub_pipeline.postgres.database import Database, Transaction
from musehub_pipeline.queue.pauses import Pause, pauses

_DAY = timedelta(days=1)
_DECIMALS = 3


class QueueStanding(TypedDict):
    """What is unfinished."""

    at: datetime
    pending: int
    oldest_pending_seconds: float | None
    due: int
    in_backoff: int
    paused: int  # pending, and held back by an operator
    running: int
    expired_leases: int


class QueueStatus(QueueStanding):
    """What it is called, and in which order, is a contract, as of a result."""

    failures_24h: dict[str, int]  # by code
    done_1h: int
    bytes_1h: int
    done_per_minute: float
    bytes_per_minute: float
    elapsed_ms_p50: float | None
    elapsed_ms_p95: float | None
    queue_wait_ms_p50: float | None
    queue_wait_ms_p95: float | None
    waiting_by_code: dict[str, int]  # of pending jobs that have had an attempt: its reason
    oldest_unclaimed_seconds: float | None  # of those that have had none
    pauses: list[Pause]


Told = TypeVar("Told", QueueStanding, QueueStatus)


def queue_standing(database: Database) -> QueueStanding:
    """Return what is unfinished, at a cost that does not grow with what has ended."""
    with database.transaction() as transaction:
        return _in_order(QueueStanding, _standing(transaction))


def queue_status(database: Database) -> QueueStatus:
    """Return how the queue stands, and what went on of late."""
    with database.transaction() as transaction:
        found = _standing(transaction)
        found["waiting_by_code"] = dict(transaction.tuples("retries_by_code"))
        found["failures_24h"] = dict(transaction.tuples("failures", {"since": found["at"] - _DAY}))
        found |= transaction.one("throughput")
        found["pauses"] = pauses(transaction)
    return _in_order(QueueStatus, found)


def _standing(transaction: Transaction) -> dict[str, Any]:
    return transaction.one("standing") | {"due": transaction.value("count_due")}


def _in_order(kind: type[Told], found: dict[str, Any]) -> Told:
    return kind(**{name: _rounded(found[name]) for name in kind.__annotations__})


def _rounded(value: Any) -> Any:
    return round(value, _DECIMALS) if isinstance(value, float) else value
