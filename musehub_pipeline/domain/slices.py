"""Where the items of one kind lie in a scratch file: 48 bytes an item, whatever its size."""

from array import array
from collections.abc import Collection, Iterator
from itertools import chain
from typing import NamedTuple

from musehub_pipeline.domain.ids import DIGEST_BYTES


class Slice(NamedTuple):
    """One item: the digest of its id, and the bytes of the scratch file that hold it."""

    digest: bytes
    offset: int
    size: int


class Slices:
    """An append-only table of slices."""

    __slots__ = ("_digests", "_offsets", "_sizes")

    def __init__(self) -> None:
        self._digests = bytearray()
        self._offsets = array("Q")
        self._sizes = array("Q")

    def append(self, digest: bytes, offset: int, size: int) -> None:
        """Add an item."""
        self._digests += digest
        self._offsets.append(offset)
        self._sizes.append(size)

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[Slice]:
        for digest, offset, size in zip(self.digests(), self._offsets, self._sizes, strict=True):
            yield Slice(digest, offset, size)

    def digests(self) -> Iterator[bytes]:
        """Yield the digest of every item, in order."""
        digests = self._digests
        for start in range(0, len(digests), DIGEST_BYTES):
            yield bytes(digests[start : start + DIGEST_BYTES])

    def sorted_unique(self) -> "Slices":
        """Return the items in order of their ids, each id once: the first that came.

        Every bulk write goes in this order, so that two workers that share items cannot deadlock.
        """
        digests = list(self.digests())
        unique = Slices()
        previous = None
        for row in sorted(range(len(self)), key=digests.__getitem__):
            if digests[row] != previous:
                previous = digests[row]
                unique.append(previous, self._offsets[row], self._sizes[row])
        return unique

    def joined(self, others: "Slices") -> "Slices":
        """Return these and the others in order of their ids, each id once."""
        if not others:
            return self
        both = Slices()
        for item in chain(self, others):
            both.append(*item)
        return both.sorted_unique()

    def without(self, digests: Collection[bytes]) -> "Slices":
        """Return the items whose digest is not among `digests`."""
        if not digests:
            return self
        rest = Slices()
        for item in self:
            if item.digest not in digests:
                rest.append(*item)
        return rest

    def chunks(self, *, rows: int, size_bytes: int | None = None) -> Iterator[list[Slice]]:
        """Yield the items in lists of at most `rows` items and, but for one, `size_bytes`."""
        chunk: list[Slice] = []
        size = 0
        for item in self:
            full = size_bytes is not None and size + item.size > size_bytes
            if chunk and (len(chunk) == rows or full):
                yield chunk
                chunk, size = [], 0
            chunk.append(item)
            size += item.size
        if chunk:
            yield chunk
