"""Sets of digests that may be millions: 32 bytes each, where a set of Python takes a hundred."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

from musehub_pipeline.domain import ids

_MOST_RECENT = 100_000  # digests kept in a plain set (10 MB); an everyday push never exceeds it
_RECENT_PART = 8  # the plain set may be 1/8 of the packed digests: packing goes over all of them
_BUCKETS = 64  # with two million digests, adding to a bucket takes 3 MB
_COMPARED = 250_000  # digests compared at a time (25 MB); the other sets are read once for each
_PORTION = 5_000  # digests asked for in one statement
_DIGEST_OBJECT_BYTES = sys.getsizeof(bytes(ids.DIGEST_BYTES))


class HasDigests(Protocol):
    """What can say its digests again and again."""

    def digests(self) -> Iterator[bytes]:
        """Yield each of them, some perhaps twice."""
        ...


class DigestSet:
    """A set that grows. What came lately is a set of Python; all else lies packed in buckets.

    Python's hash says which bucket is whose. Nobody outside knows its key, so that whoever makes up
    digests cannot fill one bucket with them.
    """

    def __init__(self, digests: Iterable[bytes] = ()) -> None:
        self._recent: set[bytes] = set()
        self._buckets: list[bytearray] = []
        self._settled = 0
        self.update(digests)

    def add(self, digest: bytes) -> None:
        """Add a digest."""
        self._recent.add(digest)
        if len(self._recent) > _MOST_RECENT:
            self._settle_many()

    def update(self, digests: Iterable[bytes]) -> None:
        """Add digests."""
        for digest in digests:
            self.add(digest)

    def __len__(self) -> int:
        if self._buckets:
            self._settle()
        return self._settled + len(self._recent)

    @property
    def size_bytes(self) -> int:
        """What the set takes in memory."""
        recent = sys.getsizeof(self._recent) + _DIGEST_OBJECT_BYTES * len(self._recent)
        return recent + sum(map(sys.getsizeof, self._buckets))

    def surely_exceeds(self, most: int) -> bool:
        """Tell cheaply whether there are more than `most`.

        For large sets the answer may turn true late; `len` is exact, but slow.
        """
        return (self._settled if self._buckets else len(self._recent)) > most

    def digests(self) -> Iterator[bytes]:
        """Yield each digest once, in no order."""
        for portion in self.absent_from():
            yield from portion

    def absent_from(self, *others: HasDigests) -> Iterator[set[bytes]]:
        """Yield those that none of the others has, in sets of some thousands."""
        for own in self._comparable():
            for other in others:
                own.difference_update(other.digests())
            remaining = iter(own)
            while portion := set(islice(remaining, _PORTION)):
                yield portion

    def _comparable(self) -> Iterator[set[bytes]]:
        if not self._buckets:
            yield self._recent.copy()
            return
        self._settle()
        own: set[bytes] = set()
        for bucket in self._buckets:
            own.update(ids.split(bucket))
            if len(own) > _COMPARED:
                yield own
                own = set()
        yield own

    def _settle_many(self) -> None:
        if len(self._recent) > self._settled // _RECENT_PART:
            self._settle()

    def _settle(self) -> None:
        if not self._buckets:
            self._buckets = [bytearray() for _ in range(_BUCKETS)]
        groups: list[set[bytes]] = [set() for _ in self._buckets]
        while self._recent:
            digest = self._recent.pop()
            groups[hash(digest) % _BUCKETS].add(digest)
        for group, bucket in zip(groups, self._buckets, strict=True):
            group.difference_update(ids.split(bucket))
            bucket.extend(b"".join(group))
            self._settled += len(group)
