"""Content ids: their spellings, and the schemes by which they are recomputed.

An id is the sha256 of something, as 64 lowercase hex digits, bare or prefixed ``sha256:``. Clients
use both spellings; the pipeline stores the prefixed one. Where an id is hashed into another id, the
spelling that the client used counts, so ids are canonicalised only after they have been checked.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Protocol

from musehub_pipeline.domain.errors import Fault, Rejection

PREFIX = "sha256:"
DIGEST_BYTES = 32
_SEPARATOR = "\0"
_match = re.compile(r"(?:sha256:)?[0-9a-f]{64}").fullmatch


def is_id(text: str) -> bool:
    """Tell whether `text` is an id in one of the two spellings."""
    return _match(text) is not None


def check_id(name: str, value: str) -> None:
    """Raise a `Rejection`, BAD_ID, unless `value` is an id; the message begins with its `name`."""
    if _match(value) is None:  # not by is_id(): another call would tell, millions of times
        raise Rejection(Fault.BAD_ID, f"{name}: {value!r:.120} is not an id")


def hex_of(any_id: str) -> str:
    """Return the 64 hex digits of a valid id of either spelling."""
    return any_id[-64:]


def digest_of(any_id: str) -> bytes:
    """Return the 32 bytes of a valid id of either spelling."""
    return bytes.fromhex(any_id[-64:])


def id_of(digest: bytes) -> str:
    """Return the stored spelling, ``sha256:<hex>``, of a 32-byte digest."""
    return PREFIX + digest.hex()


def stored(any_id: str) -> str:
    """Return the stored spelling, ``sha256:<hex>``, of a valid id of either spelling."""
    return PREFIX + any_id[-64:]


def short(text: str) -> str:
    """Return the first 12 characters of an id, without ``sha256:``; commands take that for it."""
    return text.removeprefix(PREFIX)[:12]


def split(digests: bytes | bytearray) -> Iterator[bytes]:
    """Yield the digests that stand one behind the other."""
    for start in range(0, len(digests), DIGEST_BYTES):
        yield bytes(digests[start : start + DIGEST_BYTES])


def object_id(content: bytes) -> str:
    """Return the id of an object: sha256 of its content, in the stored spelling."""
    return PREFIX + sha256(content).hexdigest()


class HashedCommit(Protocol):
    """The fields of a commit that its id is made of, in the client's spelling."""

    @property
    def parents(self) -> Iterable[str]:
        """Ids of the parents."""
        ...

    @property
    def snapshot_id(self) -> str:
        """Id of the snapshot."""
        ...

    @property
    def message(self) -> str:
        """The message."""
        ...

    @property
    def committed_at(self) -> str:
        """The time, as ISO 8601 text."""
        ...

    @property
    def author(self) -> str:
        """The author; older schemes leave it out."""
        ...


def _commit_v1(commit: HashedCommit) -> tuple[str, ...]:
    parents = _SEPARATOR.join(sorted(commit.parents))
    return (parents, commit.snapshot_id, commit.message, commit.committed_at)


def _commit_v2(commit: HashedCommit) -> tuple[str, ...]:
    return (*_commit_v1(commit), commit.author)


COMMIT_SCHEMES: tuple[Callable[[HashedCommit], tuple[str, ...]], ...] = (_commit_v1, _commit_v2)
"""Every known way to list the fields that a commit id hashes, the oldest first."""


def commit_hex(commit: HashedCommit) -> str:
    """Return the hex digest of a commit by the newest scheme."""
    *_, newest = commit_hexes(commit)
    return newest


def commit_hexes(commit: HashedCommit) -> Iterator[str]:
    """Yield the hex digest of a commit by each known scheme: sha256 of its fields joined by NUL."""
    for scheme in COMMIT_SCHEMES:
        yield _hex(scheme(commit))


def _hex(fields: Iterable[str]) -> str:
    # Joined when they are encoded: a text may take four times as much before.
    return sha256(b"\0".join(map(str.encode, fields))).hexdigest()


def is_commit_id_of(commit_id: str, commit: HashedCommit) -> bool:
    """Tell whether `commit_id` is what one of the known schemes makes of `commit`."""
    hex_digest = hex_of(commit_id)
    return any(hex_digest == _hex(scheme(commit)) for scheme in reversed(COMMIT_SCHEMES))


def snapshot_hex(manifest: Mapping[str, str]) -> str:
    """Return the hex digest of a manifest, path → object id in the client's spelling.

    It is the sha256 of the ``path NUL object_id`` pairs, sorted, joined by NUL.
    """
    return sha256(_SEPARATOR.join(sorted(entries(manifest))).encode()).hexdigest()


def entries(manifest: Mapping[str, str]) -> Iterator[str]:
    """Yield the ``path NUL object_id`` pairs of a manifest."""
    return map(_SEPARATOR.join, manifest.items())
