"""A job: what the hub asks for in one row of `musehub_background_jobs`. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.names import branch_fault

INDEX_VERSION = 1
"""Version of what the pipeline writes. Raise it when old mpacks have to be indexed again."""

MAX_BRANCH_BYTES = 255


class Status(StrEnum):
    """Where a job is; the values are the text in the database."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class _Payload(msgspec.Struct, frozen=True, kw_only=True):
    mpack_key: str
    pusher_id: str | None = None  # must be valid, but nothing is done with it
    branch: str | None = None
    head: str | None = None
    force: bool = False
    declared_objects_count: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Which run has which job; `job_id`, `attempt` and `run_id` are the fencing token."""

    job_id: str
    repo_id: str
    attempt: int
    run_id: str
    attempts_forgiven: int = 0  # attempts before an operator tried the job again
    # What tells about the claim, and is no part of the token: the repo's owner and slug, or its id
    # where its row is gone, and the time from the job's creation to the claim.
    repo_name: str = field(default="", compare=False)
    queued_seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What one push asks for, validated; ids in the stored spelling."""

    mpack_key: str
    branch: str | None  # the branch to move; None moves none
    head: str | None  # the commit to move it to
    force: bool  # move it even where that loses commits
    declared_objects_count: int | None  # what the client says the mpack holds

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> "Job":
        """Read a job's payload.

        Raises:
            Rejection: BAD_PAYLOAD, naming the field and what is wrong with it.
        """
        try:
            fields = msgspec.convert(payload, _Payload)
        except msgspec.ValidationError as error:
            raise Rejection(Fault.BAD_PAYLOAD, f"payload: {error}") from error
        for name in ("mpack_key", "head"):
            value = getattr(fields, name)
            if value is not None and not ids.is_id(value):
                raise Rejection(Fault.BAD_PAYLOAD, f"payload.{name}: {value!r:.120} is not an id")
        if fields.head is not None and not fields.branch:
            raise Rejection(Fault.BAD_PAYLOAD, "payload.head: a head needs a branch to move")
        if fields.branch is not None:
            check_branch(fields.branch, where="payload.branch")
            _check_branch_rules(fields.branch)
        return cls(
            mpack_key=ids.stored(fields.mpack_key),
            branch=fields.branch,
            head=None if fields.head is None else ids.stored(fields.head),
            force=fields.force,
            declared_objects_count=fields.declared_objects_count,
        )


def payload_of(
    *,
    mpack_key: str,
    pusher_id: str | None = None,
    branch: str | None = None,
    head: str | None = None,
    force: bool = False,
    declared_objects_count: int | None = None,
) -> dict[str, Any]:
    """Return the payload of a job, as the hub writes it."""
    return {
        "mpack_key": mpack_key,
        "pusher_id": pusher_id,
        "branch": branch,
        "head": head,
        "force": force,
        "declared_objects_count": declared_objects_count,
    }


def _check_branch_rules(name: str) -> None:
    if name and (fault := branch_fault(name)):
        message = f"payload.branch: {name!r:.120} can be no branch: {fault}"
        raise Rejection(Fault.BAD_PAYLOAD, message)


def check_branch(name: str, *, where: str) -> None:
    """Raise a `Rejection` unless `name` can be stored and indexed as a branch name."""
    if "\0" in name:
        raise Rejection(Fault.BAD_TEXT, f"{where}: a branch name holds NUL")
    if len(name.encode()) > MAX_BRANCH_BYTES:
        raise Rejection(
            Fault.BAD_TEXT, f"{where}: a branch name is longer than {MAX_BRANCH_BYTES} bytes"
        )
