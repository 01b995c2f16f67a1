"""Mpacks made of choices: any bytes say what is chosen, and a fuzzer changes the bytes.

Most are nearly sound, with ids that are recomputed, so that what is wrong with them is looked at.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from musehub_pipeline.domain import ids
from musehub_pipeline_tests.factories import joined, pack

Choice = TypeVar("Choice")

_MOST_ITEMS = 5
_MOST_DEPTH = 12
_TEXTS = (
    *("a", "b", "/", ".", "..", "\\", ".git", ".muse", "~1", ":", " ", "\0", "\x01", "é", "🎵"),
    *("\u200c", "\u202e", "HEAD", "@{", ".lock", "-", "sha256:", "0" * 64, "x" * 300, "\n", "\x7f"),
)
_TIMES = (
    *("2026-03-01T12:00:00+01:00", "2026-03-01T12:00:00", "10000-01-01T00:00:00Z", "now", ""),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-03-01\x0012:00:00Z"),
)
_SCALARS = (
    *(b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\x00", b"\xff", b"\xcc\xff", b"\xd3" + b"\x80" * 8),
    *(b"\xcf" + b"\xff" * 8, b"\xca\x7f\x80\x00\x00", b"\xcb" + b"\x00" * 7 + b"\x01", b"\xca\x00"),
    *(b"\xcb\x7f\xef" + b"\xff" * 6, b"\xcb\x7f\xf8" + b"\x00" * 6, b"\xc4\x01x", b"\xc6\xff"),
    *(b"\xd6\xff\x00\x00\x00\x00", b"\xc7\x0c\xff" + b"\xff" * 12, b"\xd4\x01\x00", b"\xdb\xff"),
    *(
        b"\xa1\xff",
        b"\xd9\x01a",
        b"\xdc\x00\x01\xc0",
        b"\xde\x00\x01\xa1a\xc0",
        b"\xdd" + b"\xff" * 4,
    ),
)
_META = (
    *("metadata", "structured_delta", "sem_ver_bump", "breaking_changes", "agent_id", "signature"),
    *("format_version", "test_runs", "future"),
)


class Choices:
    """Some bytes, taken one after the other; where none is left, each choice is the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """Return a number below another one, of up to 256."""
        self._at += 1
        return self._data[self._at - 1] % below if self._at <= len(self._data) else 0

    def one(self, of: Sequence[Choice]) -> Choice:
        """Return one of some."""
        return of[self.number(len(of))]

    def rest(self) -> bytes:
        """Return all that is left."""
        rest, self._at = self._data[self._at :], len(self._data)
        return rest

    def text(self) -> str:
        """Return a text of a few parts."""
        return "".join(self.one(_TEXTS) for _ in range(self.number(_MOST_ITEMS)))

    def value(self, depth: int = 0) -> bytes:
        """Return any value, packed, perhaps not well."""
        match self.number(8):
            case 0 | 1 | 2:
                return self.one(_SCALARS)
            case 3 | 4:
                return pack(self.text())
            case 5 if depth < _MOST_DEPTH:
                return self.many(lambda: self.value(depth + 1), b"\xdd")
            case 6 if depth < _MOST_DEPTH:
                return self.many(lambda: pack(self.text()) + self.value(depth + 1), b"\xdf")
            case 7:
                return self.one((b"\x91", b"\x81\xa0")) * self.one((3, 190, 210, 1000)) + b"\xc0"
            case _:
                return b"\xc0"

    def many(self, item: Callable[[], bytes], tag: bytes) -> bytes:
        """Return a list or map of some items."""
        items = [item() for _ in range(self.number(_MOST_ITEMS))]
        return tag + len(items).to_bytes(4) + b"".join(items)

    def seldom(self) -> bool:
        """Tell whether something is to be wrong here."""
        return self.number(32) == 31


def mpack_of(data: bytes) -> bytes:
    """Return the mpack that is chosen."""
    choices = Choices(data)
    if choices.number(8) == 7:
        return choices.rest()
    objects, object_ids = _objects(choices)
    snapshots, snapshot_ids = _snapshots(choices, object_ids)
    commits = _commits(choices, snapshot_ids)
    lists = [("objects", objects), ("snapshots", snapshots), ("commits", commits)]
    if choices.seldom():
        lists.append((choices.one(("future", "commits", "branch_heads")), [choices.value()]))
    parts = [
        pack(name) + b"\xdd" + len(items).to_bytes(4) + b"".join(items)
        for name, items in (lists if choices.number(2) else reversed(lists))
    ]
    mpack = bytearray(b"\xdf" + len(parts).to_bytes(4) + b"".join(parts))
    if choices.seldom():
        at = choices.number(256) << 8 | choices.number(256)
        mpack[at % len(mpack)] ^= 1 << choices.number(8)
    if choices.seldom():
        del mpack[-1 - choices.number(256) :]
    return bytes(mpack)


def _spelled(choices: Choices, hex_digest: str) -> str:
    return choices.one((hex_digest, ids.PREFIX + hex_digest))


def _item(choices: Choices, fields: dict[str, bytes]) -> bytes:
    pairs = [pack(name) + value for name, value in fields.items()]
    if choices.seldom():
        pairs.append(pack(choices.one((*fields, "future"))) + choices.value())
    if choices.seldom():
        del pairs[choices.number(len(pairs))]
    return b"\xdf" + len(pairs).to_bytes(4) + b"".join(pairs)


def _objects(choices: Choices) -> tuple[list[bytes], list[str]]:
    contents = [b"%d" % choices.number(4) for _ in range(choices.number(_MOST_ITEMS))]
    object_ids = [_spelled(choices, ids.hex_of(ids.object_id(content))) for content in contents]
    items = [
        _item(choices, {"object_id": pack(object_id), "content": b"\xc4\x01" + content})
        for object_id, content in zip(object_ids, contents, strict=True)
    ]
    return items, object_ids or ["0" * 64]


def _snapshots(choices: Choices, object_ids: Sequence[str]) -> tuple[list[bytes], list[str]]:
    items: list[bytes] = []
    snapshot_ids: list[str] = []
    for _ in range(choices.number(_MOST_ITEMS)):
        pairs = [(choices.text(), choices.one(object_ids)) for _ in range(choices.number(9))]
        hex_digest = joined(*sorted(f"{path}\0{object_id}" for path, object_id in pairs))
        snapshot_ids.append(_spelled(choices, hex_digest))
        entries = b"".join(pack(path) + pack(object_id) for path, object_id in pairs)
        fields = {
            "snapshot_id": pack(snapshot_ids[-1]),
            "manifest": b"\xdf" + len(pairs).to_bytes(4) + entries,
            "created_at": pack(choices.one(_TIMES)),
        }
        if choices.seldom():
            fields["manifest"] = choices.value()
        items.append(_item(choices, fields))
    return items, snapshot_ids or ["0" * 64]


def _commits(choices: Choices, snapshot_ids: Sequence[str]) -> list[bytes]:
    items: list[bytes] = []
    commit_ids: list[str] = ["1" * 64]
    for _ in range(choices.number(_MOST_ITEMS)):
        parents = [choices.one(commit_ids) for _ in range(choices.number(3))]
        snapshot_id, message, author = choices.one(snapshot_ids), choices.text(), choices.text()
        committed_at = choices.one(_TIMES) if choices.seldom() else _TIMES[0]
        hashed = ["\0".join(sorted(parents)), snapshot_id, message, committed_at]
        hex_digest = joined(*hashed, *([author] if choices.number(2) else []))
        commit_ids.append(_spelled(choices, hex_digest))
        fields = {
            "commit_id": pack(commit_ids[-1]),
            "snapshot_id": pack(snapshot_id),
            "message": pack(message),
            "committed_at": pack(committed_at),
            "author": pack(author),
            "branch": pack(choices.text() if choices.seldom() else "main"),
            "parent_commit_id": pack(parents[0] if parents else None),
            "parent2_commit_id": pack(parents[1] if len(parents) > 1 else None),
        }
        for _ in range(choices.number(4)):
            fields[choices.one(_META)] = choices.value()
        items.append(_item(choices, fields))
    return items
