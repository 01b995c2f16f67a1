"""`fsck --deep`: all bytes that object rows name are read and hashed, in order of their ids.

Rows are read in windows, each in a transaction of its own, so that neither memory nor PostgreSQL's
dead rows grow with them. An object's row is written after its bytes, and bytes with a row are never
removed. So storage must have what a window names, whatever else is running.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import accumulate, takewhile
from typing import Any, NamedTuple

from musehub_pipeline.domain.ids import digest_of, id_of, is_id, stored
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.objects.stored_objects import StoredBytes
from musehub_pipeline.postgres.arrays import text_array
from musehub_pipeline.postgres.database import Database

WINDOW_ROWS = 1_000
_WINDOW_BYTES = 1 << 30  # all of a window is read before its end is noted


class Wrong(StrEnum):
    """What is wrong with stored bytes."""

    MISSING = "missing"  # nothing lies there
    SIZE = "size"  # they are not as many as the row says
    HASH = "hash"  # they are as many, and hash to another id


class Damage(NamedTuple):
    """An object whose bytes are not what its row says; `actual_*` are None where it is missing."""

    object_id: str
    what: Wrong
    expected_bytes: int | None  # None where there is no row, or it tells none
    actual_bytes: int | None = None
    actual_id: str | None = None  # what is stored there hashes to it

    @property
    def hashes_right(self) -> bool:
        """Whether it is the row that is wrong."""
        return self.actual_id == self.object_id


class Named(NamedTuple):
    """An object that a row names."""

    object_id: str
    size_bytes: int | None


class DeepCheck:
    """The stored bytes of all objects, of those of one repo, of those with rows made `since`."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStorage,
        *,
        repo_id: str | None,
        since: datetime | None,
    ) -> None:
        self._database = database
        self._objects = objects
        self._of = "deep_objects_of_repo" if repo_id is not None else "deep_objects"
        self._scope: dict[str, Any] = {"repo_id": repo_id, "since": since}

    def count(self) -> int:
        """Return how many objects there are to read.

        Raises:
            Transient: DATABASE_UNAVAILABLE.
        """
        with self._database.transaction() as transaction:
            return transaction.value(f"{self._of}_count", self._scope)

    def windows(self, *, after: str) -> Iterator[tuple[list[Named], list[Damage]]]:
        """Yield the objects that come after an id, some at a time, and what is wrong with them.

        Raises:
            Transient: DATABASE_UNAVAILABLE or STORAGE_UNAVAILABLE.
        """
        while True:
            limits = {"after": after, "most": WINDOW_ROWS}
            with self._database.transaction() as transaction:
                rows = transaction.tuples(self._of, self._scope | limits)
            window = _of_bytes([Named(*row) for row in rows])
            if not window:
                return
            after = window[-1].object_id
            yield window, find_damage(window, self._objects)


def find_damage(window: Iterable[Named], objects: ObjectStorage) -> list[Damage]:
    """Return what is wrong with the bytes of some objects, in order of their ids.

    What seems wrong is read once more: one bad read is no verdict.

    Raises:
        Transient: STORAGE_UNAVAILABLE.
    """
    sizes = dict(window)
    suspects: Sequence[str] = list(sizes)
    damages: list[Damage] = []
    for _ in range(2):
        # An id that none of ours looks like has no place in storage.
        ours = [text for text in suspects if is_id(text) and text == stored(text)]
        strange = set(suspects).difference(ours)
        damages = [Damage(object_id, Wrong.MISSING, sizes[object_id]) for object_id in strange]
        for digest, found in objects.read_back(list(map(digest_of, ours))):
            object_id = id_of(digest)
            if damage := _damage_of(Named(object_id, sizes[object_id]), found):
                damages.append(damage)
        suspects = [damage.object_id for damage in damages]
    return sorted(damages)


def _damage_of(named: Named, found: StoredBytes | None) -> Damage | None:
    object_id, expected = named
    if found is None:
        return Damage(object_id, Wrong.MISSING, expected)
    actual = id_of(found.digest)
    if found.size_bytes != expected:
        return Damage(object_id, Wrong.SIZE, expected, found.size_bytes, actual)
    if actual != object_id:
        return Damage(object_id, Wrong.HASH, expected, found.size_bytes, actual)
    return None


def _of_bytes(rows: list[Named]) -> list[Named]:
    """Return the first rows, as many as are not too large together, and one at the least."""
    totals = accumulate((row.size_bytes or 0 for row in rows), initial=0)
    return [row for row, _ in zip(rows, takewhile(_WINDOW_BYTES.__gt__, totals), strict=False)]


def look_at(object_ids: Sequence[str], database: Database, objects: ObjectStorage) -> list[Damage]:
    """Return what is wrong with the bytes of some objects, as their rows are now.

    Where there is no row, only what hashes wrong counts.

    Raises:
        Transient: DATABASE_UNAVAILABLE or STORAGE_UNAVAILABLE.
    """
    with database.autocommit() as transaction:
        rows = transaction.tuples("object_rows", {"ids": text_array(object_ids)})
    sizes: dict[str, int | None] = dict(rows)
    named = [Named(object_id, sizes.get(object_id)) for object_id in object_ids]
    return [
        damage
        for damage in find_damage(named, objects)
        if damage.object_id in sizes or not (damage.what is Wrong.MISSING or damage.hashes_right)
    ]
