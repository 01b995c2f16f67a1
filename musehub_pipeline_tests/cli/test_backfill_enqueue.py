"""`backfill discover --enqueue`: the named mpacks get the jobs that the hub would have made."""

from datetime import timedelta
from typing import Any

from musehub_pipeline_tests.cli.orphans import ABSENT, KEYS, MPACKS, backdate, discover
from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all

AT_ONCE = ("--older-than", "0s")


def enqueue(*arguments: object) -> Any:
    return discover("--enqueue", "-r", "ada/song", "--json", *arguments).json


def jobs(hub: Hub) -> list[dict[str, Any]]:
    return hub.sql("SELECT * FROM musehub_background_jobs ORDER BY created_at, job_id")


def test_an_orphan_gets_the_row_that_the_hub_would_have_written(any_hub: Hub) -> None:
    history = small_history()
    key = any_hub.upload(history.mpack())
    repo_id = any_hub.create_repo()

    report = enqueue(key[-64:], *AT_ONCE)

    [row] = jobs(any_hub)
    assert report == {"enqueued": {key: row.pop("job_id")}, "present": {}}
    assert row.pop("created_at") is not None
    assert {name: value for name, value in row.items() if value is not None} == {
        "repo_id": repo_id,
        "job_type": "mpack.index",
        "status": "pending",
        "attempt": 0,
        "attempts": [],
        "attempts_forgiven": 0,
        "payload": {
            "mpack_key": key,
            "pusher_id": None,
            "branch": None,
            "head": None,
            "force": False,
            "declared_objects_count": None,
        },
    }
    assert discover("--json").json == []

    index_all(any_hub)

    [row] = jobs(any_hub)
    assert (row["status"], row["result"]["head_moved"]) == ("done", False)
    assert any_hub.counts() == {
        "objects": len(history.objects),
        "object_refs": len(history.objects),
        "snapshots": len(history.snapshots),
        "commits": len(history.commits),
        "branches": 0,
    }


def test_jobs_are_printed_one_a_line(orphans: Hub) -> None:
    finished = discover("--enqueue", "--repo", "ada/song", *KEYS[:2])

    assert finished.out.split("\n") == [*(row["job_id"] for row in jobs(orphans)), ""]


def test_the_oldest_upload_goes_first_so_that_thin_mpacks_find_what_they_lean_on(
    hub: Hub,
) -> None:
    hub.create_repo()
    base = History()
    parent = base.commit({"a": b"a"})
    more = base.copy()
    more.commit({"a": b"a", "b": b"b"}, parents=[parent])
    full, thin = hub.upload(base.mpack()), hub.upload(more.mpack(without=base))
    backdate(hub, full, timedelta(hours=3))
    backdate(hub, thin, timedelta(hours=2))

    report = enqueue(thin, full)
    index_all(hub)

    assert list(report["enqueued"]) == [full, thin]
    assert [row["status"] for row in jobs(hub)] == ["done", "done"]


def test_enqueuing_again_makes_no_second_row(orphans: Hub) -> None:
    first = enqueue(*KEYS[:2], KEYS[0])
    orphans.sql("UPDATE musehub_background_jobs SET status = 'failed'")

    second = enqueue(*KEYS)
    told = discover("--enqueue", "-r", "ada/song", KEYS[0])

    assert list(first["enqueued"]) == KEYS[:2]
    assert second == {"enqueued": second["enqueued"], "present": first["enqueued"]}
    assert list(second["enqueued"]) == KEYS[2:]
    assert (told.code, told.out) == (0, "")
    assert told.err == f"{KEYS[0]} already has a job: {first['enqueued'][KEYS[0]]}\n"
    assert len(jobs(orphans)) == 3


def test_another_repository_can_have_it_too(orphans: Hub) -> None:
    orphans.create_repo("talk")
    orphans.enqueue("repo-talk", mpack_key=KEYS[0])

    enqueue(KEYS[0])

    assert [row["repo_id"] for row in jobs(orphans)] == ["repo-talk", "repo-song"]


def test_what_was_uploaded_moments_ago_is_refused_unless_told_otherwise(any_hub: Hub) -> None:
    any_hub.create_repo()
    key = any_hub.upload(MPACKS[0])

    for options, older_than in (((), "1:00:00"), (("--older-than", "2d"), "2 days, 0:00:00")):
        finished = discover("--enqueue", "-r", "ada/song", key, *options)
        assert (finished.code, finished.out) == (1, "")
        assert finished.err.startswith(f"error: the mpack {key} was uploaded ")
        assert finished.err.endswith(f"; only what is older than {older_than} is enqueued\n")
    assert jobs(any_hub) == []

    assert list(enqueue(key, *AT_ONCE)["enqueued"]) == [key]


def test_it_is_all_of_them_or_none(orphans: Hub) -> None:
    young = orphans.upload(b"of this moment")
    orphans.create_repo("gone", owner="gone")
    orphans.sql("UPDATE musehub_repos SET deleted_at = now() WHERE owner = 'gone'")
    errors = {
        ("ada/song", young): f"the mpack {young} was uploaded ",
        ("ada/song", ABSENT): f"mpacks/{ABSENT} does not exist\n",
        ("ada/none", KEYS[1]): "no repository is called 'ada/none'\n",
        ("gone/gone", KEYS[1]): "no repository is called 'gone/gone'\n",
    }

    for (repo, mpack), named in errors.items():
        finished = discover("--enqueue", "-r", repo, KEYS[0], mpack, "--json")
        assert (finished.code, finished.out) == (1, "")
        assert finished.err.startswith("error: ")
        assert named in finished.err

    assert jobs(orphans) == []
