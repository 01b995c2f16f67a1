"""The jobs that have ended: which of them are indexed again, and who works on that."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from musehub_pipeline.domain.backfill import Pace, PastJob, Selection
from musehub_pipeline.domain.job import INDEX_VERSION, Claim, Status
from musehub_pipeline.postgres.database import Database, Row
from musehub_pipeline.queue.lease import PastLease

_JOBS_TIMED = 1_000


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

    def days(self, selection: Selection) -> list[Row]:
        """Return for each day: day, ended, jobs and mpack_bytes to do, current, failed, given_up.

        Of the jobs to do, the size of those that are `unmeasured` is not known, and not counted.
        Given up are those of the selection over which `max_kills` runs have died since they ended.
        """
        with self._database.transaction() as transaction:
            return transaction.rows("past_days", self._parameters(selection))

    def standing(self, *, since: datetime) -> Row:
        """Return how far all is indexed again that was pushed `since` then.

        That is: at, current, outdated and outdated_bytes, failed by code, how many of all these are
        given up, and how many are leased now by how many runs; `before` counts what was pushed
        earlier.
        """
        parameters = {
            "since": since,
            "index_version": INDEX_VERSION,
            "max_kills": self._max_kills,
        }
        with self._database.transaction() as transaction:
            standing = transaction.one("past_standing", parameters)
            failures = transaction.rows("past_failures", parameters)
            leases = transaction.one("past_leases")
        failed = {row["error_code"]: row["jobs"] for row in failures}
        return standing | {"failed": failed} | leases

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
            "ended_before": selection.ended_before,
            "index_version": INDEX_VERSION,
            "max_kills": self._max_kills,
        }

    def _lease_of(self, row: Row, run_id: str) -> PastLease:
        claim = Claim(
            job_id=row["job_id"],
            repo_id=row["repo_id"],
            attempt=int(row["attempt"]),
            attempts_forgiven=int(row["attempts_forgiven"]),
            run_id=run_id,
        )
        return PastLease(
            claim=claim,
            payload=row["payload"],
            status=Status(row["status"]),
            database=self._database,
        )
