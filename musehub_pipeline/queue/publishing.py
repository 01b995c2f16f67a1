"""Publishing: a branch head and the end of its job, by whoever still holds the lease.

What a run writes about a job that it holds is fenced by `job_id`, `attempt` and `run_id`.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from musehub_pipeline.domain.errors import (
    MAX_MESSAGE_CHARACTERS,
    Fault,
    JobError,
    Rejection,
    Transient,
    Trouble,
)
from musehub_pipeline.domain.job import INDEX_VERSION, Claim
from musehub_pipeline.domain.result import Result
from musehub_pipeline.postgres.database import Transaction


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """A branch head to publish: it must still be `expected`, where the push was judged against."""

    branch: str
    commit_id: str
    expected: str | None


def publish(
    transaction: Transaction, statement: str, claim: Claim, result: Result, *, head: Head | None
) -> bool:
    """End a job as done by `statement` and move its branch; false where that was done before.

    Raises:
        Transient: LEASE_LOST or HEAD_MOVED, as of `Queue.publish`.
    """
    done = {
        "result": msgspec.json.encode(result).decode(),
        "index_version": INDEX_VERSION,
        "former": claim.former,
        "code": None,
        "message": None,
    }
    if not transaction.write(statement, fence(claim) | done):
        if transaction.rows("was_published", fence(claim)):
            return False
        raise Transient(Trouble.LEASE_LOST, f"run {claim.run_id} no longer holds the lease")
    if head is not None:
        _move_head(transaction, claim, head)
    return True


def touch_repo(transaction: Transaction, repo_id: str) -> None:
    """Note the time of the push.

    Raises:
        Rejection: REPO_DELETED, where the repo has been deleted meanwhile.
    """
    if not transaction.write("touch_repo", {"repo_id": repo_id}):
        raise Rejection(Fault.REPO_DELETED, f"repository {repo_id!r} has been deleted meanwhile")


def _move_head(transaction: Transaction, claim: Claim, head: Head) -> None:
    """Move the head of a branch.

    Raises:
        Transient: HEAD_MOVED, where the branch is not where the push was judged against.
    """
    parameters = {
        "repo_id": claim.repo_id,
        "branch": head.branch,
        "head": head.commit_id,
        "expected": head.expected,
    }
    if not transaction.write("move_head", parameters):
        raise Transient(Trouble.HEAD_MOVED, f"branch {head.branch!r} has moved meanwhile")


def fence(claim: Claim) -> dict[str, Any]:
    """Return the parameters that make a statement hold for this claim only."""
    return {"job_id": claim.job_id, "attempt": claim.attempt, "run_id": claim.run_id}


def reason(error: JobError) -> dict[str, Any]:
    """Return the parameters that say why a job is not done."""
    message = error.message.replace("\0", "\\0")
    return {"code": str(error.code), "message": message[:MAX_MESSAGE_CHARACTERS]}
