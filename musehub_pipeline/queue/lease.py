"""Leases: a job that a run holds, and all that the run may do with it: publish, fail, give it back.

Each is fenced by `job_id`, `attempt` and `run_id`: whoever has lost the lease changes nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar

import msgspec
import psycopg

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
from musehub_pipeline.postgres.arrays import text_array
from musehub_pipeline.postgres.database import Database, Row, Transaction
from musehub_pipeline.queue.backoff import Backoff

_PATIENCE = "5s"
_PATIENCE_TOGETHER = "1s"  # after which each goes by itself


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

    def _write(self, name: str, more: Mapping[str, Any]) -> bool:
        with self.database.transaction() as transaction:
            return transaction.write(name, {**self.fence(), **more}) > 0

    def fence(self) -> dict[str, Any]:
        """Return what says that the job is still held, as the statements have it."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """A job that is done, and what is to be said of it."""

    lease: Lease
    result: Result
    head: Head | None


def publish(publications: Sequence[Publication]) -> None:
    """Move the branches' heads, note the pushes and end the jobs as done: all of it, or nothing.

    The jobs are those of one run, in their order. Rows that others have locked are waited for
    shortly: the rest of the batch waits too, and leases cannot be renewed meanwhile.

    Raises:
        Transient: LEASE_LOST where a job is not this run's any more, or the database may have lost
            what the run wrote; HEAD_MOVED where a branch is not where the push was judged against,
            or the repo has been deleted, or others have locked a row.
        Rejection: REPO_DELETED.
    """
    leases = [publication.lease for publication in publications]
    first = leases[0]
    done = {
        "run_id": first.claim.run_id,
        "job_ids": text_array([lease.claim.job_id for lease in leases]),
        "claimed": [lease.claim.attempt for lease in leases],
        "statuses": text_array([lease.status for lease in leases]),
        "results": text_array([msgspec.json.encode(each.result) for each in publications]),
        "patience": _PATIENCE if len(leases) == 1 else _PATIENCE_TOGETHER,
        "index_version": INDEX_VERSION,
        "code": None,
        "message": None,
    }
    with first.database.transaction() as transaction, _locked_is_moved():
        if transaction.write("publish", done) == len(leases):
            _move_heads(transaction, publications)
            _note_pushes(transaction, leases)
        elif len(leases) > 1 or not transaction.tuples("was_published", first.fence()):
            raise _why_not_held(transaction, first)


def _why_not_held(transaction: Transaction, lease: Lease) -> Transient:
    run_id = lease.claim.run_id
    why = f"run {run_id} no longer holds the lease"
    if transaction.tuples("has_lost_its_witness", lease.fence()):
        why = f"the database may have lost what run {run_id} wrote: it has crashed, or failed over"
    return Transient(Trouble.LEASE_LOST, why)


@contextmanager
def _locked_is_moved() -> Generator[None]:
    """Raise HEAD_MOVED where others have locked a row for longer than there is patience."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise Transient(Trouble.HEAD_MOVED, "others have locked a row of it") from error


def _move_heads(transaction: Transaction, publications: Sequence[Publication]) -> None:
    heads: dict[tuple[str, str], Head] = {}
    for publication in publications:
        if (head := publication.head) is not None:
            branch = publication.lease.claim.repo_id, head.branch
            if (before := heads.get(branch)) is not None:
                if head.expected != before.commit_id:
                    raise _head_moved(head)
                head = replace(head, expected=before.expected)
            heads[branch] = head
    if not heads:
        return
    parameters = {
        "repo_ids": [repo_id for repo_id, _ in heads],
        "branches": [head.branch for head in heads.values()],
        "heads": [head.commit_id for head in heads.values()],
        "expected": [head.expected for head in heads.values()],
    }
    if transaction.write("move_heads", parameters) < len(heads):
        raise _head_moved(next(iter(heads.values())))


def _head_moved(head: Head) -> Transient:
    return Transient(Trouble.HEAD_MOVED, f"branch {head.branch!r} has moved meanwhile")


def _note_pushes(transaction: Transaction, leases: Sequence[Lease]) -> None:
    repo_ids = {lease.claim.repo_id for lease in leases if lease.status is not Status.DONE}
    if not repo_ids:
        return
    rows = transaction.tuples("touch_repos", {"repo_ids": sorted(repo_ids)})
    touched = {repo_id for (repo_id,) in rows}
    for lease in leases:
        # What is indexed again may be of a repo that has been deleted since.
        if lease.status is Status.RUNNING and lease.claim.repo_id not in touched:
            deleted = f"repository {lease.claim.repo_id!r} has been deleted meanwhile"
            raise Rejection(Fault.REPO_DELETED, deleted)


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
