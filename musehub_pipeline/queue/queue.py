"""The queue: job rows, and who may work on them.

What a run writes about a job that it holds is fenced by `job_id`, `attempt` and `run_id`.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from musehub_pipeline.domain.errors import (
    JobError,
    JobNotFound,
)
from musehub_pipeline.domain.ids import hex_of, stored
from musehub_pipeline.domain.job import INDEX_VERSION, Claim, Status
from musehub_pipeline.domain.plan import MOST_COUNTED, Backlog, DueJob
from musehub_pipeline.domain.result import Result, failed_line, retry_line
from musehub_pipeline.postgres.database import Database, Row
from musehub_pipeline.queue.publishing import Head, fence, publish, reason, touch_repo

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
        self, database: Database, *, lease: timedelta, max_attempts: int, max_kills: int
    ) -> None:
        self._database = database
        self.lease = lease
        self._limits = {"max_attempts": max_attempts, "max_kills": max_kills}

    def claim(
        self, *, run_id: str, limit: int, job_ids: Sequence[str] = ()
    ) -> list[tuple[Claim, dict[str, Any]]]:
        """Lease the oldest due jobs, or of `job_ids` those that may run; return their payloads too.

        A repo's jobs are leased in order of creation, and never while another run holds one.
        """
        with self._database.transaction() as transaction:
            transaction.rows("lock_claims")
            if job_ids:
                free = transaction.rows("choose_named", {"job_ids": list(job_ids)})
            else:
                free = transaction.rows("choose_due", {"limit": limit})
            chosen = [row["job_id"] for row in free]
            lease = {"run_id": run_id, "lease": self.lease, "job_ids": chosen}
            rows = {row["job_id"]: row for row in transaction.rows("lease", lease)}
            transaction.write("run_claimed", {"run_id": run_id})
        return [(_claim(rows[job_id], run_id), rows[job_id]["payload"]) for job_id in chosen]

    def rescue(self) -> list[Rescued]:
        """Take the jobs of runs that died back into the queue; log a line for each."""
        with self._database.autocommit() as transaction:
            if not transaction.rows("expired_leases"):  # as nearly always
                return []
        with self._database.transaction() as transaction:
            transaction.rows("lock_claims")
            rows = transaction.rows("rescue_expired", self._limits)
        rescued = [_rescued(row) for row in rows]
        for job in rescued:
            _log.log(job.level, "%s", job.line)
        return rescued

    def renew(self, run_id: str) -> None:
        """Make the leases of a run last from now on, and say that the run is alive."""
        with self._database.transaction() as transaction:
            for name in ("renew", "renew_past", "renew_run"):
                transaction.write(name, {"run_id": run_id, "lease": self.lease})

    def release(self, claim: Claim, error: JobError, *, delay: timedelta, spent: bool) -> bool:
        """Put a job back to pending; unless `spent`, as if it had not been claimed.

        Returns false, and changes nothing, where the job is not this claim's any more.
        """
        parameters = fence(claim) | reason(error) | {"delay": delay, "spent": spent}
        with self._database.transaction() as transaction:
            return transaction.write("release", parameters) > 0

    def fail(self, claim: Claim, error: JobError) -> bool:
        """End a job as failed, with the reason; false where it is not this claim's any more."""
        with self._database.transaction() as transaction:
            return transaction.write("fail", fence(claim) | reason(error)) > 0

    def publish(self, claim: Claim, result: Result, *, head: Head | None) -> None:
        """Move the branch's head, note the push and end the job as done: all of it, or nothing.

        Raises:
            Transient: LEASE_LOST where the job is not this run's any more, HEAD_MOVED where the
                branch is not where the push was judged against, or the repo has been deleted.
            Rejection: REPO_DELETED.
        """
        with self._database.transaction() as transaction:
            if publish(transaction, "publish_job", claim, result, head=head):
                touch_repo(transaction, claim.repo_id)

    def verified(self, mpack_keys: Collection[str]) -> set[str]:
        """Return those mpacks that this version has judged before; ids in the stored spelling."""
        spellings = {spelling for key in mpack_keys for spelling in (key, hex_of(key))}
        parameters = {"mpack_keys": sorted(spellings), "index_version": INDEX_VERSION}
        with self._database.autocommit() as transaction:
            return {
                stored(row["mpack_key"]) for row in transaction.rows("verified_mpacks", parameters)
            }

    def overtaken(self, job_id: str, *, branch: str) -> bool:
        """Tell whether a later job has moved a branch of the job's repo."""
        with self._database.autocommit() as transaction:
            return transaction.one("overtaken", {"job_id": job_id, "branch": branch})["overtaken"]

    def notices(self) -> AbstractContextManager[Callable[[float], bool]]:
        """Listen for new jobs: see `Database.notices`. A notice may be missed, so poll as well."""
        return self._database.notices("musehub_pipeline_jobs")

    def backlog(self, *, limit: int) -> Backlog:
        """Return the queue as it stands, with its `limit` oldest jobs that are due."""
        with self._database.transaction() as transaction:
            row = transaction.one("backlog", {"most": MOST_COUNTED})
            due = transaction.rows("due", {"limit": limit})
        return Backlog(**row, due=tuple(DueJob(**job) for job in due))

    def has_due(self) -> bool:
        """Tell whether a claim would find something now; asked after each batch, so not counted."""
        with self._database.autocommit() as transaction:
            found = transaction.rows("expired_leases") or transaction.rows("due", {"limit": 1})
        return bool(found)

    def count_due(self) -> int:
        """Return how many jobs could be claimed now: a look at all that is unfinished."""
        with self._database.autocommit() as transaction:
            return transaction.one("count_due")["count"]

    def prune_done(self, *, older_than: timedelta) -> int:
        """Delete the rows of jobs that were done so long ago; return how many."""
        with self._database.transaction() as transaction:
            return transaction.write("prune_done", {"age": older_than})

    def job(self, job_id: str) -> Row | None:
        """Return a job's row, if there is one."""
        with self._database.autocommit() as transaction:
            return transaction.row("job", {"job_id": job_id})

    def require(self, job_id: str) -> Row:
        """Return a job's row.

        Raises:
            JobNotFound: there is none.
        """
        row = self.job(job_id)
        if row is None:
            raise JobNotFound(job_id)
        return row

    def explain(self, row: Row) -> str:
        """Say in a few words how a job stands, and why it is not done."""
        if row["status"] == Status.DONE:
            return "is done already"
        if row["status"] == Status.RUNNING:
            return f"is held by run {row['run_id']}"
        if row["status"] == Status.FAILED:
            return f"failed, {row['error_code']}: {row['error']}"
        with self._database.transaction() as transaction:
            blocking = transaction.row("blocking_job", {"job_id": row["job_id"]})
        if blocking is not None:
            return f"waits: job {blocking['job_id']} of its repository is {blocking['status']}"
        if row["error_code"] is not None:
            return f"is pending again, {row['error_code']}: {row['error']}"
        return "is pending"


def _rescued(row: Row) -> Rescued:
    names = {"job_id": row["job_id"], "repo_id": row["repo_id"]}
    names |= {"code": row["error_code"], "message": row["error"]}
    if row["status"] == Status.FAILED:
        level, line = logging.ERROR, failed_line(**names)
    else:
        level, line = logging.WARNING, retry_line(**names)
    return Rescued(job_id=row["job_id"], run_id=row["run_id"], level=level, line=line)


def _claim(row: Row, run_id: str) -> Claim:
    return Claim(
        job_id=row["job_id"],
        repo_id=row["repo_id"],
        attempt=int(row["attempt"]),
        attempts_forgiven=int(row["attempts_forgiven"]),
        run_id=run_id,
        queued_seconds=(row["started_at"] - row["created_at"]).total_seconds(),
    )
