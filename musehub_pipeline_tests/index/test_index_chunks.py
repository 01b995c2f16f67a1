"""The index, written in many chunks: what is left of a write that fails, stops or has company."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest

from musehub_pipeline.domain.commit import CommitRow
from musehub_pipeline.index.index import Index, SnapshotRow, in_chunks
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.index.indexed import TIME, URI, commit, digest, id_of


def test_rows_go_in_chunks_of_what_is_sent_for_them() -> None:
    megabyte = 1 << 20
    sizes = [10, megabyte, 10, megabyte // 2, megabyte // 2, 70 * megabyte, *[10] * 2_001]
    rows = [SnapshotRow(id_of(n), b"x" * size, TIME) for n, size in enumerate(sizes)]

    chunks = list(in_chunks(rows))

    assert [row for chunk in chunks for row in chunk] == rows
    assert [len(chunk) for chunk in chunks] == [2, 3, 1, 2_000, 1]


def test_a_write_that_fails_in_the_middle_leaves_nothing(hub: Hub, index: Index) -> None:
    def chunks() -> Iterator[list[CommitRow]]:
        yield [commit(1)]
        yield [commit(2)]
        raise OSError(5, "the scratch file is gone")

    with pytest.raises(OSError, match="scratch"):
        index.insert_commits("r", chunks())

    assert hub.counts()["commits"] == 0
    assert index.insert_commits("r", [[commit(1)]]) == 1


def test_what_a_write_that_failed_has_brought_is_not_brought_again(hub: Hub, index: Index) -> None:
    def chunks(*, end: bool) -> Iterator[list[bytes]]:
        for number in range(6):
            yield [digest(number)]
        if not end:
            raise OSError(5, "the scratch file is gone")

    with (
        Database(str(hub.settings.database_url)) as database,
        Index(database) as failing,  # whose end waits for what is under way
        pytest.raises(OSError, match="scratch"),
    ):
        failing.upsert_object_refs("r", chunks(end=False))

    brought = hub.counts()["object_refs"]
    assert 0 < brought <= 6
    assert index.upsert_object_refs("r", chunks(end=True)) == 6 - brought
    assert hub.counts()["object_refs"] == 6


@pytest.mark.slow
def test_a_write_that_is_told_to_stop_waits_for_no_lock(hub: Hub) -> None:
    chunks = [[SnapshotRow(id_of(n), b"{}", TIME)] for n in range(6)]
    let_go = threading.Event()

    def write() -> None:
        with Database(str(hub.settings.database_url)) as database, Index(database) as index:
            index.insert_snapshots("r", chunks)

    with psycopg.connect(str(hub.settings.database_url)) as held:
        held.execute("LOCK TABLE musehub_snapshots IN SHARE MODE")  # nobody may insert
        # So that a writer that waits fails the test, and does not hang it.
        release = threading.Timer(30, lambda: (let_go.set(), held.rollback()))
        release.start()
        stop = partial(signal.pthread_kill, threading.get_ident(), signal.SIGINT)
        threading.Timer(1, stop).start()
        with pytest.raises(KeyboardInterrupt):
            write()
        assert not let_go.is_set()
        release.cancel()

    assert hub.counts()["snapshots"] == 0


def test_runs_that_share_rows_do_not_get_in_each_others_way(hub: Hub, index: Index) -> None:
    def run(_: int) -> int:
        chunks = [[(digest(n), n) for n in range(start, start + 500)] for start in (0, 500, 1000)]
        with Database(str(hub.settings.database_url)) as database, Index(database) as own:
            return own.insert_objects(chunks, uri=URI)

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(run, range(4)))

    assert sum(counts) == hub.counts()["objects"] == 1500
