"""Everything that can go wrong with a job, and whether trying again can help.

The codes are a closed list: dashboards group by them, and the documentation explains each. Whether
a fault is permanent is said by the type of the exception, never by reading its message.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

MAX_MESSAGE_CHARACTERS = 2_000
"""What is kept of the message of a job that did not end well."""


class Explained(StrEnum):
    """A word of a closed list; `meaning` is for the person who reads it."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Make a member whose text is `value` and that carries its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class Code(Explained):
    """Why a job did not end well; `meaning` is one sentence."""


class Fault(Code):
    """Permanent faults of a push: the job fails at once, and is not tried again by itself."""

    BAD_PAYLOAD = "BAD_PAYLOAD", "The job's payload lacks a field, or has one that is not valid."
    REPO_UNKNOWN = "REPO_UNKNOWN", "The job names a repository that does not exist."
    REPO_DELETED = "REPO_DELETED", "The repository of the job has been deleted."
    MPACK_MISSING = "MPACK_MISSING", "Object storage has no mpack under the job's mpack_key."
    MPACK_TOO_LARGE = "MPACK_TOO_LARGE", "The mpack is larger than MUSEHUB_MAX_MPACK_BYTES."
    MPACK_HASH_MISMATCH = "MPACK_HASH_MISMATCH", "The bytes stored do not hash to the mpack_key."
    MPACK_MALFORMED = "MPACK_MALFORMED", "The mpack is not msgpack of the documented form."
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED", "The mpack has more or larger items than the limits allow."
    BAD_ID = "BAD_ID", "An id is not 64 lowercase hex digits, bare or prefixed sha256:."
    BAD_PATH = "BAD_PATH", "A manifest has a path that no checkout may hold."
    BAD_TEXT = "BAD_TEXT", "A text holds NUL, or a name is longer than can be indexed."
    BAD_TIMESTAMP = "BAD_TIMESTAMP", "A time is not ISO 8601 with an offset, or out of range."
    COUNT_MISMATCH = "COUNT_MISMATCH", "The mpack does not hold declared_objects_count objects."
    OBJECT_HASH_MISMATCH = "OBJECT_HASH_MISMATCH", "An object's content does not hash to its id."
    SNAPSHOT_ID_MISMATCH = "SNAPSHOT_ID_MISMATCH", "A manifest does not hash to its snapshot's id."
    COMMIT_ID_MISMATCH = "COMMIT_ID_MISMATCH", "A commit's fields do not hash to its id."
    OBJECT_NOT_HELD = "OBJECT_NOT_HELD", "A manifest names an object that its repo does not hold."
    SNAPSHOT_NOT_HELD = "SNAPSHOT_NOT_HELD", "A commit names a snapshot that its repo lacks."
    PARENT_NOT_HELD = "PARENT_NOT_HELD", "A commit names a parent that its repo does not hold."
    HEAD_UNKNOWN = "HEAD_UNKNOWN", "The new head is neither in the mpack nor in the repository."
    NON_FAST_FORWARD = "NON_FAST_FORWARD", "The branch's head is no ancestor of the new head."
    CANCELLED = "CANCELLED", "An operator cancelled the job."


class Trouble(Code):
    """Transient trouble around a push: the job goes back to pending and is tried again."""

    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE", "The database could not be reached or gave up."
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE", "Object storage could not be reached or refused."
    SCRATCH_UNAVAILABLE = "SCRATCH_UNAVAILABLE", "The scratch folder could not be written or read."
    LEASE_LOST = (
        "LEASE_LOST",
        (
            "Another run owns the job now, or the database has crashed since the claim;"
            " this run published nothing."
        ),
    )
    LEASE_EXPIRED = "LEASE_EXPIRED", "The run that held the job died without a word."
    HEAD_MOVED = (
        "HEAD_MOVED",
        "The branch's head moved while the job was under way, or another session had locked a row.",
    )
    EARLIER_JOB_UNFINISHED = (
        "EARLIER_JOB_UNFINISHED",
        "An earlier push to the same repository, in the same batch, did not end well.",
    )
    OVER_BATCH = "OVER_BATCH", "The batch was full; the job waits for the next one."
    INTERNAL_ERROR = "INTERNAL_ERROR", "The pipeline itself failed; its log has the traceback."


READ_AGAIN = {Fault.MPACK_MISSING, Fault.MPACK_HASH_MISMATCH}
"""Faults that one look at storage does not prove: it may answer otherwise a moment later."""

_CODES = {str(code) for code in (*Fault, *Trouble)}


def parse_code(text: str) -> str:
    """Return the reason code that a person wrote, in capitals.

    Raises:
        ValueError: there is no such code.
    """
    code = text.strip().upper()
    if code not in _CODES:
        raise ValueError(f"{text!r:.80} is none of {', '.join(sorted(_CODES))}")
    return code


class PipelineError(Exception):
    """The pipeline could not do what it was asked."""


class JobError(PipelineError):
    """A job did not end well: `code` says why in one word, `message` in a sentence."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Rejection(JobError):
    """The push itself is at fault, and will be for ever; `item` is the part of it that is."""

    def __init__(self, code: Fault, message: str, *, item: str | None = None) -> None:
        super().__init__(code, message if item is None else f"{item}: {message}")
        self.fault = code
        self.item = item

    def at(self, item: str) -> "Rejection":
        """Return the same rejection for `item`, unless it names a part already."""
        return self if self.item else Rejection(self.fault, self.message, item=item)


class Transient(JobError):
    """Something around the push failed; another attempt may succeed."""

    def __init__(self, code: Trouble, message: str) -> None:
        super().__init__(code, message)


class Deferral(Transient):
    """The job was put off through no doing of its own: it waits, and no attempt is spent."""


class JobFailed(PipelineError):
    """A job ended as failed; `code` is the reason that its row carries."""

    def __init__(self, job_id: str, code: str, message: str) -> None:
        super().__init__(f"job {job_id} failed, {code}: {message}")
        self.job_id = job_id
        self.code = code
        self.message = message


class QueryFailed(PipelineError):
    """The database refused a statement of the operator's."""


class RepoNotFound(PipelineError):
    """The hub has no repository of that name, or it has been deleted."""


class JobNotFound(PipelineError):
    """The job table has no mpack.index job of that id, or several whose ids begin so."""

    def __init__(self, job_id: str, *, alike: Sequence[str] = ()) -> None:
        several = f"the ids of several jobs begin with {job_id!r}: {', '.join(alike)}"
        super().__init__(several if alike else f"no mpack.index job has the id {job_id!r}")
        self.job_id = job_id
        self.alike = alike


class JobNotDone(PipelineError):
    """A job that was asked for is neither done nor failed: it waits, or another run has it."""


class SettingsError(PipelineError):
    """A setting is missing or not valid; the message names its variable."""


class SchemaMismatch(PipelineError):
    """The database holds tables that the pipeline cannot work with."""
