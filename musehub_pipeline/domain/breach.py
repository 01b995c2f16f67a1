"""What must always hold of the index, and a place where it does not. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Invariant(StrEnum):
    """What `fsck` checks; the values are what it prints."""

    JOB_ENDS = "job_ends"  # a job is done, has failed with a reason, or is being worked on
    MPACK_INDEXED = "mpack_indexed"  # all of a done job's mpack is in the index, once
    COMMIT_COMPLETE = "commit_complete"  # its repo holds a commit's snapshot and parents
    MANIFEST_COMPLETE = "manifest_complete"  # what it names has a row, and a ref of its repo
    OBJECT_STORED = "object_stored"  # an object row has bytes of its size
    HEAD_EXISTS = "head_exists"  # a branch stands at a commit of its repo
    REF_SUPPLIED = "ref_supplied"  # a repo holds what was pushed to it, and nothing else


@dataclass(frozen=True, kw_only=True, slots=True)
class Breach:
    """One row at which an invariant does not hold."""

    invariant: Invariant
    table: str
    key: Mapping[str, str]  # of the row, which may be the one that is missing
    message: str

    def __str__(self) -> str:
        key = " ".join(f"{column}={value}" for column, value in self.key.items())
        return f"{self.invariant}: {self.table} {key}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "invariant": str(self.invariant),
            "table": self.table,
            "key": dict(self.key),
            "message": self.message,
        }
