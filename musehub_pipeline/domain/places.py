"""Where the items of one kind lie in a file: some fifty bytes an item, whatever its size."""

import sys
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import compress
from typing import NamedTuple

from musehub_pipeline.domain import ids

_SORTED_AT_ONCE = 50_000  # digests that are Python objects at the same time: 10 MB
_SCANNED = 20  # scanning this many items costs as much as searching for one


@cache
def _with_mark(mark: int) -> bytes:
    """Return for each byte of marks whether that one is among them."""
    return bytes(bool(marks & mark) for marks in range(256))


class Place(NamedTuple):
    """One item: the digest of its id, and the bytes of the file that hold it."""

    digest: bytes
    offset: int
    size: int


class PlaceView(ABC):
    """Items that can be gone over, again and again."""

    __slots__ = ()

    @abstractmethod
    def __len__(self) -> int:
        """Return how many they are."""

    @abstractmethod
    def __iter__(self) -> Iterator[Place]:
        """Go over them in order."""

    @abstractmethod
    def digests(self) -> Iterator[bytes]:
        """Yield the digest of every item, in order."""

    def chunks(self, *, rows: int, size_bytes: int | None = None) -> Iterator[list[Place]]:
        """Yield the items in lists of at most `rows` items and, but for one, `size_bytes`."""
        chunk: list[Place] = []
        size = 0
        for place in self:
            full = size_bytes is not None and size + place.size > size_bytes
            if chunk and (len(chunk) == rows or full):
                yield chunk
                chunk, size = [], 0
            chunk.append(place)
            size += place.size
        if chunk:
            yield chunk


class Places(PlaceView):
    """An append-only table of places. Each may have marks, the bits of a byte."""

    __slots__ = ("_digests", "_marks", "_offsets", "_sizes")

    def __init__(self, places: Iterable[Place] = ()) -> None:
        self.clear()
        for place in places:
            self.append(place)

    def append(self, place: Place, marks: int = 0) -> None:
        """Add an item."""
        self._digests += place[0]
        self._offsets.append(place[1])
        self._sizes.append(place[2])
        self._marks.append(marks)

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[Place]:
        return map(Place, self.digests(), self._offsets, self._sizes)

    def digests(self) -> Iterator[bytes]:
        """Yield the digest of every item, in order."""
        return ids.split(self._digests)

    @property
    def size_bytes(self) -> int:
        """What the table takes in memory."""
        columns = (self._digests, self._offsets, self._sizes, self._marks)
        return sum(map(sys.getsizeof, columns))

    def clear(self) -> None:
        """Let go of all items, and of their memory."""
        self._digests = bytearray()
        self._offsets = array("Q")
        self._sizes = array("Q")
        self._marks = bytearray()

    def marked(self, mark: int) -> "Marked":
        """Return a view of the items that have a mark, as long as none is added."""
        return Marked(self, self._marks.translate(_with_mark(mark)))

    def mark(self, digests: Collection[bytes], mark: int) -> None:
        """Give a mark to the items of these digests."""
        if digests:
            for row, digest in enumerate(self.digests()):
                if digest in digests:
                    self._marks[row] |= mark

    def among(self, digests: Collection[bytes]) -> Iterator[Place]:
        """Yield the items of some digests, of a table that is sorted and has each once."""
        if len(self) < _SCANNED * len(digests):
            asked = digests if isinstance(digests, set) else set(digests)
            yield from compress(self, map(asked.__contains__, self.digests()))
            return
        for digest in digests:
            row = bisect_left(range(len(self)), digest, key=self._digest)
            if row < len(self) and self._digest(row) == digest:
                yield Place(digest, self._offsets[row], self._sizes[row])

    def sorted_unique(self, *, marked: bool = False) -> "Places":
        """Return the items, or the marked ones, in order of their ids, each id once: the first.

        Every bulk write goes in this order, so that two workers that share items cannot deadlock.
        """
        unique = Places()
        for first in self._groups(range(len(self))):
            for digest in sorted(first):
                row = first[digest]
                if self._marks[row] or not marked:
                    place = Place(digest, self._offsets[row], self._sizes[row])
                    unique.append(place, self._marks[row])
        return unique

    def _groups(self, rows: Sequence[int], byte: int = 0) -> Iterator[dict[bytes, int]]:
        """Yield the row where each digest comes first; many in groups that follow each other.

        A group that is too large is split by the next byte: also where somebody has made digests
        that begin alike.
        """
        first: dict[bytes, int] = {}
        for row in rows:
            first.setdefault(self._digest(row), row)
            if len(first) > _SORTED_AT_ONCE:
                break
        else:
            yield first
            return
        first.clear()
        parts = [array("I") for _ in range(256)]
        for row in rows:
            parts[self._digests[row * ids.DIGEST_BYTES + byte]].append(row)
        for part in parts:
            yield from self._groups(part, byte + 1)

    def _digest(self, row: int) -> bytes:
        start = row * ids.DIGEST_BYTES
        return bytes(self._digests[start : start + ids.DIGEST_BYTES])


class Marked(PlaceView):
    """The items of a table that have a mark."""

    __slots__ = ("_chosen", "_places")

    def __init__(self, places: Places, chosen: bytearray) -> None:
        self._places = places
        self._chosen = chosen  # a byte an item: whether it has the mark

    def __len__(self) -> int:
        return self._chosen.count(1)

    def __iter__(self) -> Iterator[Place]:
        return compress(self._places, self._chosen)

    def digests(self) -> Iterator[bytes]:
        """Yield the digest of every item, in order."""
        return compress(self._places.digests(), self._chosen)
