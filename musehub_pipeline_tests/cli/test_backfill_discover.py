"""`backfill discover`: what no job names is listed, and gets jobs where that is asked for."""

import os
import time
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
import pytest

from musehub_pipeline_tests.cli.terminal import Finished, call, run
from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all

MPACKS = [b"eldest", b"middle one", b"youngest"]
KEYS = [f"sha256:{sha256(mpack).hexdigest()}" for mpack in MPACKS]
ABSENT = "f" * 64
AT_ONCE = ("--older-than", "0s")


def backdate(hub: Hub, key: str, age: timedelta) -> None:
    path = Path(urlsplit(str(hub.settings.storage_url)).path, "mpacks", key[-64:])
    then = time.time() - age.total_seconds()
    os.utime(path, (then, then))


@pytest.fixture
def orphans(hub: Hub) -> Hub:
    """Mpacks that no job names, three, two and one days old; and a repository, ada/song."""
    hub.create_repo()
    for days, mpack in zip((3, 2, 1), MPACKS, strict=True):
        backdate(hub, hub.upload(mpack), timedelta(days=days))
    return hub


def discover(*arguments: object) -> Finished:
    return call("backfill", "discover", *arguments)


def listed(*arguments: object) -> list[str]:
    finished = discover("--json", *arguments)
    assert finished.code == 0
    return [mpack["mpack_key"] for mpack in finished.json]


def enqueue(*arguments: object) -> Any:
    return discover("--enqueue", "-r", "ada/song", "--json", *arguments).json


def jobs(hub: Hub) -> list[dict[str, Any]]:
    return hub.sql("SELECT * FROM musehub_background_jobs ORDER BY created_at, job_id")


def test_what_no_job_names_is_listed_for_scripts_the_oldest_first(orphans: Hub) -> None:
    rows = discover("--json").json

    ages = [row.pop("age_seconds") for row in rows]
    assert [round(age / 3600) for age in ages] == [72, 48, 24]
    stored = [orphans.store.head(f"mpacks/{key[-64:]}")["last_modified"] for key in KEYS]
    assert [row.pop("uploaded_at")[:19] for row in rows] == [at.isoformat()[:19] for at in stored]
    assert rows == [
        {"mpack_key": key, "size_bytes": len(mpack)}
        for key, mpack in zip(KEYS, MPACKS, strict=True)
    ]


def test_people_see_a_row_for_each_and_the_sum(orphans: Hub) -> None:
    orphans.enqueue("repo-song", mpack_key=KEYS[1])

    finished = discover()

    rows = [line.split("│")[1:4] for line in finished.out.splitlines() if line.startswith("│")]
    assert finished.code == 0
    assert [[cell.strip()[:13] for cell in row] for row in rows] == [
        [KEYS[0][:13], "6", "3 days, 0:00:"],
        [KEYS[2][:13], "8", "1 day, 0:00:0"],
    ]
    assert KEYS[0] in finished.out
    assert finished.err.splitlines()[-1] == "2 of 3 mpacks are named by no job: 14 bytes"


def test_what_a_job_names_in_either_spelling_is_not_listed(any_hub: Hub) -> None:
    keys = [any_hub.upload(mpack) for mpack in MPACKS]
    any_hub.enqueue("repo-song", mpack_key=keys[0])
    any_hub.enqueue("repo-song", mpack_key=keys[1][-64:])

    assert listed() == [keys[2]]

    any_hub.enqueue("repo-song", mpack_key=keys[2])
    assert listed() == []
    assert discover().err.splitlines()[-1] == "0 of 3 mpacks are named by no job: 0 bytes"


def test_of_many_some_are_shown_and_the_others_counted(orphans: Hub) -> None:
    finished = discover("--limit", "2")

    assert [key in finished.out for key in KEYS] == [True, True, False]
    assert finished.err.splitlines()[-2:] == [
        "… and 1 more",
        "3 of 3 mpacks are named by no job: 24 bytes",
    ]
    assert listed("--limit", "1") == KEYS


def test_the_younger_ones_can_be_left_out(orphans: Hub) -> None:
    assert listed("--older-than", "36h") == KEYS[:2]
    assert discover("--older-than", "60h").err.splitlines()[-1] == (
        "1 of 3 mpacks is named by no job and older than 2 days, 12:00:00: 6 bytes"
    )


def test_some_can_be_looked_at_alone(orphans: Hub) -> None:
    orphans.enqueue("repo-song", mpack_key=KEYS[0])

    assert listed(KEYS[2][-64:], KEYS[0], KEYS[1], KEYS[2]) == KEYS[1:]
    assert listed(KEYS[0]) == []


def test_what_is_no_mpack_is_counted_on_stderr_and_commands_no_terminal(any_hub: Hub) -> None:
    any_hub.upload(MPACKS[0])
    for name in ("[red]\u202e", "b", "c", f"d/{ABSENT}"):
        obstore.put(any_hub.store, f"mpacks/{name}", b"none of ours")

    finished = discover("--json")

    assert [row["mpack_key"] for row in finished.json] == KEYS[:1]
    [told] = [line for line in finished.err.splitlines() if "no mpacks" in line]
    counted, *names = told.replace(": ", ", ").split(", ")
    assert counted == "4 under mpacks/ are no mpacks"
    assert (len(names), names[3]) == (4, "…")
    assert set(names[:3]) < {
        "mpacks/[red]\\u202e",
        "mpacks/b",
        "mpacks/c",
        f"mpacks/d/{ABSENT}",
    }


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
    assert listed() == []

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
    assert told.err == f"{KEYS[0]} has a job already: {first['enqueued'][KEYS[0]]}\n"
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
        assert finished.err.endswith(f"; what is older than {older_than} is enqueued\n")
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
        ("ada", KEYS[1]): "'ada' is not of the form owner/slug\n",
    }

    for (repo, mpack), named in errors.items():
        finished = discover("--enqueue", "-r", repo, KEYS[0], mpack, "--json")
        assert (finished.code, finished.out) == (1, "")
        assert finished.err.startswith("error: ")
        assert named in finished.err

    assert jobs(orphans) == []


def test_an_mpack_that_there_is_not_is_an_error_when_looked_at(orphans: Hub) -> None:
    finished = discover(KEYS[0], ABSENT, "--json")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err.splitlines()[-1] == (
        f"error: {orphans.settings.storage_url}/mpacks/{ABSENT} does not exist"
    )


def test_wrong_usage_is_named(orphans: Hub) -> None:
    wrong = {
        "--enqueue needs mpacks": ["--enqueue", "--repo", "ada/song"],
        "and --repo": ["--enqueue", KEYS[0]],
        "--repo goes with --enqueue": ["--repo", "ada/song", KEYS[0]],
        "'MAIN' is no mpack": ["--enqueue", "--repo", "ada/song", KEYS[0], "MAIN"],
        f"'{ABSENT}0' is no mpack": [f"{ABSENT}0"],
        "\\x1b[31m": ["\x1b[31m"],
        "'a while' is no age": ["--older-than", "a while"],
        "--limit": ["--limit", "0"],
    }

    for named, arguments in wrong.items():
        finished = discover(*arguments, "--json")
        assert (finished.code, finished.out) == (2, "")
        assert named in finished.err
        assert "\x1b" not in finished.err

    assert jobs(orphans) == []


def test_storage_that_is_not_there_is_an_error_and_no_empty_list(
    any_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = str(any_hub.settings.storage_url).startswith("s3")
    url = "s3://no-such-bucket" if s3 else "file:///no/such/folder"
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", url)

    finished = discover("--json")

    assert (finished.code, finished.out) == (1, "")
    assert "error: STORAGE_UNAVAILABLE: " in finished.err
    assert url in finished.err


def test_through_a_pipe_there_is_nothing_but_json_on_stdout(orphans: Hub) -> None:
    finished = run("backfill", "discover", "--json")

    assert [row["mpack_key"] for row in finished.json] == KEYS
