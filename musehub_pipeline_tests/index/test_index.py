"""The index: what a repo holds, written in bulk, as often as one likes."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musehub_pipeline.domain.commit import decode_commit, row_of
from musehub_pipeline.domain.job import INDEX_VERSION
from musehub_pipeline.index.index import CHUNK_ROWS, Index, Kind, SnapshotRow
from musehub_pipeline_tests.factories import pack
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.index.indexed import TIME, URI, commit, digest, id_of
from musehub_pipeline_tests.queue.queueing import change


def test_objects_get_a_row_each_with_the_place_of_their_bytes(hub: Hub, index: Index) -> None:
    chunks = [[(digest(1), 0), (digest(2), 2**40)], [(digest(3), 7)]]

    assert index.insert_objects(chunks, uri=URI) == 3

    rows = hub.sql(
        "SELECT object_id, size_bytes, storage_uri FROM musehub_objects ORDER BY object_id"
    )
    assert [tuple(row.values()) for row in rows] == [
        (id_of(number), size, f"{URI}00/{number:064x}")
        for number, size in ((1, 0), (2, 2**40), (3, 7))
    ]
    assert index.object_sizes({digest(1), digest(2), digest(9)}) == {digest(1): 0, digest(2): 2**40}


def test_a_row_of_another_size_or_place_is_healed_and_one_of_the_same_left_alone(
    hub: Hub, index: Index
) -> None:
    index.insert_objects([[(digest(1), 5), (digest(2), 5)]], uri=URI)
    index.insert_objects([[(digest(4), 5)]], uri="s3://old/")
    before = hub.sql("SELECT * FROM musehub_objects WHERE object_id = %(id)s", {"id": id_of(1)})

    changed = index.insert_objects(
        [[(digest(1), 5), (digest(2), 6), (digest(3), 7), (digest(4), 5)]], uri=URI
    )

    assert changed == 3
    assert index.object_sizes({digest(n) for n in (1, 2, 3)}) == {
        digest(1): 5,
        digest(2): 6,
        digest(3): 7,
    }
    after = hub.sql("SELECT * FROM musehub_objects ORDER BY object_id")
    assert after[:1] == before
    assert [row["storage_uri"] for row in after] == [
        f"{URI}{id_of(n)[7:9]}/{id_of(n)[7:]}" for n in (1, 2, 3, 4)
    ]


def test_writes_repeat_without_effect_and_count_only_what_is_new(hub: Hub, index: Index) -> None:
    def write(*numbers: int) -> tuple[int, int, int]:
        return (
            index.upsert_object_refs("r", [[digest(n) for n in numbers]]),
            index.insert_snapshots("r", [[SnapshotRow(id_of(n), b"{}", TIME) for n in numbers]]),
            index.insert_commits("r", [[commit(n) for n in numbers]]),
        )

    assert write(1, 2) == (2, 2, 2)
    assert write(1, 2) == (0, 0, 0)
    assert write(1, 2, 3) == (1, 1, 1)
    assert hub.counts() | {"objects": 0} == {
        "objects": 0,
        "object_refs": 3,
        "snapshots": 3,
        "commits": 3,
        "branches": 0,
    }


def test_nothing_to_write_is_written(index: Index) -> None:
    assert index.insert_objects([], uri=URI) == 0
    assert index.upsert_object_refs("r", iter(())) == 0
    assert index.insert_snapshots("r", []) == index.insert_commits("r", []) == 0


def test_a_repo_holds_only_what_is_its_own(index: Index) -> None:
    index.insert_objects([[(digest(1), 1), (digest(2), 1)]], uri=URI)
    for repo_id, number in (("r", 1), ("s", 2)):
        index.upsert_object_refs(repo_id, [[digest(number)]])
        index.insert_snapshots(repo_id, [[SnapshotRow(id_of(number), b"{}", None)]])
        index.insert_commits(repo_id, [[commit(number)]])
    kinds: tuple[Kind, ...] = ("object", "snapshot", "commit")

    asked = {digest(n) for n in (1, 2, 3)}
    held = {(kind, r): index.held(kind, r, asked) for kind in kinds for r in ("r", "s", "t")}

    expected = {"r": {digest(1)}, "s": {digest(2)}, "t": set()}
    assert held == {(kind, r): expected[r] for kind in kinds for r in expected}
    assert index.held("object", "r", set()) == set()


def test_more_ids_than_fit_into_a_chunk_are_all_found(index: Index) -> None:
    numbers = range(2 * CHUNK_ROWS + 1)
    chunks = [[digest(n) for n in numbers[:CHUNK_ROWS]], [digest(n) for n in numbers[CHUNK_ROWS:]]]

    assert index.upsert_object_refs("r", chunks) == len(numbers)

    assert index.held("object", "r", {digest(n) for n in range(3 * CHUNK_ROWS)}) == {
        digest(n) for n in numbers
    }


def test_snapshots_and_commits_are_stored_as_they_are(hub: Hub, index: Index) -> None:
    manifest = {"ü/☃.txt": id_of(1), '"\\': id_of(2), "": id_of(3)}
    raw = pack(
        {
            "commit_id": f"{7:064x}",
            "snapshot_id": id_of(5),
            "message": "\\u0000 ☃\n\t\x01",
            "committed_at": "2026-03-01T12:00:00.123456+05:30",
            "author": "Žofie <z@example.org>",
            "branch": "größe/日本",
            "parent_commit_id": f"{3:064x}",
            "parent2_commit_id": id_of(2),
            "metadata": {"\\u0000": [1e-7, -0.5, 2**64 - 1, None, '\x7f\\"']},
        }
    )
    row = row_of(decode_commit(raw), raw)

    index.insert_snapshots("r", [[SnapshotRow(id_of(5), json.dumps(manifest).encode(), TIME)]])
    index.insert_commits("r", [[row]])

    [snapshot] = hub.sql("SELECT * FROM musehub_snapshots")
    assert snapshot == {
        "repo_id": "r",
        "snapshot_id": id_of(5),
        "manifest": manifest,
        "created_at": TIME,
    }
    [stored] = hub.sql("SELECT * FROM musehub_commits")
    assert abs((stored.pop("created_at") - datetime.now(UTC)).total_seconds()) < 60
    assert stored == {
        "repo_id": "r",
        "commit_id": id_of(7),
        "branch": "größe/日本",
        "parent_ids": [id_of(3), id_of(2)],
        "message": "\\u0000 ☃\n\t\x01",
        "author": "Žofie <z@example.org>",
        "timestamp": datetime(2026, 3, 1, 6, 30, 0, 123_456, tzinfo=UTC),
        "snapshot_id": id_of(5),
        "commit_meta": {"metadata": {"\\u0000": [1e-7, -0.5, 2**64 - 1, None, '\x7f\\"']}},
    }


def test_every_time_that_a_commit_may_have_can_be_stored(hub: Hub, index: Index) -> None:
    times = [datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) for year in (1, 1900, 9999)]

    index.insert_commits("r", [[commit(n, timestamp=time) for n, time in enumerate(times)]])
    index.insert_snapshots("r", [[SnapshotRow(id_of(n), b"{}", t) for n, t in enumerate(times)]])

    stored = [
        hub.sql("SELECT timestamp AS t FROM musehub_commits ORDER BY commit_id"),
        hub.sql("SELECT created_at AS t FROM musehub_snapshots ORDER BY snapshot_id"),
    ]
    assert stored == [[{"t": time} for time in times]] * 2


def test_a_snapshot_that_says_no_time_has_that_of_its_arrival(hub: Hub, index: Index) -> None:
    index.insert_snapshots("r", [[SnapshotRow(id_of(1), b"{}", None)]])

    [row] = hub.sql("SELECT now() - created_at < interval '1 min' AS lately FROM musehub_snapshots")
    assert row == {"lately": True}


HISTORY = {1: (), 2: (1,), 3: (2,), 4: (1,), 5: (3, 4), 6: (5, 999), 7: ()}


ANCESTRY: dict[tuple[int, frozenset[int]], bool] = {
    (1, frozenset({1})): True,
    (1, frozenset({3})): True,
    (1, frozenset({6})): True,
    (4, frozenset({6})): True,  # over a second parent
    (2, frozenset({7, 3})): True,
    (3, frozenset({1})): False,
    (7, frozenset({6})): False,
    (6, frozenset({5})): False,
    (999, frozenset({6})): False,  # named as a parent, though never stored
    (1, frozenset({999})): False,
    (1, frozenset()): False,
}


def test_ancestors_are_found_over_all_parents_of_the_repo(index: Index) -> None:
    index.insert_commits("r", [[commit(n, *parents) for n, parents in HISTORY.items()]])
    index.insert_commits("s", [[commit(1), commit(2), commit(3)]])

    def reaches(repo_id: str, ancestor: int, descendants: frozenset[int]) -> bool:
        return index.is_ancestor(repo_id, digest(ancestor), {digest(n) for n in descendants})

    assert {case: reaches("r", *case) for case in ANCESTRY} == ANCESTRY
    assert reaches("s", 1, frozenset({3})) is False


GRAPHS = st.lists(st.sets(st.integers(1, 12), max_size=3), min_size=2, max_size=14)
"""For each commit, how far before it its parents stand."""


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(graph=GRAPHS, data=st.data())
def test_whatever_the_history_both_walks_agree_with_a_plain_one(
    index: Index, monkeypatch: pytest.MonkeyPatch, graph: list[set[int]], data: st.DataObject
) -> None:
    monkeypatch.setattr("musehub_pipeline.index.index._WALKED_COMMITS", 1)
    monkeypatch.setattr("musehub_pipeline.index.index._FARTHER", 2)
    parents = {n: {n - back for back in backs if back < n} for n, backs in enumerate(graph, 1)}
    ancestors: dict[int, set[int]] = {}
    for n, direct in parents.items():
        ancestors[n] = {n}.union(*(ancestors[parent] for parent in direct))
    ancestor = data.draw(st.sampled_from(sorted(parents)))
    descendants = data.draw(st.sets(st.sampled_from(sorted(parents)), min_size=1))
    repo_id = uuid4().hex
    index.insert_commits(repo_id, [[commit(n, *direct) for n, direct in parents.items()]])

    found = index.is_ancestor(repo_id, digest(ancestor), {digest(n) for n in descendants})

    assert found == any(ancestor in ancestors[n] for n in descendants)


def test_a_circle_of_unverified_commits_is_no_endless_walk(index: Index) -> None:
    index.insert_commits("r", [[commit(1, 2), commit(2, 1)]])

    assert index.is_ancestor("r", digest(9), {digest(1)}) is False


def test_repos_and_heads_are_looked_up(hub: Hub, index: Index) -> None:
    hub.create_repo("song")
    hub.create_repo("gone")
    hub.sql("UPDATE musehub_repos SET deleted_at = now() WHERE slug = 'gone'")
    hub.sql("INSERT INTO musehub_branches VALUES ('repo-song', 'main', 'x'), ('r', 'main', 'y')")

    known = index.existing_repos(["repo-song", "repo-gone", "repo-song", "nobody's"])

    assert known == {"repo-song": False, "repo-gone": True}
    branches = [("repo-song", "main"), ("repo-song", "other"), ("r", "main")]
    heads = {("repo-song", "main"): "x", ("r", "main"): "y"}
    assert index.branch_heads(branches) == heads
    assert index.branch_heads([]) == {}


def test_an_mpack_counts_as_verified_once_a_job_of_this_version_is_done(
    hub: Hub, index: Index
) -> None:
    repo_id = hub.create_repo()
    hexes = {state: f"{number:064x}" for number, state in enumerate(("done", "old", "failed"))}
    jobs = {state: hub.enqueue(repo_id, mpack_key=text) for state, text in hexes.items()}
    keys = {f"sha256:{text}" for text in hexes.values()}
    assert index.verified(keys) == set()

    change(hub, jobs["done"], f"status = 'done', index_version = {INDEX_VERSION}")
    change(hub, jobs["old"], f"status = 'done', index_version = {INDEX_VERSION - 1}")
    change(hub, jobs["failed"], f"status = 'failed', index_version = {INDEX_VERSION}")

    assert index.verified(keys) == {f"sha256:{hexes['done']}"}


def test_how_many_rows_there_are_is_known_once_a_table_was_analyzed(hub: Hub, index: Index) -> None:
    index.insert_objects([[(digest(n), 0) for n in range(7)]], uri=URI)
    tables = ["musehub_objects", "musehub_commits", "no_such_table"]
    assert index.estimated_rows(tables) == {}

    hub.sql("ANALYZE musehub_objects")
    index.insert_objects([[(digest(7), 0)]], uri=URI)

    assert index.estimated_rows(tables) == {"musehub_objects": 7}


def test_rows_of_many_repos_go_together_and_are_counted_for_who_brings_them(
    hub: Hub, index: Index
) -> None:
    def snapshots(*numbers: int) -> list[SnapshotRow]:
        return [SnapshotRow(id_of(n), b'{"a": "%d"}' % n, TIME) for n in numbers]

    objects = [[(digest(1), 7), (digest(2), 8)], [], [(digest(2), 8), (digest(3), 9)]]
    refs = [("r", [digest(1)]), ("s", [digest(1), digest(2)]), ("r", [digest(2), digest(1)])]
    trees = [("s", snapshots(4)), ("r", snapshots(4, 5)), ("s", snapshots(5, 4))]
    commits = [("r", [commit(6)]), ("s", [commit(6), commit(7, 6)]), ("r", [commit(6)])]

    assert index.insert_objects_together(objects, uri=URI) == [2, 0, 1]
    assert index.upsert_object_refs_together(refs) == [1, 2, 1]
    assert index.insert_snapshots_together(trees) == [1, 2, 1]
    assert index.insert_commits_together(commits) == [1, 2, 0]

    alone = ("objects", "object_refs", "snapshots", "commits")
    together = {name: hub.sql(f"SELECT * FROM musehub_{name} ORDER BY 1, 2") for name in alone}
    for name in alone:
        hub.sql(f"DELETE FROM musehub_{name}")
    index.insert_objects(objects, uri=URI)
    for repo_id, digests in refs:
        index.upsert_object_refs(repo_id, [digests])
    for repo_id, rows in trees:
        index.insert_snapshots(repo_id, [rows])
    for repo_id, rows in commits:
        index.insert_commits(repo_id, [rows])
    for name in alone:
        rows = hub.sql(f"SELECT * FROM musehub_{name} ORDER BY 1, 2")
        assert [row | {"created_at": None} for row in rows] == [
            row | {"created_at": None} for row in together[name]
        ]


def test_together_rows_are_brought_once_and_healed(hub: Hub, index: Index) -> None:
    index.insert_objects([[(digest(1), 1)]], uri=URI)
    index.upsert_object_refs("r", [[digest(1)]])

    assert index.insert_objects_together([[(digest(1), 1)], [(digest(2), 2)]], uri=URI) == [0, 1]
    assert index.insert_objects_together([[(digest(1), 3)], []], uri=URI) == [1, 0]
    assert index.upsert_object_refs_together([("r", [digest(1)]), ("s", [])]) == [0, 0]
    assert index.insert_commits_together([]) == []
    sizes = hub.sql("SELECT size_bytes FROM musehub_objects ORDER BY object_id")
    assert [row["size_bytes"] for row in sizes] == [3, 2]


def test_what_many_repos_hold_is_asked_at_once(index: Index) -> None:
    for repo_id, number in (("r", 1), ("s", 1), ("s", 2)):
        index.upsert_object_refs(repo_id, [[digest(number)]])
        index.insert_snapshots(repo_id, [[SnapshotRow(id_of(number), b"{}", None)]])
        index.insert_commits(repo_id, [[commit(number)]])
    asked = {"r": {digest(1), digest(2)}, "s": {digest(2), digest(3)}, "t": {digest(1)}}
    kinds: tuple[Kind, ...] = ("object", "snapshot", "commit")

    for kind in kinds:
        assert set(index.held_together(kind, asked)) == {("r", digest(1)), ("s", digest(2))}
        assert list(index.held_together(kind, {"r": set()})) == []
