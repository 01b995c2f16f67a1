"""Where the items of one kind lie in a scratch file: 48 bytes an item, whatever its size."""

from array import array
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from musehub_pipeline.domain.ids import DIGEST_BYTES


class Place(NamedTuple):
    """One item: the digest of its id, and the bytes of the scratch file that hold it."""

    digest: bytes
    offset: int
    size: int


class Places:
    """An append-only table of places."""

    __slots__ = ("_digests", "_offsets", "_sizes")

    def __init__(self, places: Iterable[Place] = ()) -> None:
        self._digests = bytearray()
        self._offsets = array("Q")
        self._sizes = array("Q")
        for place in places:
            self.append(place)

    def append(self, place: Place) -> None:
        """Add an item."""
        self._digests += place[0]
        self._offsets.append(place[1])
        self._sizes.append(place[2])

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[Place]:
        return map(Place, self.digests(), self._offsets, self._sizes)

    def digests(self) -> Iterator[bytes]:
        """Yield the digest of every item, in order."""
        digests = self._digests
        for start in range(0, len(digests), DIGEST_BYTES):
            yield bytes(digests[start : start + DIGEST_BYTES])

    def sorted_unique(self) -> "Places":
        """Return the items in order of their ids, each id once: the first that came.

        Every bulk write goes in this order, so that two workers that share items cannot deadlock.
        """
        digests = list(self.digests())
        unique = Places()
        previous = None
        for row in sorted(range(len(self)), key=digests.__getitem__):
            if digests[row] != previous:
                previous = digests[row]
                unique.append(Place(previous, self._offsets[row], self._sizes[row]))
        return unique

    def joined(self, others: "Places") -> "Places":
        """Return these and the others in order of their ids, each id once."""
        return Places(chain(self, others)).sorted_unique() if others else self

    def without(self, digests: Collection[bytes]) -> "Places":
        """Return the items whose digest is not among `digests`."""
        return Places(place for place in self if place.digest not in digests) if digests else self

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
