"""Job rows as operators see them: to find, to explain, to retry, to cancel and to prune."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypedDict, Unpack

from musehub_pipeline.domain.errors import Fault, JobNotFound
from musehub_pipeline.domain.job import Status
from musehub_pipeline.domain.result import Result
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.status import QueueStatus, queue_status


class JobOutcome(TypedDict):
    """How a job stands."""

    job_id: str
    repo_id: str
    status: str
    error_code: str | None
    error: str | None
    result: Result | None


class JobRow(JobOutcome):
    """A row with all the columns that the hub's table has, of which these have to be known."""

    attempt: int
    run_id: str | None
    not_before: datetime | None


class ListedJob(TypedDict):
    """A job in a list."""

    job_id: str
    repo_id: str
    owner: str | None  # None where the repo is gone
    slug: str | None
    status: str
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime | None
    error_code: str | None
    error: str | None
    elapsed_ms: float | None


class Sort(StrEnum):
    """What the first of a list have most of; those that are alike go by creation."""

    CREATED = "created"
    ELAPSED = "elapsed"
    ATTEMPT = "attempt"


class Filters(TypedDict, total=False):
    """Which jobs are meant: those that every given one lets through."""

    repo_id: str | None
    code: str | None
    older_than: timedelta | None  # by `created_at`
    newer_than: timedelta | None


_NO_FILTERS: Filters = {"repo_id": None, "code": None, "older_than": None, "newer_than": None}


class Jobs:
    """The rows of the queue, over all repositories and runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, job_id: str) -> JobRow | None:
        """Return a job's row, if there is one."""
        with self._database.autocommit() as transaction:
            return transaction.row("job", {"job_id": job_id}, of=JobRow)

    def require(self, job_id: str) -> JobRow:
        """Return a job's row.

        Raises:
            JobNotFound: there is none.
        """
        row = self.find(job_id)
        if row is None:
            raise JobNotFound(job_id)
        return row

    def status(self) -> QueueStatus:
        """Return how the queue stands, and what went on of late."""
        return queue_status(self._database)

    def explain(self, row: JobRow) -> str:
        """Say in a few words how a job stands, and why it is not done."""
        if row["status"] == Status.DONE:
            return "is done already"
        if row["status"] == Status.RUNNING:
            return f"is held by run {row['run_id']}"
        if row["status"] == Status.FAILED:
            return f"failed, {row['error_code']}: {row['error']}"
        waits_for = self._waits_for(row["job_id"])
        if waits_for is not None:
            return f"waits: {waits_for}"
        if row["error_code"] is not None:
            return f"is pending again, {row['error_code']}: {row['error']}"
        return "is pending"

    def _waits_for(self, job_id: str) -> str | None:
        with self._database.transaction() as transaction:
            blocking = transaction.tuples("blocking_job", {"job_id": job_id})
            held_back = transaction.tuples("pause_of_job", {"job_id": job_id})
        for repo_id, reason in held_back:
            what = "the queue" if repo_id is None else "its repository"
            return f"{what} is paused{reason and f', {reason}'}"
        for earlier, status in blocking:
            return f"job {earlier} of its repository is {status}"
        return None

    def named(self, text: str) -> str:
        """Return the id of the job that a text is or begins, also without its ``sha256:``.

        Raises:
            JobNotFound: there is none, or there are several of which it is none.
        """
        if self.find(text) is not None:
            return text
        with self._database.transaction() as transaction:
            found = [job_id for (job_id,) in transaction.tuples("jobs_called", {"text": text})]
        if len(found) != 1:
            raise JobNotFound(text, alike=found)
        return found[0]

    def named_all(self, texts: Sequence[str]) -> list[str]:
        """Return the ids of the jobs that texts are or begin; what no job is called, as it is.

        Raises:
            JobNotFound: a text begins several ids.
        """
        ids: list[str] = []
        for text in texts:
            try:
                ids.append(self.named(text))
            except JobNotFound as error:
                if error.alike:
                    raise
                ids.append(text)
        return ids

    def listed(
        self,
        *,
        limit: int,
        status: str | None = None,
        sort: Sort = Sort.CREATED,
        **filters: Unpack[Filters],
    ) -> list[ListedJob]:
        """Return the newest jobs, or the first by another order, that the filters let through."""
        parameters = {"status": status, "sort": sort, "limit": limit} | _NO_FILTERS | filters
        with self._database.transaction() as transaction:
            return transaction.rows("jobs", parameters, of=ListedJob)

    def outcomes(self, job_ids: Sequence[str]) -> list[JobOutcome]:
        """Return how some jobs stand, oldest first."""
        with self._database.transaction() as transaction:
            return transaction.rows("outcomes", {"job_ids": list(job_ids)}, of=JobOutcome)

    def retry(self, job_ids: Sequence[str] | None = None, **filters: Unpack[Filters]) -> list[str]:
        """Make failed jobs pending again, of those that all the given filters let through.

        Their attempts so far count no more, but stay in their history. Returns their ids, the
        oldest first.

        Raises:
            Transient: DATABASE_UNAVAILABLE, also where others have locked one of the rows.
        """
        return self._change("retry", Status.FAILED, job_ids, filters)

    def cancel(self, job_ids: Sequence[str] | None = None, **filters: Unpack[Filters]) -> list[str]:
        """End pending jobs as failed, of those that all the given filters let through.

        Returns their ids, the oldest first.

        Raises:
            Transient: DATABASE_UNAVAILABLE, also where others have locked one of the rows.
        """
        reason = {"reason": str(Fault.CANCELLED), "message": Fault.CANCELLED.meaning}
        return self._change("cancel", Status.PENDING, job_ids, filters, **reason)

    def prune_done(self, *, older_than: timedelta) -> int:
        """Delete the rows of jobs that were done so long ago; return how many."""
        with self._database.transaction() as transaction:
            return transaction.write("prune_done", {"age": older_than})

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
            transaction.write("lock_claims")  # no claim is between its look and its lease
            transaction.rows("wait_shortly")  # meanwhile nobody can claim anything
            chosen: list[str] = [job_id for (job_id,) in transaction.tuples("choose", filtered)]
            if chosen:
                transaction.write(name, {"job_ids": chosen, **more})
                # The sensor waits for new jobs; a cancelled one too may have held others back.
                transaction.write("wake")
        return chosen
