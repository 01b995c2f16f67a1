"""Pushes of strangers who mean harm, through the Dagster job."""

import json

import pytest

from musehub_pipeline import JobFailed
from musehub_pipeline.orchestration.in_process import Runner
from musehub_pipeline.orchestration.instance import dagster_instance
from musehub_pipeline_tests.factories import History, pack, small_history
from musehub_pipeline_tests.hub import Hub


@pytest.mark.parametrize(
    "payload",
    ['{"mpack_key": "x", "declared_objects_count": 1e5000}', "[" * 3000 + "]" * 3000, "7"],
)
def test_an_odd_payload_fails_its_job_and_no_other(hub: Hub, payload: str) -> None:
    odd = hub.enqueue(hub.create_repo("odd"))
    hub.sql("UPDATE musehub_background_jobs SET payload = %(p)s::text::jsonb", {"p": payload})
    good = hub.push(hub.create_repo("good"), small_history().mpack())

    with dagster_instance() as instance:
        Runner(hub.settings, instance).run()

    rows = hub.sql("SELECT job_id, status, error_code FROM musehub_background_jobs")
    assert {row["job_id"]: (row["status"], row["error_code"]) for row in rows} == {
        odd: ("failed", "BAD_PAYLOAD"),
        good: ("done", None),
    }


def test_other_parents_for_a_stored_commit_do_not_make_a_fast_forward(hub: Hub) -> None:
    recording = Hub(hub.settings.model_copy(update={"id_policy": "record"}))
    repo_id = recording.create_repo()
    history = History()
    root = history.commit({"a": b"a"})
    evil = history.commit({"a": b"evil"}, message="without a parent")
    head = history.commit({"a": b"b"}, parents=[root])
    recording.index(recording.push(repo_id, history.mpack(), head=head))
    content = history.content()
    for commit in content["commits"]:
        if commit["commit_id"] == evil:
            commit["parent_commit_id"] = head

    with pytest.raises(JobFailed) as failure:
        recording.index(recording.push(repo_id, pack(content), head=evil))

    assert failure.value.code == "NON_FAST_FORWARD"
    assert recording.head(repo_id) == head


def test_a_lie_about_what_is_held_changes_nothing_and_is_a_fault_elsewhere(hub: Hub) -> None:
    history = small_history()
    origin, other = hub.create_repo(), hub.create_repo("other", owner="mallory")
    hub.index(hub.push(origin, history.mpack()))
    before = rows_of(hub)
    content = history.content()
    content["commits"][0] |= {"author": "Mallory", "metadata": {"evil": "yes"}}
    content["snapshots"][0]["manifest"] = {"evil": next(iter(history.objects))}

    again = hub.index(hub.push(origin, pack(content)))
    with pytest.raises(JobFailed) as failure:
        hub.index(hub.push(other, pack(content)))

    assert (again["commits_inserted"], again["snapshots_inserted"]) == (0, 0)
    assert rows_of(hub) == before
    assert failure.value.code in {"COMMIT_ID_MISMATCH", "SNAPSHOT_ID_MISMATCH"}


def test_a_false_object_is_a_fault_also_where_the_repo_holds_the_true_one(hub: Hub) -> None:
    history = small_history()
    repo_id = hub.create_repo()
    hub.index(hub.push(repo_id, history.mpack()))
    before = hub.stored_objects()
    content = history.content()
    content["objects"][0]["content"] = b"false"

    with pytest.raises(JobFailed) as failure:
        hub.index(hub.push(repo_id, pack(content)))

    assert failure.value.code == "OBJECT_HASH_MISMATCH"
    assert hub.stored_objects() == before


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a": b"a", "b/../../c\n": b"b"}, "'b/../../c\\n': hasDotdot, a part of it is .."),
        ({"a": b"a", "a/b": b"b"}, "'a': duplicateEntries, a file and a folder have this path"),
    ],
)
def test_a_path_that_no_checkout_may_hold_fails_the_push_that_brings_it(
    hub: Hub, files: dict[str, bytes], told: str
) -> None:
    repo_id = hub.create_repo()
    history = small_history()
    *_, last = history.commits
    head = history.commit(files, parents=[last])

    with pytest.raises(JobFailed) as failure:
        hub.index(hub.push(repo_id, history.mpack(), head=head))

    assert (failure.value.code, failure.value.message) == (
        "BAD_PATH",
        f"snapshots[4]: manifest: {told}",
    )
    assert set(hub.counts().values()) == {0}
    assert hub.stored_objects() == {}


def test_a_bad_path_that_is_held_already_is_not_judged_again(hub: Hub) -> None:
    repo_id = hub.create_repo()
    history = History()
    first = history.commit({".git/config": b"a"})
    [(snapshot_id, manifest)] = history.snapshots.items()
    hub.sql(
        "INSERT INTO musehub_snapshots VALUES (%(r)s, %(s)s, %(m)s, now())",
        {"r": repo_id, "s": snapshot_id, "m": json.dumps(manifest)},
    )
    head = history.commit({"a": b"a"}, parents=[first])

    result = hub.index(hub.push(repo_id, history.mpack(), head=head))

    assert (result["snapshots_inserted"], hub.head(repo_id)) == (1, head)


def test_a_branch_that_no_reader_can_hold_fails_its_push_and_a_commits_own_does_not(
    hub: Hub,
) -> None:
    repo_id = hub.create_repo()
    history = History()
    head = history.commit({"a": b"a"}, branch="a..b \u202e")

    with pytest.raises(JobFailed) as failure:
        hub.index(hub.push(repo_id, history.mpack(), head=head, branch="a..b"))
    result = hub.index(hub.push(repo_id, history.mpack(), head=head))

    assert (failure.value.code, failure.value.message) == (
        "BAD_PAYLOAD",
        "payload.branch: 'a..b' can be no branch: it holds ..",
    )
    assert (result["commits_inserted"], hub.head(repo_id)) == (1, head)


def rows_of(hub: Hub) -> list[dict[str, object]]:
    tables = ("objects", "object_refs", "snapshots", "commits", "branches")
    return [
        row for table in tables for row in hub.sql(f"SELECT * FROM musehub_{table} ORDER BY 1, 2")
    ]
