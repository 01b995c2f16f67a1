"""Mpacks at the edge of the limits, written as a stream: none is ever in memory as a whole.

Each list comes in the order in which it takes most room: objects, snapshots, commits, and of the
latter two what is large comes last, when all else is known already. Ids are bare hex.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, islice, repeat
from pathlib import Path
from typing import NamedTuple

import msgpack

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.commit_meta import MAX_KEYS, MAX_VALUES
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline_tests.benchmarks.mpacks import BRANCH, Mpack
from musehub_pipeline_tests.domain.reading import array, mapping
from musehub_pipeline_tests.factories import pack

WIDE = "🎵"  # of a text that has one, each character takes four bytes in memory

_WRITTEN_BYTES = 1 << 20
_AT = "2026-01-05T08:00:00+00:00"
_OBJECT = b"\x82\xa9object_id\xd9\x40%b\xa7content\xc4\x08%b"
_ID = b"\xd9\x40%b"
_SPARE_BYTES = 4096  # of a large item: for all that is not counted here


@dataclass(frozen=True)
class Items:
    """The items of a list, packed, and how many they are."""

    count: int
    packed: Iterable[bytes]


NONE = Items(0, ())


def write(
    path: Path, *, objects: Items = NONE, snapshots: Items = NONE, commits: Items = NONE
) -> Mpack:
    """Write an mpack; its push moves no branch."""
    digest = sha256()
    with path.open("wb") as file:
        for part in _joined(_parts(objects=objects, snapshots=snapshots, commits=commits)):
            digest.update(part)
            file.write(part)
        size = file.tell()
    return Mpack(
        path=path,
        key=ids.id_of(digest.digest()),
        size_bytes=size,
        head="",
        objects=objects.count,
        snapshots=snapshots.count,
        commits=commits.count,
    )


def _parts(**lists: Items) -> Iterator[bytes]:
    packer = msgpack.Packer()
    yield packer.pack_map_header(len(lists))
    for name, items in lists.items():
        yield packer.pack(name) + packer.pack_array_header(items.count)
        yield from items.packed


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    joined = bytearray()
    for part in parts:
        joined += part
        if len(joined) > _WRITTEN_BYTES:
            yield bytes(joined)
            joined.clear()
    yield bytes(joined)


def content(number: int) -> bytes:
    """Return the content of a small object."""
    return number.to_bytes(8)


def object_hex(number: int) -> str:
    """Return the id of a small object."""
    return sha256(content(number)).hexdigest()


def small_objects(count: int, *, first: int = 0) -> Items:
    """Return objects of eight bytes each."""
    numbers = range(first, first + count)
    packed = (_OBJECT % (object_hex(n).encode(), content(n)) for n in numbers)
    return Items(count, packed)


def large_objects(count: int, size: int) -> Items:
    """Return objects of so many bytes."""

    def packed() -> Iterator[bytes]:
        for number in range(count):
            large = content(number) * (size // 8)
            yield pack({"object_id": sha256(large).hexdigest(), "content": large})

    return Items(count, packed())


def snapshot_hexes(count: int, named: int) -> Iterator[str]:
    """Yield the ids of what `small_snapshots` returns."""
    return map(ids.snapshot_hex, _manifests(count, named))


def small_snapshots(count: int, named: int) -> Items:
    """Return snapshots that name so many small objects, each an equal part of them, or one."""
    packed = (
        pack({"snapshot_id": ids.snapshot_hex(manifest), "manifest": manifest})
        for manifest in _manifests(count, named)
    )
    return Items(count, packed)


def _manifests(count: int, named: int) -> Iterator[dict[str, str]]:
    if each := named // count:
        for number in range(count):
            paths = range(each)
            yield {f"{path:05x}": object_hex(number * each + path) for path in paths}
    else:
        for number in range(count):
            yield {f"{number:05x}": object_hex(number % named)}


def large_snapshot(limits: Limits, *, beside: str = "", named: int = 1) -> Items:
    """Return a snapshot with as many paths as it may have, each of five digits and `beside`.

    They name `named` small objects in turn.
    """
    sample = pack({f"{0:05x}{beside}": object_hex(0)})
    count = (limits.snapshot_bytes - _SPARE_BYTES) // (len(sample) - 1)

    def packed() -> Iterator[bytes]:
        yield b"\x82\xa8manifest\xdf" + count.to_bytes(4)
        hashed = sha256()
        for number in range(count):  # in the order in which they are hashed
            path, object_id = f"{number:05x}{beside}", object_hex(number % named)
            hashed.update(b"\0" * (number > 0) + f"{path}\0{object_id}".encode())
            yield pack(path) + _ID % object_id.encode()
        yield b"\xabsnapshot_id" + _ID % hashed.hexdigest().encode()

    return Items(1, packed())


def small_commits(snapshot_ids: Iterable[str], count: int, *, message: str = "") -> Items:
    """Return commits, each with two parents, but for the first ones."""

    def packed() -> Iterator[bytes]:
        parents: list[str] = []
        for snapshot_id in islice(snapshot_ids, count):
            commit = _commit(snapshot_id, message=message, parents=parents)
            parents = [str(commit["commit_id"]), *parents[:1]]
            yield pack(commit)

    return Items(count, packed())


def large_commit(
    snapshot_id: str, said: Mapping[str, bytes], *, message: str = "", author: str = ""
) -> Items:
    """Return a commit with what is said of it, packed already."""
    commit = _commit(snapshot_id, message=message, author=author)
    fields = {name: pack(value) for name, value in commit.items()}
    return Items(1, [mapping(fields | dict(said))])


def _commit(
    snapshot_id: str, *, message: str, author: str = "", parents: Iterable[str] = ()
) -> dict[str, object]:
    first, second, *_ = *parents, None, None
    hashed = _Hashed(tuple(parents), snapshot_id, message, _AT, author)
    return {
        "commit_id": ids.commit_hex(hashed),
        "branch": BRANCH,
        "snapshot_id": snapshot_id,
        "message": message,
        "author": author,
        "committed_at": _AT,
        "parent_commit_id": first,
        "parent2_commit_id": second,
    }


class _Hashed(NamedTuple):
    parents: tuple[str, ...]
    snapshot_id: str
    message: str
    committed_at: str
    author: str


def nested_maps(limits: Limits) -> dict[str, bytes]:
    """Return as many maps in maps as a commit may have, and texts up to its size."""
    count = MAX_VALUES // 3 - 10  # each is two values, and a comma
    texts = [wide_text(limits)] * 7
    left = limits.commit_bytes - _SPARE_BYTES - sum(map(len, texts)) - count * len('{"a":{}},')
    texts += [pack("x" * left)] if left > 0 else []
    while sum(map(len, texts)) + count * len('{"a":{}},') > limits.commit_bytes - _SPARE_BYTES:
        texts.pop()
    return {
        "structured_delta": array(count, b"\x81\xa1a\x80" * count),
        "breaking_changes": array(len(texts), b"".join(texts)),
    }


def many_keys(limits: Limits) -> dict[str, bytes]:
    """Return a map of as many keys as it may have, as long as they may be."""
    count = MAX_KEYS - 1
    each = (limits.commit_bytes - _SPARE_BYTES) // count - len('"":0,')
    padding = "x" * (each - len(WIDE.encode()) - 6)
    pairs = (pack(f"{WIDE}{number:06x}{padding}") + b"\0" for number in range(count))
    return {"metadata": b"\xdf" + count.to_bytes(4) + b"".join(pairs)}


def wide_texts(limits: Limits, count: int) -> dict[str, bytes]:
    """Return texts, each as long as it may be."""
    return {"structured_delta": array(count, b"".join(repeat(wide_text(limits), count)))}


def wide_message(limits: Limits) -> str:
    """Return a text, as long as it may be, that takes four times as much in memory."""
    return WIDE + "x" * (limits.text_bytes - len(WIDE.encode()) - 8)


def wide_text(limits: Limits) -> bytes:
    """Return `wide_message`, packed."""
    return pack(wide_message(limits))


def both(first: Items, second: Items) -> Items:
    """Return the items of two lists as one."""
    return Items(first.count + second.count, chain(first.packed, second.packed))
