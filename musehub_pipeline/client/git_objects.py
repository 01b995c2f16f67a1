"""Git's objects as Python's: what is in the raw bytes of a commit or a tree."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import NamedTuple

from musehub_pipeline.domain.errors import PipelineError

_DATE = re.compile(rb"(-?\d{1,20})(?: ([+-])(\d{1,9})(\d\d))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A day off the ends of what datetime can hold, so that any time zone can show the instant.
_EARLIEST = int((datetime(1, 1, 2, tzinfo=UTC) - _EPOCH).total_seconds())
_LATEST = int((datetime(9999, 12, 30, tzinfo=UTC) - _EPOCH).total_seconds())
_MAX_OFFSET = timedelta(hours=15, minutes=59)  # PostgreSQL takes no larger one


class GitError(PipelineError):
    """The git repository could not be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GitCommit:
    """What a raw commit object says, as text; its parents are told by the history."""

    tree: str
    author: str  # "Name <email>"
    committed_at: str  # ISO 8601 with offset
    message: str  # without the newlines at its end


class EntryKind(Enum):
    """What a tree entry stands for; a symbolic link is a file that holds its target."""

    FILE = "file"
    TREE = "tree"
    SUBMODULE = "submodule"


class TreeEntry(NamedTuple):
    """One entry of a raw tree object."""

    kind: EntryKind
    name: bytes
    oid: bytes


def parse_commit(raw: bytes) -> GitCommit:
    """Take a raw commit object apart; what is malformed in it is replaced, never an error."""
    head, _, message = raw.partition(b"\n\n")
    headers: dict[bytes, bytes] = {}
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        headers.setdefault(key, value)  # lines that go on a header begin with a space: key b""
    encoding = headers.get(b"encoding", b"utf-8").decode("ascii", "replace")
    author, _ = _split_signature(headers.get(b"author", b""))
    _, committed_at = _split_signature(headers.get(b"committer", b""))
    return GitCommit(
        tree=headers[b"tree"].decode("ascii"),
        author=text_of(author, encoding).strip(),
        committed_at=_iso_date(committed_at),
        message=text_of(message, encoding).rstrip("\n"),
    )


def parse_tree(raw: bytes, *, oid_bytes: int) -> list[TreeEntry]:
    """Take a raw tree object apart."""
    entries: list[TreeEntry] = []
    at = 0
    while at < len(raw):
        space = raw.index(b" ", at)
        end = raw.index(b"\0", space)
        kind = _KINDS.get(raw[at:space], EntryKind.FILE)
        at = end + 1 + oid_bytes
        entries.append(TreeEntry(kind, raw[space + 1 : end], raw[end + 1 : at]))
    return entries


_KINDS = {
    b"40000": EntryKind.TREE,
    b"040000": EntryKind.TREE,  # written by some old tools
    b"160000": EntryKind.SUBMODULE,
}


def _split_signature(signature: bytes) -> tuple[bytes, bytes]:
    """Split ``Name <email> seconds zone`` after the email."""
    person, bracket, date = signature.rpartition(b">")
    return (person + bracket, date.strip()) if bracket else (date, b"")


def _iso_date(date: bytes) -> str:
    """Return ``seconds zone`` in ISO 8601; what no calendar holds is clamped, no zone is UTC."""
    match = _DATE.fullmatch(date)
    if match is None:
        return _EPOCH.isoformat()
    seconds, sign, hours, minutes = match.groups(default=b"0")
    moment = _EPOCH + timedelta(seconds=min(max(int(seconds), _EARLIEST), _LATEST))
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    if offset > _MAX_OFFSET:
        return moment.isoformat()
    return moment.astimezone(timezone(-offset if sign == b"-" else offset)).isoformat()


def text_of(raw: bytes, encoding: str) -> str:
    """Decode what git holds into text that UTF-8 and PostgreSQL can hold."""
    try:
        text = raw.decode(encoding, "replace")
    except (LookupError, ValueError):  # no such encoding, or none for text
        text = raw.decode("utf-8", "replace")
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
