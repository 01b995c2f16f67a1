"""Leases: a job that a run holds, and all that the run may do with it: publish, fail, give it back.

Each is fenced by `job_id`, `attempt` and `run_id`: whoever has lost the lease changes nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar

import msgspec

from musehub_pipeline.domain.errors import (
    MAX_MESSAGE_CHARACTERS,
    READ_AGAIN,
    Deferral,
    Fault,
    JobError,
    Rejection,
    Transient,
    Trouble,
)
from musehub_pipeline.domain.job import INDEX_VERSION, Claim, Job, Status
from musehub_pipeline.domain.result import Outcome, Result
from musehub_pipeline.postgres.database import Database, Row, Transaction
from musehub_pipeline.queue.backoff import Backoff


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """A branch head to publish: it must still be `expected`, where the push was judged against."""

    branch: str
    commit_id: str
    expected: str | None


@dataclass(frozen=True, kw_only=True)
class Lease(ABC):
    """The lease of one job by a run."""

    holds_repo: ClassVar[bool]
    """Whether the later jobs of the repo wait until the lease has ended."""
    passes_over: ClassVar[bool]
    """Whether what the repo holds already is passed over, and not written again."""

    claim: Claim
    payload: Mapping[str, Any]  # as the hub wrote it
    status: Status  # of the row, as long as the lease lasts
    database: Database = field(repr=False, compare=False)

    def job(self) -> Job:
        """Read what the push asks for.

        Raises:
            Rejection: BAD_PAYLOAD or BAD_TEXT.
        """
        return Job.from_payload(self.payload)

    def overtaken(self, branch: str) -> bool:
        """Tell whether a later job has moved a branch of the job's repo."""
        parameters = {"job_id": self.claim.job_id, "branch": branch}
        with self.database.autocommit() as transaction:
            return transaction.value("overtaken", parameters)

    def publish(self, result: Result, *, head: Head | None) -> None:
        """Move the branch's head, note the push and end the job as done: all of it, or nothing.

        Raises:
            Transient: LEASE_LOST where the job is not this run's any more, HEAD_MOVED where the
                branch is not where the push was judged against, or the repo has been deleted.
            Rejection: REPO_DELETED.
        """
        done = {
            "result": msgspec.json.encode(result).decode(),
            "index_version": INDEX_VERSION,
            "code": None,
            "message": None,
        }
        with self.database.transaction() as transaction:
            if transaction.write("publish", self._fence() | done):
                self._move_head(transaction, head)
                self._note_push(transaction)
            elif not transaction.tuples("was_published", self._fence()):
                lost = f"run {self.claim.run_id} no longer holds the lease"
                raise Transient(Trouble.LEASE_LOST, lost)

    def settle(self, error: JobError) -> Outcome:
        """End a job that did not go well, or leave it to another attempt; return which.

        Raises:
            Transient: DATABASE_UNAVAILABLE.
        """
        if error.code is Trouble.LEASE_LOST:
            return Outcome.LOST
        outcome, is_held = self._settle(error)
        return outcome if is_held else Outcome.LOST

    def fail(self, error: JobError) -> bool:
        """End the job as failed, with the reason; false where the lease is lost."""
        return self._write("fail", _reason(error))

    @abstractmethod
    def give_back(self) -> bool:
        """Leave the job as if it had not been claimed; false where the lease is lost."""

    @abstractmethod
    def _settle(self, error: JobError) -> tuple[Outcome, bool]:
        """Return what was wanted, and whether the lease was still held."""

    @abstractmethod
    def _note_push(self, transaction: Transaction) -> None:
        """Note that the repo was pushed to."""

    def _move_head(self, transaction: Transaction, head: Head | None) -> None:
        if head is None:
            return
        parameters = {
            "repo_id": self.claim.repo_id,
            "branch": head.branch,
            "head": head.commit_id,
            "expected": head.expected,
        }
        if not transaction.write("move_head", parameters):
            raise Transient(Trouble.HEAD_MOVED, f"branch {head.branch!r} has moved meanwhile")

    def _touch_repo(self, transaction: Transaction) -> bool:
        return transaction.write("touch_repo", {"repo_id": self.claim.repo_id}) > 0

    def _write(self, name: str, more: Mapping[str, Any]) -> bool:
        with self.database.transaction() as transaction:
            return transaction.write(name, {**self._fence(), **more}) > 0

    def _fence(self) -> dict[str, Any]:
        claim = self.claim
        return {
            "job_id": claim.job_id,
            "attempt": claim.attempt,
            "run_id": claim.run_id,
            "status": self.status,
        }


@dataclass(frozen=True, kw_only=True)
class LiveLease(Lease):
    """The lease of a job that waited in the queue."""

    holds_repo = True
    passes_over = True

    status: Status = Status.RUNNING
    backoff: Backoff
    unread_for: timedelta  # since its mpack was first found missing, or wrong

    def retry_later(self, error: JobError, *, pause: timedelta) -> bool:
        """Put the job back to pending, with an attempt spent; false where the lease is lost."""
        return self._write("retry_later", _reason(error) | {"pause": pause})

    def give_back(self) -> bool:
        """Put the job back to pending as if it had not been claimed; false where it is lost."""
        return self._write("give_back", {})

    def _settle(self, error: JobError) -> tuple[Outcome, bool]:
        if isinstance(error, Deferral):
            return Outcome.PUT_BACK, self.give_back()
        attempts = self.claim.attempt - self.claim.attempts_forgiven
        if self._is_final(error) or attempts >= self.backoff.max_attempts:
            return Outcome.FAILED, self.fail(error)
        is_fault = isinstance(error, Rejection)
        pause = self.backoff.read_again_pause if is_fault else self.backoff.pause(attempts)
        return Outcome.PUT_BACK, self.retry_later(error, pause=pause)

    def _is_final(self, error: JobError) -> bool:
        """Tell whether another attempt cannot help: one bad read is no verdict."""
        if not isinstance(error, Rejection):
            return False
        return error.fault not in READ_AGAIN or self.unread_for >= self.backoff.read_again

    def _note_push(self, transaction: Transaction) -> None:
        if not self._touch_repo(transaction):
            deleted = f"repository {self.claim.repo_id!r} has been deleted meanwhile"
            raise Rejection(Fault.REPO_DELETED, deleted)


@dataclass(frozen=True, kw_only=True)
class PastLease(Lease):
    """The lease of a job that has ended, done or failed, and is indexed again.

    It keeps its status meanwhile: whatever becomes of the run, nothing is worse than before.
    """

    holds_repo = False
    passes_over = False

    def job(self) -> Job:
        """Read what the push asked for, so that no branch moves back.

        Raises:
            Rejection: BAD_PAYLOAD or BAD_TEXT.
        """
        job = Job.from_payload(self.payload)
        if self.status is Status.DONE:
            return replace(job, head=None)  # it has moved its branch
        return replace(job, force=False)

    def give_back(self) -> bool:
        """Leave the job as it was before the claim; false where the lease is lost."""
        return self._write("give_back_past", {})

    def _settle(self, error: JobError) -> tuple[Outcome, bool]:
        if self.status is Status.FAILED and isinstance(error, Rejection):
            return Outcome.FAILED, self.fail(error)  # it may have a new reason
        return Outcome.KEPT, self.give_back()

    def _note_push(self, transaction: Transaction) -> None:
        if self.status is Status.FAILED:
            self._touch_repo(transaction)


def claim_of(row: Row, run_id: str, *, queued_seconds: float = 0.0) -> Claim:
    """Return the claim of a row that a run has leased; a hub may have numbers of another type."""
    return Claim(
        job_id=row["job_id"],
        repo_id=row["repo_id"],
        repo_name=row["repo_name"] or row["repo_id"],
        attempt=int(row["attempt"]),
        attempts_forgiven=int(row["attempts_forgiven"]),
        run_id=run_id,
        queued_seconds=queued_seconds,
    )


def _reason(error: JobError) -> dict[str, Any]:
    """Return the parameters that say why a job is not done."""
    message = error.message.replace("\0", "\\0")
    return {"code": str(error.code), "message": message[:MAX_MESSAGE_CHARACTERS]}
