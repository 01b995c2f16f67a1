"""The index itself: what a repo holds, asked and written in bulk.

Keys are sorted and go in chunks of a few thousand, as one binary array a column: sorted, so that
two runs that share rows cannot deadlock, and because PostgreSQL then finds neighbours in one
descent of its B-tree. Every write is idempotent and returns how many rows were new; one that is
repeated does not count those that it has brought before.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from itertools import chain, islice, repeat
from typing import Any, NamedTuple, Self, TypeVar

from musehub_pipeline.domain.commit import CommitRow
from musehub_pipeline.domain.ids import digest_of, hex_of, id_of, stored
from musehub_pipeline.domain.job import INDEX_VERSION
from musehub_pipeline.domain.mpack import Kind
from musehub_pipeline.domain.places import Places
from musehub_pipeline.parallel import ahead, in_threads
from musehub_pipeline.postgres.arrays import TextArray, id_array, text_array
from musehub_pipeline.postgres.database import Database, Transaction

CHUNK_ROWS = 2_000
_CHUNK_BYTES = 1 << 20
_LARGE_BYTES = 8 << 20
WORTH_ASKING = 500
"""Rows from which on it is faster to ask which of them exist than to try to insert them all."""

_ASKED_IDS = 5_000
_WALKED_COMMITS = 100
_FARTHER = 10
_WRITERS = 2

_SNAPSHOT_COLUMNS = ("ids", "manifests", "created")
_NO_TEXTS = ("created", "timestamp", "sizes")


class SnapshotRow(NamedTuple):
    """A row of `musehub_snapshots`, but for its repo."""

    snapshot_id: str
    manifest: bytes | bytearray  # JSON
    created_at: datetime | None  # now, where None

    @property
    def size(self) -> int:
        """About how much is sent for it."""
        return len(self.manifest)


Row = TypeVar("Row", SnapshotRow, CommitRow)
Item = TypeVar("Item")


def in_chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield rows in lists to insert, of some thousands or about a megabyte; keep none of them."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += row.size
        del row
        if len(chunk) == CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield _taken(chunk)
            size = 0
    if chunk:
        yield _taken(chunk)


class Index:
    """Reads and writes the tables of the index."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="index")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def existing_repos(self, repo_ids: Collection[str]) -> dict[str, bool]:
        """Return those of `repo_ids` that exist, and whether each has been deleted."""
        with self._database.autocommit() as transaction:
            return dict(transaction.tuples("repos", {"repo_ids": list(set(repo_ids))}))

    def branch_heads(
        self, branches: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], str | None]:
        """Return the commit ids at which branches stand, by repo and name, of those there are."""
        if not branches:
            return {}
        repo_ids, names = zip(*branches, strict=True)
        parameters = {"repo_ids": list(repo_ids), "names": list(names)}
        with self._database.autocommit() as transaction:
            rows = transaction.tuples("branch_heads", parameters)
        return {(repo_id, name): commit_id for repo_id, name, commit_id in rows}

    def is_ancestor(self, repo_id: str, ancestor: bytes, descendants: Collection[bytes]) -> bool:
        """Tell whether a commit is one of `descendants`, or reached from them over parents.

        It walks back from both ends in turn, farther each round. If the commit reaches all of
        `descendants`, the answer is no. So the cost mostly depends on how far they lie apart, not
        on the whole history behind them.
        """
        ends = [id_of(ancestor)], [id_of(digest) for digest in sorted(descendants)]
        if ends[0][0] in ends[1]:
            return True
        most = _WALKED_COMMITS
        with self._database.autocommit() as transaction:

            def walk(begin: list[str], sought: list[str]) -> tuple[bool, bool]:
                parameters = {"repo_id": repo_id, "begin": begin, "sought": sought, "most": most}
                [(found, reached)] = transaction.tuples("walk", parameters)
                return found == len(sought), reached < most

            while True:
                found, ended = walk(ends[1], ends[0])
                if found or ended:
                    return found
                found, _ = walk(ends[0], ends[1])
                if found:
                    return False
                most *= _FARTHER

    def verified(self, mpack_keys: Collection[str]) -> set[str]:
        """Return those mpacks that this version has judged before; ids in the stored spelling."""
        spellings = {spelling for key in mpack_keys for spelling in (key, hex_of(key))}
        parameters = {"mpack_keys": sorted(spellings), "index_version": INDEX_VERSION}
        with self._database.autocommit() as transaction:
            return {stored(key) for (key,) in transaction.tuples("verified_mpacks", parameters)}

    def estimated_rows(self, tables: Collection[str]) -> dict[str, int]:
        """Return about how many rows tables have; those of which nothing is known are left out."""
        with self._database.autocommit() as transaction:
            return dict(transaction.tuples("estimated_rows", {"tables": list(tables)}))

    def held(self, kind: Kind, repo_id: str, digests: Collection[bytes]) -> set[bytes]:
        """Return those of `digests` that the repo holds."""
        asked = set(digests)
        rows = list(self._ask(f"held_{kind}s", asked, {"repo_id": repo_id}))
        if len(rows) == len(asked):  # a push that is repeated: nothing to convert
            return asked
        return {digest_of(found) for (found,) in rows}

    def held_together(
        self, kind: Kind, digests: Mapping[str, Collection[bytes]]
    ) -> Iterator[tuple[str, bytes]]:
        """Yield those of `digests` that repos hold, each with its repo."""
        asked = [(repo_id, digest) for repo_id in digests for digest in sorted(digests[repo_id])]
        if not asked:
            return
        parameters = {
            "repo_ids": text_array([repo_id for repo_id, _ in asked]),
            "ids": id_array(digest for _, digest in asked),
        }
        with self._database.autocommit() as transaction:
            rows = transaction.tuples(f"held_{kind}s_together", parameters)
        yield from ((repo_id, digest_of(found)) for repo_id, found in rows)

    def lacking(self, kind: Kind, repo_id: str, items: Places) -> Places:
        """Return those of the items that the repo does not hold, in their order."""
        rest = Places()
        for chunk in items.chunks(rows=_ASKED_IDS):
            held = self.held(kind, repo_id, [place.digest for place in chunk])
            for place in chunk:
                if place.digest not in held:
                    rest.append(place)
        return rest

    def object_sizes(self, digests: Collection[bytes]) -> dict[bytes, int]:
        """Return the sizes in bytes of those objects that have a row, whoever holds them."""
        rows = self._ask("sizes_of_objects", digests, {})
        return {digest_of(found): int(size) for found, size in rows}

    def insert_objects(
        self, chunks: Iterable[Sequence[tuple[bytes, int]]], *, uri: str, run_id: str | None = None
    ) -> int:
        """Insert rows of (digest, size in bytes) for bytes that lie under `uri`; heal others.

        This and the methods below write nothing if the database has crashed since `run_id` claimed
        its jobs: what is written may point at rows that are lost. `publish` tells of it.
        """
        parameters = (
            {"ids": id_array(digest for digest, _ in chunk), "sizes": [size for _, size in chunk]}
            for chunk in chunks
        )
        return self._write("insert_objects", parameters, {"uri": uri, "run_id": run_id})

    def upsert_object_refs(
        self, repo_id: str, chunks: Iterable[Sequence[bytes]], *, run_id: str | None = None
    ) -> int:
        """Note that the repo holds objects, given by their digests."""
        parameters = ({"ids": id_array(chunk)} for chunk in chunks)
        constants = {"repo_id": repo_id, "run_id": run_id}
        return self._write("upsert_object_refs", parameters, constants)

    def insert_snapshots(
        self, repo_id: str, chunks: Iterable[Sequence[SnapshotRow]], *, run_id: str | None = None
    ) -> int:
        """Insert snapshots of the repo."""
        parameters = map(partial(_columns, _SNAPSHOT_COLUMNS), chunks)
        constants = {"repo_id": repo_id, "run_id": run_id}
        return self._write("insert_snapshots", parameters, constants)

    def insert_commits(
        self, repo_id: str, chunks: Iterable[Sequence[CommitRow]], *, run_id: str | None = None
    ) -> int:
        """Insert commits of the repo: all of them or none, for they point at their parents."""
        parameters = map(partial(_columns, CommitRow._fields), chunks)
        constants = {"repo_id": repo_id, "run_id": run_id}
        return self._write("insert_commits", parameters, constants, whole=True)

    def insert_objects_together(
        self, jobs: Sequence[Iterable[tuple[bytes, int]]], *, uri: str, run_id: str | None = None
    ) -> list[int]:
        """As `insert_objects`, for jobs with few each; return how many were new of each."""
        rows = [("", ((id_of(digest), size) for digest, size in objects)) for objects in jobs]
        constants = {"uri": uri, "run_id": run_id}
        return self._write_together("insert_objects_together", ("ids", "sizes"), rows, constants)

    def upsert_object_refs_together(
        self, jobs: Sequence[tuple[str, Iterable[bytes]]], *, run_id: str | None = None
    ) -> list[int]:
        """As `upsert_object_refs`, for jobs with few each; return how many were new of each."""
        rows = [(repo_id, ((id_of(digest),) for digest in digests)) for repo_id, digests in jobs]
        constants = {"run_id": run_id}
        return self._write_together("upsert_object_refs_together", ("ids",), rows, constants)

    def insert_snapshots_together(
        self, jobs: Sequence[tuple[str, Iterable[SnapshotRow]]], *, run_id: str | None = None
    ) -> list[int]:
        """As `insert_snapshots`, for jobs with few each; return how many were new of each."""
        constants = {"run_id": run_id}
        return self._write_together("insert_snapshots_together", _SNAPSHOT_COLUMNS, jobs, constants)

    def insert_commits_together(
        self, jobs: Sequence[tuple[str, Iterable[CommitRow]]], *, run_id: str | None = None
    ) -> list[int]:
        """As `insert_commits`, for jobs with few each; return how many were new of each."""
        constants = {"run_id": run_id}
        return self._write_together("insert_commits_together", CommitRow._fields, jobs, constants)

    def _ask(
        self, name: str, digests: Collection[bytes], constants: dict[str, Any]
    ) -> Iterator[tuple[Any, ...]]:
        if not digests:
            return
        ordered = sorted(digests)
        with self._database.autocommit() as transaction:
            for start in range(0, len(ordered), _ASKED_IDS):
                chunk = id_array(ordered[start : start + _ASKED_IDS])
                yield from transaction.tuples(name, constants | {"ids": chunk})

    def _write_together(
        self,
        name: str,
        columns: Sequence[str],
        jobs: Sequence[tuple[str, Iterable[tuple[Any, ...]]]],
        constants: Mapping[str, Any],
    ) -> list[int]:
        """Write rows of several repos in one statement, which tells the keys of the new ones.

        A row that several jobs bring counts for the first of them.
        """
        rows: dict[tuple[str, str], tuple[int, tuple[Any, ...]]] = {}
        for number, (repo_id, of_job) in enumerate(jobs):
            for row in of_job:
                rows.setdefault((repo_id, row[0]), (number, row))
        inserted = [0] * len(jobs)
        if rows:
            keys = sorted(rows)
            parameters = _columns(columns, [rows[key][1] for key in keys])
            parameters["repo_ids"] = text_array([repo_id for repo_id, _ in keys])
            with self._database.autocommit() as transaction:
                for key in transaction.tuples(name, {**constants, **parameters}):
                    inserted[rows[key][0]] += 1
        return inserted

    def _write(
        self,
        name: str,
        parameters: Iterable[dict[str, Any]],
        constants: dict[str, Any],
        *,
        whole: bool = False,
    ) -> int:
        """Write chunks of rows; `whole` where rows point at each other: then all of them or none.

        PostgreSQL is busy with one chunk while the next one is made, and then with both.
        """
        under_way: set[Transaction] = set()

        def write(chunk: dict[str, Any]) -> int:
            with self._database.autocommit() as transaction:
                under_way.add(transaction)
                try:
                    return transaction.write(name, constants | chunk)
                finally:
                    under_way.remove(transaction)

        chunks = iter(parameters)
        begin = list(islice(chunks, 1))
        if not any(map(_is_large, begin)):
            begin += islice(chunks, 1)
            if len(begin) <= 1:  # a small push
                return sum(map(write, begin))
        # Of large chunks one is in memory at a time: nothing keeps it once it is written.
        chunks = chain(map(begin.pop, repeat(0, len(begin))), chunks)
        if whole:
            with self._database.transaction() as transaction:

                def write_also(chunk: dict[str, Any]) -> int:
                    return transaction.write(name, constants | chunk)

                return sum(map(write_also, ahead(chunks, pool=self._pool, alone=_is_large)))
        try:
            return sum(in_threads(write, chunks, pool=self._pool, threads=_WRITERS))
        except BaseException:  # the run is told to stop, say: it does not wait for a lock
            for transaction in tuple(under_way):
                transaction.cancel()
            raise


def _is_large(chunk: dict[str, Any]) -> bool:
    arrays = (value for value in chunk.values() if isinstance(value, TextArray))
    return any(len(array.binary) > _LARGE_BYTES for array in arrays)


def _taken(items: list[Item]) -> list[Item]:
    taken = items.copy()
    items.clear()
    return taken


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    columns = zip(*rows, strict=True)
    return {
        name: list(column) if name in _NO_TEXTS else text_array(column)
        for name, column in zip(names, columns, strict=True)
    }
