"""The temporary tables of `fsck`: what is noted there to compare the rows of the index with.

Everything is read from a snapshot of the database, and storage after it. Runs write leaves before
roots and remove nothing: whatever that snapshot has must lie in storage already, and of what is
written meanwhile neither a row is seen nor anything that leans on it. Reading table after table,
roots first, would do for rows that only appear, but heads move, leases are renewed, and jobs end.
The price of a snapshot is that PostgreSQL cannot clean up behind writers while it lasts. So there
is one for rows and what storage lists, and others for mpacks, of so many repos at a time as are
read in minutes: what a repo was pushed is compared with what it holds, and with no other's.

Sets are compared by PostgreSQL, on temporary tables: it goes over each once, and what does not fit
into its memory is on its disk.
"""

from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from musehub_pipeline.domain.mpack import Kind
from musehub_pipeline.objects.stored_objects import StoredObject
from musehub_pipeline.postgres.arrays import chunked, id_array, text_array
from musehub_pipeline.postgres.database import Database, Transaction

CHUNK_ROWS = 5_000
_CHUNK_SNAPSHOTS = 1_000
# Of a window, which is one snapshot: as much as is read in minutes.
WINDOW_JOBS = 1_000
_WINDOW_BYTES = 1 << 30

_TABLES = ("repos", "pushes", "items", "unsupplied", "named", "stored")


class FsckTables:
    """The tables fsck_*, beside one snapshot of the database, of all repos or of some."""

    def __init__(
        self, transaction: Transaction, *, repo_id: str | None, repo_ids: Sequence[str] | None
    ) -> None:
        self._transaction = transaction
        self._repo: dict[str, Any] = {"repo_id": repo_id}
        self._repos = {"repo_ids": None if repo_ids is None else list(repo_ids)}
        self._items: list[tuple[int, Kind, bytes]] = []

    def begin(self) -> None:
        """Take the snapshot, and make the tables to compare with."""
        transaction = self._transaction
        transaction.write("fsck_begin")
        transaction.rows("stream_and_wait_for_storage")
        for table in _TABLES:
            transaction.write(f"fsck_make_{table}")
        transaction.write("fsck_note_repos", self._repo | self._repos)
        transaction.write("fsck_analyze")

    def counts(self) -> dict[str, int]:
        """Return how many rows there are to look at."""
        return self._transaction.one("fsck_counts", self._repo)

    def ask(self, name: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a statement, however many they are."""
        return self._transaction.stream(name, self._repo)

    def count_mpacks(self, *, done: bool) -> int:
        """Return how many different mpacks `mpacks` will yield."""
        return self._transaction.value("fsck_count_mpacks", {"done": done})

    def mpacks(self, *, done: bool) -> Iterator[tuple[str | None, str, list[str]]]:
        """Yield mpack, repo and jobs, in order: of done jobs, or of others that are of interest."""
        return self._transaction.stream("fsck_mpacks", {"done": done})

    def note_items(self, mpack: int, kind: Kind, digests: Iterable[bytes]) -> None:
        """Note what is in an mpack, now or later."""
        self._items.extend((mpack, kind, digest) for digest in digests)
        if len(self._items) >= CHUNK_ROWS:
            self._write_items()

    def note_pushes(self, mpack: int, pushes: Collection[tuple[str, str]], *, done: bool) -> None:
        """Note that all of an mpack has been read, and (repo, job) of those who pushed it."""
        repo_ids, job_ids = zip(*pushes, strict=True)
        arrays = {"repo_ids": text_array(repo_ids), "job_ids": text_array(job_ids)}
        self._transaction.write("fsck_note_pushes", {"mpack": mpack, "done": done} | arrays)

    def note_unreadable(self, repo_ids: Iterable[str]) -> None:
        """Note that it cannot be told any more what was supplied to some repos."""
        self._transaction.write("fsck_note_unreadable", {"repo_ids": text_array(list(repo_ids))})

    def note_stored(self, objects: Iterable[StoredObject]) -> Iterator[int]:
        """Note what storage holds; yield how much has been noted."""
        noted = 0
        for chunk in chunked(objects, CHUNK_ROWS):
            ids = id_array(stored.digest for stored in chunk)
            sizes = [stored.size_bytes for stored in chunk]
            noted += self._transaction.write("fsck_note_stored", {"ids": ids, "sizes": sizes})
            yield noted
        self.analyze()

    def note_named(self) -> Iterator[int]:
        """Note what manifests name; yield how many snapshots have been looked at."""
        looked_at = 0
        for chunk in chunked(self.ask("fsck_snapshot_keys"), _CHUNK_SNAPSHOTS):
            repo_ids, snapshot_ids = zip(*chunk, strict=True)
            self._transaction.write(
                "fsck_note_named",
                {"repo_ids": text_array(repo_ids), "snapshot_ids": text_array(snapshot_ids)},
            )
            looked_at += len(chunk)
            yield looked_at
        self.analyze()

    def note_unsupplied(self) -> int:
        """Note the refs that no done job accounts for; return how many they are."""
        noted = self._transaction.write("fsck_note_unsupplied")
        self.analyze()
        return noted

    def forget_supplied(self) -> None:
        """Take back those of them that another job accounts for."""
        self._transaction.write("fsck_forget_supplied")

    def count_unjudged(self) -> int:
        """Return how many of them nobody can judge."""
        return self._transaction.value("fsck_count_unjudged")

    def analyze(self) -> None:
        """Complete what has been noted, and have the planner know about it."""
        self._write_items()
        self._transaction.write("fsck_analyze")

    def _write_items(self) -> None:
        items, self._items = self._items, []
        if items:
            mpacks, kinds, digests = zip(*items, strict=True)
            self._transaction.write(
                "fsck_note_items",
                {"mpacks": list(mpacks), "kinds": text_array(kinds), "ids": id_array(digests)},
            )


def windows(database: Database, *, repo_id: str | None) -> Iterator[Sequence[str]]:
    """Yield all repos, some at a time: as many as have about so many jobs, or so large ones.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    with database.transaction() as transaction:
        repos = transaction.tuples("fsck_repo_sizes", {"repo_id": repo_id})
    window: list[str] = []
    total_jobs = total_bytes = 0
    for next_id, jobs, size_bytes in repos:
        total_jobs += jobs
        total_bytes += size_bytes
        if window and (total_jobs > WINDOW_JOBS or total_bytes > _WINDOW_BYTES):
            yield window
            window, total_jobs, total_bytes = [], jobs, size_bytes
        window.append(next_id)
    if window:
        yield window


@contextmanager
def open_tables(
    database: Database, *, repo_id: str | None = None, repo_ids: Sequence[str] | None = None
) -> Generator[FsckTables]:
    """Look at the database as it is now, at all repos, or one, or some.

    Nothing of what is noted stays in the end.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    with database.transaction() as transaction:
        tables = FsckTables(transaction, repo_id=repo_id, repo_ids=repo_ids)
        tables.begin()
        yield tables
