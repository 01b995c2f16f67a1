"""The queue in numbers: what waits, what is under way, and what went on of late."""

from datetime import datetime
from typing import Any, TypedDict

from musehub_pipeline.postgres.database import Database

_DECIMALS = 3


class QueueStatus(TypedDict):
    """What it is called, and in which order, is a contract, as of a result."""

    at: datetime
    pending: int
    oldest_pending_seconds: float | None
    due: int
    in_backoff: int
    running: int
    expired_leases: int
    failures_24h: dict[str, int]  # by code
    done_1h: int
    bytes_1h: int
    done_per_minute: float
    bytes_per_minute: float
    elapsed_ms_p50: float | None
    elapsed_ms_p95: float | None
    queue_wait_ms_p50: float | None
    queue_wait_ms_p95: float | None


def queue_status(database: Database) -> QueueStatus:
    """Return how the queue stands."""
    with database.transaction() as transaction:
        found = transaction.one("standing")
        found["due"] = transaction.value("count_due")
        found["failures_24h"] = dict(transaction.tuples("failures"))
        found |= transaction.one("throughput")
    return QueueStatus(**{name: _rounded(found[name]) for name in QueueStatus.__annotations__})


def _rounded(value: Any) -> Any:
    return round(value, _DECIMALS) if isinstance(value, float) else value
