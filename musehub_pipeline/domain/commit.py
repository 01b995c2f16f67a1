"""A commit as a client packs it, and the row that the index stores for it."""

import re
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.commit_meta import check_meta, meta_json
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.job import check_branch
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.packed import decode


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a commit, of one element of the mpack's `commits`, as the client spelled it."""

    commit_id: str
    snapshot_id: str
    message: str
    committed_at: str
    branch: str = ""
    author: str = ""
    parent_commit_id: str | None = None
    parent2_commit_id: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        """The ids of the parents, in the client's order and spelling; an empty one is none."""
        return tuple(p for p in (self.parent_commit_id, self.parent2_commit_id) if p)


class _Identified(msgspec.Struct, frozen=True):
    commit_id: str


class CommitRow(NamedTuple):
    """A row of `musehub_commits`, but for its repo; ids in the stored spelling."""

    commit_id: str
    branch: str
    parent_ids: bytes  # JSON
    message: str
    author: str
    timestamp: datetime  # UTC
    snapshot_id: str
    commit_meta: bytes | bytearray  # JSON

    @property
    def size(self) -> int:
        """About how much is sent for it."""
        return len(self.commit_meta) + len(self.message) + len(self.author)


_decoder = msgspec.msgpack.Decoder(Commit)
_id_decoder = msgspec.msgpack.Decoder(_Identified)
_json = msgspec.json.Encoder()
_match_far_year = re.compile(r"(?:-\d{4,}|\+?\d{5,}|0000)-\d\d-\d\d(?:\D|\Z)", re.ASCII).match


def decode_commit(raw: bytes) -> Commit:
    """Decode one element of `commits`.

    Raises:
        Rejection: MPACK_MALFORMED, naming the field.
    """
    return decode(_decoder, raw)


def commit_id_of(raw: bytes) -> str:
    """Return the commit_id of one element of `commits`, and look at nothing else.

    Raises:
        Rejection: MPACK_MALFORMED or BAD_ID, naming the field.
    """
    commit_id = decode(_id_decoder, raw).commit_id
    ids.check_id("commit_id", commit_id)
    return commit_id


def check_commit(commit: Commit, raw: bytes, *, verify_id: bool, limits: Limits) -> bool:
    """Check all that a commit says by itself, and tell whether its id could be recomputed.

    Raises:
        Rejection: BAD_ID, BAD_TEXT, BAD_TIMESTAMP, MPACK_MALFORMED or LIMIT_EXCEEDED, naming the
            field, or, where `verify_id`, COMMIT_ID_MISMATCH.
    """
    ids.check_id("commit_id", commit.commit_id)
    ids.check_id("snapshot_id", commit.snapshot_id)
    if commit.parent_commit_id:
        ids.check_id("parent_commit_id", commit.parent_commit_id)
    if commit.parent2_commit_id:
        ids.check_id("parent2_commit_id", commit.parent2_commit_id)
    check_branch(commit.branch, where="branch")
    for name, text in (("message", commit.message), ("author", commit.author)):
        if "\0" in text:
            raise Rejection(Fault.BAD_TEXT, f"{name}: holds NUL")
    parse_timestamp(commit.committed_at, where="committed_at")
    check_meta(raw, max_json_bytes=limits.commit_bytes)
    known = ids.is_commit_id_of(commit.commit_id, commit)
    if not known and verify_id:
        raise Rejection(
            Fault.COMMIT_ID_MISMATCH,
            f"the fields hash to {' or '.join(ids.commit_hexes(commit))},"
            f" the commit_id is {commit.commit_id}",
        )
    return known


def row_of(commit: Commit, raw: bytes) -> CommitRow:
    """Convert a commit that has been checked to its row."""
    return CommitRow(
        commit_id=ids.stored(commit.commit_id),
        branch=commit.branch,
        parent_ids=_json.encode([ids.stored(p) for p in commit.parents]),
        message=commit.message,
        author=commit.author,
        timestamp=parse_timestamp(commit.committed_at, where="committed_at"),
        snapshot_id=ids.stored(commit.snapshot_id),
        commit_meta=meta_json(raw),
    )


def parse_timestamp(text: str, *, where: str) -> datetime:
    """Return the time that an ISO 8601 text with an offset names, in UTC.

    Raises:
        Rejection: BAD_TIMESTAMP.
    """
    try:
        moment = datetime.fromisoformat(text)  # which takes any separator, also NUL
        if moment.tzinfo is not None and "\0" not in text:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, OverflowError) or _match_far_year(text):
            message = f"{where}: {text!r:.60} lies outside the years 1 to 9999 in UTC"
            raise Rejection(Fault.BAD_TIMESTAMP, message) from error
    raise Rejection(Fault.BAD_TIMESTAMP, f"{where}: {text!r:.60} is not ISO 8601 with an offset")
