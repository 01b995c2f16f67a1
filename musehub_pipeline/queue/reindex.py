"""The jobs that have ended: which of them are indexed again, and who works on that."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict

from musehub_pipeline.domain.backfill import Pace, PastJob, Selection
from musehub_pipeline.domain.job import INDEX_VERSION, Status
from musehub_pipeline.postgres.database import Database, Row
from musehub_pipeline.queue.lease import PastLease, claim_of

_JOBS_TIMED = 1_000


class PastDay(TypedDict):
    """How many jobs that were pushed on a day have ended, and what there is to do."""

    day: datetime
    ended: int
    jobs: int  # to do
    mpack_bytes: int  # of these
    unmeasured: int  # of these, those whose size is not known, and not counted
    current: int
    failed: int
    given_up: int  # of the selection, for `max_kills` runs have died over them since they ended


class Standing(TypedDict):
    """How far all is indexed again."""

    at: datetime
    current: int
    outdated: int
    outdated_bytes: int
    given_up: int
    before: int  # pushed earlier than what is looked at
    failed: dict[str, int]  # by code
    leased: int  # now
    runs: int  # that hold these


class Archive:
    """The rows of `musehub_background_jobs` that are done or failed."""

    def __init__(self, database: Database, *, lease: timedelta, max_kills: int) -> None:
        self._database = database
        self._lease = lease
        self._max_kills = max_kills

    def plan(self, selection: Selection) -> list[PastJob]:
        """Return the jobs of a selection, oldest first, without those that are given up."""
        with self._database.transaction() as transaction:
            rows = transaction.tuples("past_jobs", self._parameters(selection))
        return [PastJob(*row) for row in rows]

    def days(self, selection: Selection) -> list[PastDay]:
        """Return for each day of a selection how many jobs have ended, and what there is to do."""
        with self._database.transaction() as transaction:
            return transaction.rows("past_days", self._parameters(selection), of=PastDay)

    def standing(self, *, since: datetime) -> Standing:
        """Return how far all is indexed again that was pushed `since` then."""
        parameters = {
            "since": since,
            "index_version": INDEX_VERSION,
            "max_kills": self._max_kills,
        }
        with self._database.transaction() as transaction:
            standing = transaction.one("past_standing", parameters)
            failed = dict(transaction.tuples("past_failures", parameters))
            leases = transaction.one("past_leases")
        return Standing(**standing, failed=failed, **leases)

    def pace(self) -> Pace | None:
        """Return how fast the newest of the jobs that are done went; None where none was timed."""
        with self._database.transaction() as transaction:
            row = transaction.one("pace", {"jobs": _JOBS_TIMED})
        return Pace(**row) if row["seconds"] else None

    def claim(self, jobs: Sequence[PastJob], *, run_id: str) -> list[PastLease]:
        """Lease those of the jobs that are as they were planned."""
        parameters = {
            "job_ids": [job.job_id for job in jobs],
            "attempts": [job.attempt for job in jobs],
            "run_id": run_id,
            "lease": self._lease,
        }
        with self._database.transaction() as transaction:
            transaction.write("lock_claims")  # a standstill of the queue is one for this too
            rows = transaction.rows("claim_past", parameters)
        rows.sort(key=lambda row: (row["created_at"], row["job_id"]))
        return [self._lease_of(row, run_id) for row in rows]

    def _parameters(self, selection: Selection) -> dict[str, Any]:
        return {
            "since": selection.since,
            "before": selection.before,
            "selection": str(selection.select),
            "codes": list(selection.codes),
            "repo_id": selection.repo_id,
            "job_ids": None if selection.job_ids is None else list(selection.job_ids),
            "ended_before": selection.ended_before,
            "index_version": INDEX_VERSION,
            "max_kills": self._max_kills,
        }

    def _lease_of(self, row: Row, run_id: str) -> PastLease:
        return PastLease(
            claim=claim_of(row, run_id),
            payload=row["payload"],
            status=Status(row["status"]),
            database=self._database,
        )
