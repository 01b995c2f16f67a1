"""Real pushes through the Dagster job, read back row by row, on each kind of storage."""

import pytest

from musehub_pipeline import JobFailed
from musehub_pipeline_tests.factories import History, pack, small_history
from musehub_pipeline_tests.hub import Hub


def bare(any_id: str) -> str:
    return any_id[-64:]


def stored(any_id: str | None) -> str | None:
    return any_id and f"sha256:{bare(any_id)}"


def assert_index_holds(hub: Hub, repo_id: str, history: History) -> None:
    """Compare every row of a repo, and every byte of its objects, with what was pushed."""
    key = {"r": repo_id}
    manifests = hub.sql(
        "SELECT snapshot_id, manifest FROM musehub_snapshots WHERE repo_id = %(r)s", key
    )
    assert {row["snapshot_id"]: row["manifest"] for row in manifests} == {
        stored(snapshot_id): {path: stored(object_id) for path, object_id in manifest.items()}
        for snapshot_id, manifest in history.snapshots.items()
    }
    commits = hub.sql(
        "SELECT commit_id, branch, parent_ids, message, author, snapshot_id,"
        " commit_meta -> 'metadata' AS metadata,"
        " to_char(timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS') AS time"
        " FROM musehub_commits WHERE repo_id = %(r)s",
        key,
    )
    assert {row.pop("commit_id"): row for row in commits} == {
        stored(commit_id): {
            "branch": commit["branch"],
            "parent_ids": [
                stored(parent)
                for parent in (commit["parent_commit_id"], commit["parent2_commit_id"])
                if parent
            ],
            "message": commit["message"],
            "author": commit["author"],
            "snapshot_id": stored(commit["snapshot_id"]),
            "metadata": commit["metadata"],
            "time": commit["committed_at"][:19].replace("T12", "T11")
            if commit["committed_at"].endswith("+01:00")
            else commit["committed_at"][:19],
        }
        for commit_id, commit in history.commits.items()
    }
    refs = hub.sql("SELECT object_id FROM musehub_object_refs WHERE repo_id = %(r)s", key)
    assert {row["object_id"] for row in refs} == set(map(stored, history.objects))
    bytes_by_id = {stored(object_id): content for object_id, content in history.objects.items()}
    in_storage = hub.stored_objects()
    assert bytes_by_id.items() <= in_storage.items()
    rows = hub.sql("SELECT object_id, size_bytes, storage_uri FROM musehub_objects")
    assert {row["object_id"]: (row["size_bytes"], row["storage_uri"]) for row in rows} == {
        object_id: (
            len(content),
            f"{hub.settings.storage_url}/objects/{bare(object_id)[:2]}/{bare(object_id)}",
        )
        for object_id, content in in_storage.items()
    }


@pytest.mark.parametrize("prefix", ["", "sha256:"])
@pytest.mark.parametrize("hash_author", [False, True])
def test_a_push_is_indexed_row_by_row(any_hub: Hub, prefix: str, hash_author: bool) -> None:
    history = small_history(prefix, hash_author=hash_author)
    repo_id = any_hub.create_repo()
    head = list(history.commits)[-1]

    result = any_hub.index(
        any_hub.push(repo_id, history.mpack(), head=head, declared_objects_count=14)
    )

    assert result["head"] == any_hub.head(repo_id) == stored(head)
    assert_index_holds(any_hub, repo_id, history)


def test_the_mpack_key_may_be_bare(any_hub: Hub) -> None:
    history = small_history()
    repo_id = any_hub.create_repo()
    mpack_key = bare(any_hub.upload(history.mpack()))

    result = any_hub.index(any_hub.enqueue(repo_id, mpack_key=mpack_key))

    assert result["mpack_key"] == stored(mpack_key)
    assert_index_holds(any_hub, repo_id, history)


def test_a_repeated_push_changes_no_row_and_puts_no_byte(any_hub: Hub) -> None:
    history = small_history()
    repo_id = any_hub.create_repo()
    head = list(history.commits)[-1]
    any_hub.index(any_hub.push(repo_id, history.mpack(), head=head))
    before = any_hub.counts()

    again = any_hub.index(any_hub.push(repo_id, history.mpack(), head=head))

    assert any_hub.counts() == before
    counted = (
        "objects_put",
        "object_bytes_put",
        "objects_inserted",
        "object_refs_inserted",
        "snapshots_inserted",
        "commits_inserted",
        "head_moved",
    )
    assert [again[name] for name in counted] == [0, 0, 0, 0, 0, 0, False]
    assert_index_holds(any_hub, repo_id, history)


def test_a_thin_push_leans_on_what_the_repo_holds(any_hub: Hub) -> None:
    history = small_history()
    repo_id = any_hub.create_repo()
    any_hub.index(any_hub.push(repo_id, history.mpack(), head=list(history.commits)[-1]))
    first = history.copy()
    files = {"src/file0.txt": bytes([100]) * 128, "new": b"new"}
    head = history.commit(files, parents=[list(history.commits)[-1]])

    result = any_hub.index(any_hub.push(repo_id, history.mpack(without=first), head=head))

    assert (result["objects_total"], result["commits_inserted"]) == (1, 1)
    assert any_hub.head(repo_id) == stored(head)
    assert_index_holds(any_hub, repo_id, history)


def test_a_fork_gets_rows_of_its_own_and_shares_the_bytes(any_hub: Hub) -> None:
    history = small_history()
    origin, fork = any_hub.create_repo("song"), any_hub.create_repo("fork", owner="bob")
    head = list(history.commits)[-1]
    any_hub.index(any_hub.push(origin, history.mpack(), head=head))

    result = any_hub.index(any_hub.push(fork, history.mpack(), head=head))

    assert (result["objects_put"], result["objects_inserted"]) == (0, 0)
    assert (result["object_refs_inserted"], result["commits_inserted"]) == (14, 4)
    assert_index_holds(any_hub, origin, history)
    assert_index_holds(any_hub, fork, history)
    assert any_hub.head(fork) == any_hub.head(origin) == stored(head)


@pytest.mark.parametrize(
    ("left_out", "code"),
    [
        ("objects", "OBJECT_NOT_HELD"),
        ("snapshots", "SNAPSHOT_NOT_HELD"),
        ("commits", "PARENT_NOT_HELD"),
    ],
)
def test_a_fork_cannot_read_what_it_only_names(hub: Hub, left_out: str, code: str) -> None:
    history = small_history()
    hub.index(hub.push(hub.create_repo("song"), history.mpack()))
    fork = hub.create_repo("fork", owner="mallory")
    tip, *_ = history.content()["commits"]
    rest = [tip] if left_out == "commits" else []

    with pytest.raises(JobFailed) as failure:
        hub.index(hub.push(fork, history.mpack(**{left_out: rest})))

    assert failure.value.code == code
    assert hub.sql("SELECT FROM musehub_object_refs WHERE repo_id = %(r)s", {"r": fork}) == []
    assert hub.sql("SELECT FROM musehub_snapshots WHERE repo_id = %(r)s", {"r": fork}) == []


def test_a_merge_keeps_both_parents(any_hub: Hub) -> None:
    history = History()
    root = history.commit({"a": b"a"})
    left = history.commit({"a": b"left"}, parents=[root])
    right = history.commit({"a": b"right"}, parents=[root], branch="side")
    head = history.commit({"a": b"both"}, parents=[left, right], message="merge")
    repo_id = any_hub.create_repo()

    any_hub.index(any_hub.push(repo_id, history.mpack(), head=head))

    assert_index_holds(any_hub, repo_id, history)


def test_empty_objects_and_unicode_survive(any_hub: Hub) -> None:
    history = History()
    head = history.commit(
        {"leer": b"", "中文/ключ é.txt": b"\x00\xff", "emoji 🎵": b"tone", '"\\': b"quotes"},
        message="ünïcödé 🎶\n\nwith a body\t\u2028",
        author="Žofie <z@example.org>",
        metadata={"nested": {"list": [1, 2.5, None, True, "é"], "": ""}},
    )
    repo_id = any_hub.create_repo()

    any_hub.index(any_hub.push(repo_id, history.mpack(), head=head))

    assert_index_holds(any_hub, repo_id, history)


def test_lists_may_be_absent_and_unknown_keys_are_ignored(any_hub: Hub) -> None:
    history = History()
    head = history.commit({"a": b"a"}, repo_id="elsewhere", format_version=3, unknown=[{}])
    content = history.content()
    content["objects"][0] |= {"path": "a", "future": {"x": [1]}}
    content["snapshots"][0]["future"] = {"y": b"z"}
    repo_id = any_hub.create_repo()

    any_hub.index(
        any_hub.push(repo_id, pack(content | {"tags": [], "branch_heads": {}, "new": {"k": 1}}))
    )
    only_a_head = any_hub.index(any_hub.push(repo_id, pack({}), head=head))

    assert_index_holds(any_hub, repo_id, history)
    assert (only_a_head["objects_total"], only_a_head["head_moved"]) == (0, True)
    assert any_hub.head(repo_id) == stored(head)


def test_a_job_without_a_head_moves_none(hub: Hub) -> None:
    repo_id = hub.create_repo()

    result = hub.index(hub.push(repo_id, small_history().mpack()))

    assert (result["head"], result["head_moved"], hub.head(repo_id)) == (None, False, None)


def test_a_step_back_is_refused_unless_it_is_forced(any_hub: Hub) -> None:
    history = small_history()
    first, *_, last = history.commits
    repo_id = any_hub.create_repo()
    any_hub.index(any_hub.push(repo_id, history.mpack(), head=last))

    with pytest.raises(JobFailed) as failure:
        any_hub.index(any_hub.push(repo_id, history.mpack(), head=first))
    assert failure.value.code == "NON_FAST_FORWARD"
    assert any_hub.head(repo_id) == stored(last)

    result = any_hub.index(any_hub.push(repo_id, history.mpack(), head=first, force=True))
    assert (result["head_moved"], any_hub.head(repo_id)) == (True, stored(first))


def test_a_push_is_noted_on_its_repo(hub: Hub) -> None:
    repo_id = hub.create_repo()
    hub.index(hub.push(repo_id, small_history().mpack()))

    [repo] = hub.sql("SELECT pushed_at IS NOT NULL AS pushed FROM musehub_repos")
    assert repo["pushed"]


def test_an_unknown_scheme_is_recorded_where_the_policy_says_so(hub: Hub) -> None:
    history = small_history()
    content = history.content()
    content["commits"][0]["commit_id"] = "sha256:" + "7" * 64
    recording = Hub(hub.settings.model_copy(update={"id_policy": "record"}))
    repo_id = hub.create_repo()

    with pytest.raises(JobFailed, match="COMMIT_ID_MISMATCH"):
        hub.index(hub.push(repo_id, pack(content)))
    result = recording.index(hub.push(repo_id, pack(content)))

    assert (result["unverified_ids"], result["commits_inserted"]) == (1, 4)
