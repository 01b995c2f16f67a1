"""The parents of commits: 36 bytes a commit, and 32 for each of its parents."""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence

from musehub_pipeline.domain import ids


class Ancestry:
    """An append-only table of commits and their parents, by their digests."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._parents = bytearray()
        self._ends = array("I", [0])  # entry n: how many parents the first n commits have
        self._order = array("I")  # the rows sorted by commit, once a commit is asked for

    def append(self, commit: bytes, parents: Sequence[bytes]) -> None:
        """Add a commit; of one that comes twice, what was said first counts."""
        self._digests += commit
        self._parents += b"".join(parents)
        self._ends.append(self._ends[-1] + len(parents))
        self._order = array("I")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
        return zip(self.digests(), map(self._parents_at, range(len(self))), strict=True)

    @property
    def size_bytes(self) -> int:
        """What the table takes in memory."""
        return sum(map(sys.getsizeof, (self._digests, self._parents, self._ends, self._order)))

    def digests(self) -> Iterator[bytes]:
        """Yield the commits, in order."""
        return ids.split(self._digests)

    def parents(self) -> Iterator[bytes]:
        """Yield the parents of all commits, in order."""
        return ids.split(self._parents)

    def parents_of(self, commit: bytes) -> tuple[bytes, ...] | None:
        """Return the parents of a commit, in their order; None where it is not there."""
        if not self._order:
            self._order.extend(sorted(range(len(self)), key=self._commit))
        place = bisect_left(self._order, commit, key=self._commit)
        if place == len(self) or self._commit(row := self._order[place]) != commit:
            return None
        return self._parents_at(row)

    def without(self, commits: Collection[bytes]) -> "Ancestry":
        """Return what is said of all others than these commits."""
        rest = Ancestry()
        for commit, parents in self:
            if commit not in commits:
                rest.append(commit, parents)
        return rest

    def _parents_at(self, row: int) -> tuple[bytes, ...]:
        start, end = (ids.DIGEST_BYTES * number for number in self._ends[row : row + 2])
        return tuple(ids.split(self._parents[start:end]))

    def _commit(self, row: int) -> bytes:
        start = row * ids.DIGEST_BYTES
        return bytes(self._digests[start : start + ids.DIGEST_BYTES])
