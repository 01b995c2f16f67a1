"""Mpacks that lie in storage and that no job names: found by comparison, enqueued by name.

Storage lists in no order, and either side may be larger than memory: so PostgreSQL compares the
sets, on a temporary table, in one pass over each. Storage is listed before the queue is looked at:
a row that the hub inserts meanwhile is seen. Ages go by the database's clock.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

from musehub_pipeline.domain.errors import PipelineError
from musehub_pipeline.domain.ids import PREFIX
from musehub_pipeline.domain.job import payload_of
from musehub_pipeline.index.repos import Repo
from musehub_pipeline.objects.mpacks import Upload
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.postgres.arrays import chunked, text_array
from musehub_pipeline.postgres.database import Database, Transaction
from musehub_pipeline.queue.enqueue import Pushes

CHUNK_ROWS = 5_000
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


class MpackNotStored(PipelineError):
    """Storage has no mpack of that key."""


class MpackTooYoung(PipelineError):
    """An mpack was uploaded so recently that its row may be on the way."""


class EnqueueReport(NamedTuple):
    """The jobs of mpacks in a repository, by the mpack's key."""

    enqueued: dict[str, str]
    present: dict[str, str]  # that were there already


class Uploads:
    """Mpacks that have been noted; `strangers` counts keys that are no mpack's."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.noted = 0
        self.strangers = 0
        self.some_strangers: list[str] = []

    def note(self, uploads: Iterable[Upload]) -> Iterator[int]:
        """Note mpacks; yield how many have been noted."""
        for chunk in chunked(self._mpacks(uploads), CHUNK_ROWS):
            keys, sizes, times = zip(*chunk, strict=True)
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
        transaction.rows("wait_for_storage")
        transaction.write("uploads_make")
        yield Uploads(transaction)


def enqueue(
    hex_digests: Sequence[str],
    repo: Repo,
    *,
    older_than: timedelta,
    database: Database,
    objects: ObjectStorage,
) -> EnqueueReport:
    """Enqueue mpacks in a repository, unless a job of it names them; all or none of them.

    Such a job indexes what is in the mpack and moves no head: nobody knows which branch was meant.

    Raises:
        MpackNotStored: one of them is not in storage.
        MpackTooYoung: one of them was uploaded more recently than `older_than`.
        RepoNotFound: the repo has been deleted meanwhile.
        Transient: storage or database could not be reached.
    """
    uploads = find_uploads(hex_digests, objects)
    now = database.now()
    for hex_digest, upload in uploads.items():
        _check_age(hex_digest, now - upload.uploaded_at, older_than)
    # A thin mpack leans on those that were pushed before it: the oldest goes first.
    ordered = sorted(hex_digests, key=lambda hex_digest: uploads[hex_digest].uploaded_at)
    payloads = [payload_of(mpack_key=PREFIX + hex_digest) for hex_digest in ordered]
    enqueued, present = Pushes(database).enqueue_unnamed(repo.repo_id, payloads)
    return EnqueueReport(enqueued=enqueued, present=present)


def find_uploads(hex_digests: Sequence[str], objects: ObjectStorage) -> dict[str, Upload]:
    """Return what storage says of mpacks, by their digests.

    Raises:
        MpackNotStored: one of them is not there.
        Transient: STORAGE_UNAVAILABLE.
    """
    found = objects.find_mpacks(hex_digests)
    for hex_digest in hex_digests:
        if hex_digest not in found:
            raise MpackNotStored(f"{objects.url}/mpacks/{hex_digest} does not exist")
    return found


def _check_age(hex_digest: str, age: timedelta, older_than: timedelta) -> None:
    if age < older_than:
        seconds = max(0, round(age.total_seconds()))
        raise MpackTooYoung(
            f"the mpack {PREFIX}{hex_digest} was uploaded {seconds} seconds ago: its row may be on"
            f" the way; only what is older than {older_than} is enqueued"
        )
