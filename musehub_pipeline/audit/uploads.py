"""The mpacks that storage holds, noted in the database to be compared with the queue.

Storage lists in no order, and either side may be larger than memory: so PostgreSQL compares the
sets, on a temporary table, in one pass over each. Storage is listed before the queue is looked at:
a row that the hub inserts meanwhile is seen. Ages go by the database's clock.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

from musehub_pipeline.domain.ids import PREFIX
from musehub_pipeline.objects.object_storage import Upload
from musehub_pipeline.postgres.arrays import batched, text_array
from musehub_pipeline.postgres.database import Database, Transaction

BATCH_ROWS = 5_000
_STRANGERS_NAMED = 3


class UploadedMpack(NamedTuple):
    """An mpack in storage."""

    mpack_key: str
    size_bytes: int
    uploaded_at: datetime
    age_seconds: float


class Total(NamedTuple):
    """How many mpacks, and their bytes."""

    mpacks: int
    size_bytes: int


class Uploads:
    """Mpacks that have been noted; `strangers` counts keys that are no mpack's."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.noted = 0
        self.strangers = 0
        self.some_strangers: list[str] = []

    def note(self, uploads: Iterable[Upload]) -> Iterator[int]:
        """Note mpacks; yield how many have been noted."""
        for batch in batched(self._mpacks(uploads), BATCH_ROWS):
            keys, sizes, times = zip(*batch, strict=True)
            parameters = {"keys": text_array(keys), "sizes": list(sizes), "times": list(times)}
            self.noted += self._transaction.write("uploads_note", parameters)
            yield self.noted
        self._transaction.write("uploads_analyze")

    def forget_named(self) -> None:
        """Forget those that a job names, of whatever repository and however it stands."""
        self._transaction.write("uploads_forget_named")

    def total(self, *, older_than: timedelta | None = None) -> Total:
        """Return how many there are, of those uploaded longer ago where an age is given."""
        [row] = self._transaction.tuples("uploads_total", {"older_than": older_than})
        return Total(*row)

    def mpacks(self, *, older_than: timedelta | None = None) -> Iterator[UploadedMpack]:
        """Yield them, however many they are, the oldest first."""
        rows = self._transaction.stream("uploads", {"older_than": older_than})
        return (UploadedMpack(*row) for row in rows)

    def _mpacks(self, uploads: Iterable[Upload]) -> Iterator[tuple[str, int, datetime]]:
        for key, hex_digest, size, uploaded_at in uploads:
            if hex_digest is not None:
                yield PREFIX + hex_digest, size, uploaded_at
                continue
            self.strangers += 1
            if len(self.some_strangers) < _STRANGERS_NAMED:
                self.some_strangers.append(key)


@contextmanager
def open_uploads(database: Database) -> Generator[Uploads]:
    """Note mpacks for the block; nothing of what is noted stays in the end.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    with database.transaction() as transaction:
        transaction.rows("uploads_settings")
        transaction.write("uploads_make")
        yield Uploads(transaction)
