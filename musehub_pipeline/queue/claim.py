"""The queue of live pushes: what waits, and who gets it."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta

from musehub_pipeline.domain.errors import READ_AGAIN
from musehub_pipeline.domain.job import Status
from musehub_pipeline.domain.result import Outcome, ending_line
from musehub_pipeline.domain.run_requests import MOST_COUNTED, Backlog, DueJob, runs_needed
from musehub_pipeline.postgres.database import Database, Row
from musehub_pipeline.queue.backoff import Backoff
from musehub_pipeline.queue.lease import LiveLease, claim_of

_log = logging.getLogger("musehub_pipeline.index")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescued:
    """A job that was taken back from a run that died."""

    job_id: str
    run_id: str | None  # None where a program that knew no runs had left it
    level: int  # of logging
    line: str  # its summary line


class Queue:
    """The rows of `musehub_background_jobs` that are of type ``mpack.index``."""

    def __init__(
        self, database: Database, *, lease: timedelta, backoff: Backoff, max_kills: int
    ) -> None:
        self._database = database
        self._lease = lease
        self._backoff = backoff
        self._max_kills = max_kills

    def claim(self, *, run_id: str, limit: int, job_ids: Sequence[str] = ()) -> list[LiveLease]:
        """Lease the oldest due jobs, or of `job_ids` those that may run.

        A repo's jobs are leased in order of creation, and never while another run holds one.
        """
        with self._database.transaction() as transaction:
            transaction.write("lock_claims")
            if job_ids:
                free = transaction.tuples("choose_named", {"job_ids": list(job_ids)})
            else:
                free = transaction.tuples("choose_due", {"limit": limit})
            chosen = [job_id for (job_id,) in free]
            lease = {
                "run_id": run_id,
                "lease": self._lease,
                "job_ids": chosen,
                "read_again": list(map(str, READ_AGAIN)),
            }
            rows = {row["job_id"]: row for row in transaction.rows("lease", lease)}
            transaction.write("run_claimed", {"run_id": run_id})
        return [self._lease_of(rows[job_id], run_id) for job_id in chosen]

    def reserve(self, *, run_id: str, batch_jobs: int) -> bool:
        """Note that a run is about to claim, unless those that are will take all that is due.

        A new job wakes all waiting workers. Without a reservation, each would begin a run.
        """
        with self._database.transaction() as transaction:
            transaction.write("lock_claims")
            ahead = transaction.value("count_about_to_claim")
            due = transaction.rows("due", {"limit": (ahead + 1) * batch_jobs}, of=DueJob)
            runs = runs_needed(due, batch_jobs) or len(transaction.tuples("expired_leases"))
            if runs <= ahead:
                return False
            transaction.write("begin_run", {"run_id": run_id, "claims": True, "lease": self._lease})
        return True

    def rescue(self) -> list[Rescued]:
        """Take the jobs of runs that died back into the queue; log a line for each."""
        with self._database.autocommit() as transaction:
            if not transaction.tuples("expired_leases"):  # as nearly always
                return []
        with self._database.transaction() as transaction:
            transaction.write("lock_claims")
            limits = {"max_attempts": self._backoff.max_attempts, "max_kills": self._max_kills}
            rescued = transaction.rows("rescue_expired", limits, of=_rescued)
        for job in rescued:
            _log.log(job.level, "%s", job.line)
        return rescued

    def notices(self) -> AbstractContextManager[Callable[[float], bool]]:
        """Listen for new jobs: see `Database.notices`. A notice may be missed, so poll as well."""
        return self._database.notices("musehub_pipeline_jobs")

    def backlog(self, *, limit: int) -> Backlog:
        """Return the queue as it stands, with its `limit` oldest jobs that are due."""
        with self._database.transaction() as transaction:
            row = transaction.one("backlog", {"most": MOST_COUNTED})
            due = transaction.rows("due", {"limit": limit}, of=DueJob)
        return Backlog(**row, due=tuple(due))

    def has_due(self) -> bool:
        """Tell whether a claim would find something now; asked after each batch, so not counted."""
        with self._database.autocommit() as transaction:
            found = transaction.tuples("expired_leases") or transaction.tuples("due", {"limit": 1})
        return bool(found)

    def count_due(self) -> int:
        """Return how many jobs could be claimed now: a look at all that is unfinished."""
        with self._database.autocommit() as transaction:
            return transaction.value("count_due")

    def _lease_of(self, row: Row, run_id: str) -> LiveLease:
        queued = row["started_at"] - row["created_at"]
        unread_since = row["unread_since"] or row["started_at"]
        return LiveLease(
            claim=claim_of(row, run_id, queued_seconds=queued.total_seconds()),
            payload=row["payload"],
            database=self._database,
            backoff=self._backoff,
            unread_for=row["started_at"] - unread_since,
        )


def _rescued(
    *, job_id: str, repo_id: str, run_id: str | None, status: str, error_code: str, error: str
) -> Rescued:
    outcome = Outcome.FAILED if status == Status.FAILED else Outcome.PUT_BACK
    level = logging.ERROR if outcome is Outcome.FAILED else logging.WARNING
    line = ending_line(outcome, job_id=job_id, repo_id=repo_id, code=error_code, message=error)
    return Rescued(job_id=job_id, run_id=run_id, level=level, line=line)
