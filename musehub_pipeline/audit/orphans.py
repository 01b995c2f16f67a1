"""Orphans: stored objects that no row names, as a run leaves them that was refused or killed.

They are found as uploads are that no job names: storage is listed first, and rows are looked for
afterwards, so that one that is inserted meanwhile counts; PostgreSQL compares the sets. What only a
ref names is none: its row was lost. Ages go by the database's clock.

An orphan is not always one. A push puts the bytes before the row; and where they lie there already,
from a push that was killed, it only looks. If they were removed between its look and its row, they
would be lost. So they are removed only while no run has a job and none can begin (ADR 12): the rows
are looked for once more then, and whatever has none, no push counts on.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import NamedTuple

from musehub_pipeline.domain.errors import PipelineError
from musehub_pipeline.domain.ids import digest_of
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.objects.stored_objects import StoredObject
from musehub_pipeline.postgres.arrays import chunked, id_array, text_array
from musehub_pipeline.postgres.database import Database, Transaction
from musehub_pipeline.queue.standstill import UnderWay, standstill

LEAST_AGE = timedelta(hours=1)
"""What was stored more recently may be part of a push whatever the queue says."""

CHUNK_ROWS = 5_000
_TRIED_AT_ONCE = 1_000  # with patience for each
_REMOVED_AT_ONCE = 100  # between two looks at the rows
_HELD_SECONDS = 1.0  # after which no removal is begun while claims wait
_ANSWER_SECONDS = 5.0  # within which the answer is still true
_PAUSE_SECONDS = 0.5


class Orphan(NamedTuple):
    """A stored object that no row names."""

    object_id: str
    size_bytes: int
    stored_at: datetime
    age_seconds: float


class Total(NamedTuple):
    """How many objects, and their bytes."""

    objects: int
    size_bytes: int


class HubNeverIdle(PipelineError):
    """Whenever it was looked at, some run had a job."""


class Orphans:
    """Stored objects that have been noted."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.noted = 0

    def note(self, objects: Iterable[StoredObject]) -> Iterator[int]:
        """Note stored objects; yield how many have been noted."""
        for chunk in chunked(objects, CHUNK_ROWS):
            digests, sizes, times = zip(*chunk, strict=True)
            parameters = {"ids": id_array(digests), "sizes": list(sizes), "times": list(times)}
            self.noted += self._transaction.write("orphans_note", parameters)
            yield self.noted
        self._transaction.write("orphans_analyze")

    def forget_named(self) -> None:
        """Forget those that a row names, of an object or a ref."""
        self._transaction.write("orphans_forget_objects")
        self._transaction.write("orphans_forget_refs")

    def total(self, *, older_than: timedelta | None = None) -> Total:
        """Return how many there are, of those that are older where an age is given."""
        [row] = self._transaction.tuples("orphans_total", {"older_than": older_than})
        return Total(*row)

    def all(self, *, older_than: timedelta | None = None) -> Iterator[Orphan]:
        """Yield them, however many they are, the oldest first."""
        rows = self._transaction.stream("orphans", {"older_than": older_than})
        return (Orphan(*row) for row in rows)


@contextmanager
def open_orphans(database: Database) -> Generator[Orphans]:
    """Note stored objects for the block; nothing of what is noted stays in the end.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    with database.transaction() as transaction:
        transaction.rows("wait_for_storage")
        transaction.write("orphans_make")
        yield Orphans(transaction)


class Pruning:
    """The removal of orphans, as many as have been `removed` so far."""

    def __init__(self, database: Database, objects: ObjectStorage, *, patience: timedelta) -> None:
        """Prepare it; for `patience` it waits until the hub is idle."""
        self._database = database
        self._objects = objects
        self._patience = patience.total_seconds()
        self.removed = 0
        self.size_bytes = 0

    def remove(self, orphans: Iterable[Orphan]) -> Iterator[int]:
        """Remove orphans that still are; yield how many have been removed after each standstill.

        Raises:
            HubNeverIdle: some run had a job whenever it was looked.
            Transient: storage or database could not be reached.
        """
        for chunk in chunked(orphans, _TRIED_AT_ONCE):
            rest: Sequence[Orphan] = chunk
            idle_since = monotonic()
            while rest:
                under_way, rest = self._remove_some(rest)
                if not under_way.jobs:
                    idle_since = monotonic()
                elif monotonic() - idle_since >= self._patience:
                    raise HubNeverIdle(self._never_idle(under_way))
                else:
                    sleep(min(_PAUSE_SECONDS, self._patience))
                yield self.removed

    def _remove_some(self, orphans: Sequence[Orphan]) -> tuple[UnderWay, Sequence[Orphan]]:
        """Remove the first of some orphans, if no run has a job; return who has, and the rest."""
        with standstill(self._database) as (transaction, under_way):
            begun = monotonic()
            while orphans and not under_way.jobs:
                # Also proof that the connection lives, and that the lock is held.
                asked = monotonic()
                unnamed = _unnamed(transaction, orphans[:_REMOVED_AT_ONCE])
                if monotonic() - asked > _ANSWER_SECONDS:
                    break  # the process was stopped, and the lock may be held no more
                orphans = orphans[_REMOVED_AT_ONCE:]
                self._objects.delete_objects(digest_of(orphan.object_id) for orphan in unnamed)
                self.removed += len(unnamed)
                self.size_bytes += sum(orphan.size_bytes for orphan in unnamed)
                if monotonic() - begun >= _HELD_SECONDS:
                    break
        return under_way, orphans

    def _never_idle(self, under_way: UnderWay) -> str:
        dead = ""
        if under_way.dead:
            dead = (
                f", {under_way.dead:,} of them of runs that have died: a run of `index` takes these"
                " back"
            )
        return (
            f"the hub was never idle for {self._patience:g} seconds, and a push under way may count"
            f" on what seems an orphan: runs have {under_way.jobs:,} jobs now{dead};"
            f" {self.removed:,} orphans were removed; try again when less is pushed"
        )


def _unnamed(transaction: Transaction, orphans: Sequence[Orphan]) -> list[Orphan]:
    """Return those that still are orphans: no ref comes before its object's row."""
    parameters = {"ids": text_array([orphan.object_id for orphan in orphans])}
    named = {object_id for object_id, _ in transaction.tuples("object_rows", parameters)}
    return [orphan for orphan in orphans if orphan.object_id not in named]
