"""The database phases, against a bare COPY of the rows that they write."""

from collections.abc import Iterator
from statistics import median
from typing import LiteralString, NamedTuple

import psycopg
from psycopg import sql

from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.fetch_mpack import fetch_mpack
from musehub_pipeline.phases.insert_commits import insert_commits
from musehub_pipeline.phases.insert_objects import insert_objects
from musehub_pipeline.phases.insert_snapshots import insert_snapshots
from musehub_pipeline.phases.pipeline import Phase
from musehub_pipeline.phases.services import Services
from musehub_pipeline.phases.unpack import unpack
from musehub_pipeline.phases.upsert_object_refs import upsert_object_refs
from musehub_pipeline_tests.benchmarks.bench import Bench, checkpoint, sound
from musehub_pipeline_tests.benchmarks.figures import Figure, Pair, seconds, speed
from musehub_pipeline_tests.benchmarks.mpacks import Shape

PHASES: tuple[tuple[Phase, LiteralString, LiteralString, str], ...] = (
    (insert_objects, "musehub_objects", "object_id", "objects_inserted"),
    (upsert_object_refs, "musehub_object_refs", "object_id", "object_refs_inserted"),
    (insert_snapshots, "musehub_snapshots", "snapshot_id", "snapshots_inserted"),
    (insert_commits, "musehub_commits", "commit_id", "commits_inserted"),
)

_PART_BYTES = 1 << 17


class Copied(NamedTuple):
    """How long a bare COPY took, in seconds."""

    scattered: float  # rows in the order of the mpack, which is none
    sorted: float  # rows in the order of their key, which the pipeline has to make first


def database(bench: Bench) -> Iterator[Figure]:
    """Compare the first insert and the repeated one with COPY in its binary form.

    Both sides write into tables alike in everything, and commit once.
    """
    rows = bench.some(100_000)
    shape = Shape(objects=rows, commits=rows, snapshots=rows, paths=8, most_bytes=128)
    # All of it is new to unpack. Where rows exist all the same, another run was faster: the hard
    # case of "all exist", for usually unpack finds the rows and nothing is left to do.
    with bench.unpacked(shape, [fetch_mpack, unpack]) as (batch, services):
        url = services.index._database.url.render_as_string(hide_password=False)
        for phase, table, key, count in PHASES:
            with Rows(url.replace("+psycopg", ""), table, key) as target:
                yield from _phase(bench, batch, services, phase, target, count)


def _phase(
    bench: Bench, batch: Batch, services: Services, phase: Phase, target: "Rows", count: str
) -> Iterator[Figure]:
    first: list[Pair[float]] = []
    again: list[Pair[float]] = []
    bare: list[Copied] = []
    expected = bench.some(100_000)
    for run in range(bench.runs + 1):  # run 0 warms up, and makes the rows that are copied
        if run % 2:
            bare.append(target.copy())
        target.empty()
        inserted = _run(phase, batch, services, count, target, expected=expected)
        repeated = _run(phase, batch, services, count, target, expected=0)
        if run == 0:
            target.take()
        if run % 2 == 0:
            bare.append(target.copy())
        first.append(Pair(inserted, bare[run].scattered))
        again.append(Pair(repeated, bare[run].scattered))
    what = f"{expected:,} rows, against a bare COPY of them"
    for name, pairs, limit, suffix in (
        ("first", first, 0.4, ""),
        ("again", again, 0.6, ", where all exist"),
    ):
        ratio = median(
            copied.sorted / pair.measured for copied, pair in zip(bare[1:], pairs[1:], strict=True)
        )
        yield speed(
            f"{phase.__name__}_{name}",
            what + suffix,
            pairs[1:],
            limit=limit,
            note=f"{ratio:.2f} x a COPY of rows that were sorted before",
        )


def _run(
    phase: Phase, batch: Batch, services: Services, count: str, target: "Rows", *, expected: int
) -> float:
    target.settle()
    ended: list[Batch] = []
    elapsed = seconds(lambda: ended.append(phase(batch, services)))
    (item,) = sound(ended[0]).items
    assert item.counts[count] == expected, item.counts
    return elapsed


class Rows:
    """The rows of a table, and a second table like it into which they are copied."""

    def __init__(self, url: str, table: LiteralString, key: LiteralString) -> None:
        self._url = url
        self._key = sql.Identifier(key)
        self._table = sql.Identifier(table)
        self._bare = sql.Identifier(f"bare_{table}")

    def __enter__(self) -> "Rows":
        self._connection = psycopg.connect(self._url, autocommit=True)
        self._execute("CREATE TABLE {bare} (LIKE {table} INCLUDING ALL)")
        return self

    def __exit__(self, *_: object) -> None:
        self._execute("DROP TABLE {bare}")
        self._connection.close()

    def _execute(self, statement: LiteralString) -> None:
        self._connection.execute(self._compose(statement))

    def _compose(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(table=self._table, bare=self._bare, key=self._key)

    def settle(self) -> None:
        """Let the server finish what is left of earlier writes."""
        checkpoint(self._url)

    def empty(self) -> None:
        """Empty the table of the pipeline."""
        self._execute("TRUNCATE {table}")

    def take(self) -> None:
        """Keep the table's rows in binary form, as they come and sorted by their key."""
        # Ids are hashes: a hash of them gives an order as good as that of the mpack.
        self._scattered = self._binary("SELECT * FROM {table} ORDER BY hashtext({key})")
        self._sorted = self._binary("SELECT * FROM {table} ORDER BY {key}")

    def _binary(self, query: LiteralString) -> list[bytes]:
        statement = self._compose("COPY (" + query + ") TO STDOUT (FORMAT BINARY)")
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            data = b"".join(map(bytes, copy))
        return [data[start : start + _PART_BYTES] for start in range(0, len(data), _PART_BYTES)]

    def copy(self) -> Copied:
        """Return how long it takes to copy the rows into the empty second table."""
        return Copied(self._time(self._scattered), self._time(self._sorted))

    def _time(self, rows: list[bytes]) -> float:
        self._execute("TRUNCATE {bare}")
        self.settle()
        return seconds(lambda: self._copy(rows))

    def _copy(self, rows: list[bytes]) -> None:
        statement = self._compose("COPY {bare} FROM STDIN (FORMAT BINARY)")
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for part in rows:
                copy.write(part)
