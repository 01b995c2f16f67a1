"""What operators do with the queue: look at it, try failed jobs again, cancel waiting ones."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypedDict, Unpack

from musehub_pipeline.domain.errors import Fault
from musehub_pipeline.domain.job import Status
from musehub_pipeline.postgres.database import Database, Row

_THROUGHPUT_OVER = timedelta(hours=1)
_FAILURES_OVER = timedelta(days=1)
_DECIMALS = 3


class Filters(TypedDict, total=False):
    """Which jobs are meant: those that every given one lets through."""

    repo_id: str | None
    code: str | None
    older_than: timedelta | None  # by `created_at`
    newer_than: timedelta | None


_NO_FILTERS: Filters = {"repo_id": None, "code": None, "older_than": None, "newer_than": None}


class Operations:
    """The rows of the queue as an operator sees them, over all repositories and runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def jobs(
        self, *, limit: int, status: str | None = None, **filters: Unpack[Filters]
    ) -> list[Row]:
        """Return the newest rows, of those that all the given filters let through."""
        parameters = {"status": status, "limit": limit} | _NO_FILTERS | filters
        with self._database.transaction() as transaction:
            return transaction.rows("jobs", parameters)

    def outcomes(self, job_ids: Sequence[str]) -> list[Row]:
        """Return how some jobs stand, oldest first."""
        with self._database.transaction() as transaction:
            return transaction.rows("outcomes", {"job_ids": list(job_ids)})

    def status(self) -> Row:
        """Return the queue in numbers: what waits, what is under way, and what went on of late.

        The names are a contract, as those of a result are.
        """
        with self._database.transaction() as transaction:
            standing = transaction.one("standing")
            due = transaction.one("count_due")
            failures = transaction.rows("failures", {"age": _FAILURES_OVER})
            lately = transaction.one("throughput", {"age": _THROUGHPUT_OVER})
        minutes = _THROUGHPUT_OVER / timedelta(minutes=1)
        elapsed, waited = (lately[name] or (None, None) for name in ("elapsed_ms", "queue_wait_ms"))
        return {
            "at": standing["at"],
            "pending": standing["pending"],
            "oldest_pending_seconds": _rounded(standing["oldest_pending_seconds"]),
            "due": due["count"],
            "in_backoff": standing["in_backoff"],
            "running": standing["running"],
            "expired_leases": standing["expired_leases"],
            "failures_24h": {row["error_code"]: row["jobs"] for row in failures},
            "done_1h": lately["jobs"],
            "bytes_1h": lately["bytes"],
            "done_per_minute": _rounded(lately["jobs"] / minutes),
            "bytes_per_minute": _rounded(lately["bytes"] / minutes),
            "elapsed_ms_p50": _rounded(elapsed[0]),
            "elapsed_ms_p95": _rounded(elapsed[1]),
            "queue_wait_ms_p50": _rounded(waited[0]),
            "queue_wait_ms_p95": _rounded(waited[1]),
        }

    def retry(self, job_ids: Sequence[str] | None = None, **filters: Unpack[Filters]) -> list[str]:
        """Make failed jobs pending again, of those that all the given filters let through.

        Their attempts so far count no more, but stay in their history. Returns their ids, the
        oldest first.
        """
        return self._change("retry", Status.FAILED, job_ids, filters)

    def cancel(self, job_ids: Sequence[str] | None = None, **filters: Unpack[Filters]) -> list[str]:
        """End pending jobs as failed, of those that all the given filters let through.

        Returns their ids, the oldest first.
        """
        reason = {"reason": str(Fault.CANCELLED), "message": Fault.CANCELLED.meaning}
        return self._change("cancel", Status.PENDING, job_ids, filters, **reason)

    def _change(
        self,
        name: str,
        status: Status,
        job_ids: Sequence[str] | None,
        filters: Filters,
        **more: str,
    ) -> list[str]:
        named = None if job_ids is None else list(job_ids)
        filtered: dict[str, Any] = {"status": status, "job_ids": named, **_NO_FILTERS, **filters}
        with self._database.transaction() as transaction:
            transaction.rows("lock_claims")  # no claim is between its look and its lease
            chosen = [row["job_id"] for row in transaction.rows("choose", filtered)]
            if chosen:
                transaction.write(name, {"job_ids": chosen, **more})
                # The sensor waits for new jobs; a cancelled one too may have held others back.
                transaction.rows("wake")
        return chosen


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, _DECIMALS)
