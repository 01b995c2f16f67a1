"""`fsck`: what is wrong is told, for people and for scripts, and in the exit code."""

import json
from hashlib import sha256
from typing import Any

import obstore
import pytest

from musehub_pipeline.audit import names
from musehub_pipeline.cli import fsck as command
from musehub_pipeline_tests.cli.terminal import call, run
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all

TUNE = b"tune"
TUNE_ID = f"sha256:{sha256(TUNE).hexdigest()}"
TUNE_KEY = f"objects/{TUNE_ID[7:9]}/{TUNE_ID[7:]}"
MISSING = {
    "invariant": "object_stored",
    "table": "musehub_objects",
    "key": {"object_id": TUNE_ID},
    "message": "has 4 bytes, and nothing is stored",
}
CHECKED = {
    "jobs": 2,
    "jobs_pending": 0,
    "jobs_running": 0,
    "jobs_done": 2,
    "jobs_failed": 0,
    "branches": 2,
    "commits": 2,
    "snapshots": 2,
    "object_refs": 4,
    "objects": 3,
    "stored_objects": 3,
    "mpacks": 2,
    "object_refs_unjudged": 0,
    "breaches": 0,
}


@pytest.fixture
def pushed(any_hub: Hub) -> Hub:
    """Two repositories of one commit each: ada/song with a tune, ada/talk without."""
    for slug, content in (("song", TUNE), ("talk", b"words")):
        history = History()
        head = history.commit({"a": content, "licence": b"free"})
        any_hub.push(any_hub.create_repo(slug), history.mpack(), head=head)
    index_all(any_hub)
    return any_hub


def breaches(*options: str) -> list[dict[str, Any]]:
    finished = call("fsck", "--json", *options)
    report = json.loads(finished.out)
    assert finished.code == (3 if report["breaches"] else 0)
    assert report["checked"]["breaches"] == len(report["breaches"])
    return report["breaches"]


def test_a_clean_index_is_0_and_says_what_was_looked_at(pushed: Hub) -> None:
    scripted, told = call("fsck", "--json"), call("fsck")

    assert (scripted.code, scripted.json) == (0, {"breaches": [], "checked": CHECKED})
    assert (told.code, told.out) == (
        0,
        " ".join(f"{name}={number}" for name, number in CHECKED.items()) + "\n",
    )


def test_a_breach_is_3_and_is_named_with_its_table_and_key(pushed: Hub) -> None:
    pushed.store.delete(TUNE_KEY)

    scripted, told = call("fsck", "--json"), call("fsck")

    assert scripted.code == told.code == 3
    assert json.loads(scripted.out) == {
        "breaches": [MISSING],
        "checked": CHECKED | {"stored_objects": 2, "breaches": 1},
    }
    assert told.out.splitlines()[0] == (
        f"object_stored: musehub_objects object_id={TUNE_ID}: has 4 bytes, and nothing is stored"
    )


def test_bytes_of_another_size_are_found(pushed: Hub) -> None:
    obstore.put(pushed.store, TUNE_KEY, TUNE[:-1])
    obstore.put(pushed.store, "objects/readme.txt", b"lies there, and is none of ours")

    assert breaches() == [MISSING | {"message": "has 4 bytes, and 3 are stored"}]


def test_an_mpack_that_is_gone_or_has_other_bytes_is_found(pushed: Hub) -> None:
    jobs = pushed.sql("SELECT job_id, payload FROM musehub_background_jobs ORDER BY repo_id")
    keys = [f"mpacks/{job['payload']['mpack_key'][-64:]}" for job in jobs]
    pushed.store.delete(keys[0])
    obstore.put(pushed.store, keys[1], b"others")
    url = pushed.settings.storage_url
    expected = {
        jobs[0]["job_id"]: f"its mpack cannot be read: MPACK_MISSING: {url}/{keys[0]} does not"
        " exist",
        jobs[1]["job_id"]: "its mpack cannot be read: MPACK_HASH_MISMATCH: the 6 bytes at"
        f" {url}/{keys[1]} hash to {sha256(b'others').hexdigest()}",
    }

    found = breaches()

    assert {breach["key"]["job_id"]: breach["message"] for breach in found} == expected
    assert {(breach["invariant"], breach["table"]) for breach in found} == {
        ("mpack_indexed", "musehub_background_jobs")
    }


def test_one_repository_is_checked_alone(pushed: Hub) -> None:
    pushed.store.delete(TUNE_KEY)

    assert breaches("--repo", "ada/song") == [MISSING]
    assert breaches("-r", "ada/talk") == []


def test_a_repository_that_there_is_not_is_an_error(hub: Hub) -> None:
    finished = call("fsck", "--repo", "ada/none", "--json")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err == "error: no repository is called 'ada/none'\n"


def test_storage_that_cannot_be_read_is_an_error_and_no_list_of_breaches(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", "file:///no/such/folder")

    finished = call("fsck", "--json")

    assert (finished.code, finished.out) == (1, "")
    assert "error: STORAGE_UNAVAILABLE: " in finished.err


def test_of_many_breaches_some_are_listed_and_all_are_counted(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_LISTED", 2)
    hub.create_repo()
    for number in range(3):
        hub.sql(
            "INSERT INTO musehub_branches VALUES ('repo-song', %(n)s, 'x')", {"n": f"b{number}"}
        )

    report = json.loads(call("fsck", "--json").out)

    assert [breach["key"]["name"] for breach in report["breaches"]] == ["b0", "b1"]
    assert report["checked"]["breaches"] == 3


def test_what_strangers_wrote_commands_no_terminal(hub: Hub) -> None:
    hub.create_repo()
    hub.sql("INSERT INTO musehub_branches VALUES ('repo-song', E'[red]\\x1b[31m', 'x')")

    assert call("fsck").out.splitlines()[0] == (
        "head_exists: musehub_branches repo_id=repo-song name=[red]\\x1b[31m:"
        " its head x is no commit of the repo"
    )


def test_through_a_pipe_there_is_nothing_but_json_on_stdout(hub: Hub) -> None:
    finished = run("fsck", "--json")

    assert (finished.code, finished.json["breaches"]) == (0, [])


def test_the_help_tells_the_exit_code() -> None:
    assert "exit with 3 on any breach" in call("fsck", "--help").out


BAD_PATHS = {"a": "duplicateEntries", "../up": "hasDotdot", ".git/\x1b[31m": "hasDotgit"}


def take_in(hub: Hub, slug: str, paths: list[str], branch: str) -> tuple[str, str]:
    """Store a manifest and a branch as they were before there were rules; return their ids."""
    repo_id = hub.create_repo(slug)
    snapshot_id = f"sha256:{sha256(slug.encode()).hexdigest()}"
    hub.sql(
        "INSERT INTO musehub_snapshots VALUES (%(r)s, %(s)s, %(m)s, now())",
        {"r": repo_id, "s": snapshot_id, "m": json.dumps(dict.fromkeys(paths, TUNE_ID))},
    )
    hub.sql("INSERT INTO musehub_branches VALUES (%(r)s, %(b)s, '')", {"r": repo_id, "b": branch})
    return repo_id, snapshot_id


def test_names_that_were_taken_in_before_are_told_with_the_ids_of_their_rows(pushed: Hub) -> None:
    repo_id, snapshot_id = take_in(pushed, "odd", ["a/b", "fine", *BAD_PATHS], "ma\u202ein")
    gone, _ = take_in(pushed, "gone", [".git"], "HEAD")
    pushed.sql("UPDATE musehub_repos SET deleted_at = now() WHERE repo_id = %(r)s", {"r": gone})

    scripted, told = call("fsck", "--names", "--json"), call("fsck", "--names")

    assert scripted.code == told.code == 3
    found = [json.loads(line) for line in scripted.out.splitlines()]
    key = {"repo_id": repo_id, "snapshot_id": snapshot_id}
    assert found[0] == {
        "rule": "badRefName",
        "table": "musehub_branches",
        "key": {"repo_id": repo_id, "name": "ma\u202ein"},
        "name": "ma\u202ein",
        "message": "it holds what turns the direction of text",
    }
    assert {each["name"]: each["rule"] for each in found[1:]} == BAD_PATHS
    assert [(each["table"], each["key"]) for each in found[1:]] == [("musehub_snapshots", key)] * 3
    assert told.out.splitlines()[-1] == "branches=3 snapshots=3 findings=4"
    for shown in (snapshot_id, r"ma\u202ein", r".git/\x1b[31m", "hasDotdot"):
        assert shown in told.out


def test_names_that_are_in_order_are_0(pushed: Hub) -> None:
    take_in(pushed, "odd", [".git"], "-")

    scripted, told = (call("fsck", "--names", "-r", "ada/song", *more) for more in (["--json"], []))

    assert (scripted.code, scripted.out) == (0, "")
    assert (told.code, told.out) == (0, "branches=1 snapshots=1 findings=0\n")


def test_names_are_gone_over_window_by_window(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        take_in(hub, f"repo{number}", [f"{number}/fine", f"{number}/.."], f"-{number}")
    hub.sql("INSERT INTO musehub_snapshots VALUES ('repo-repo0', 'no map', '[7]', now())")

    def found() -> list[str]:
        lines = call("fsck", "--names", "--json").out.splitlines()
        return [json.loads(line)["name"] for line in lines]

    expected = [*(f"-{number}" for number in range(5)), *(f"{number}/.." for number in range(5))]
    assert found() == expected
    monkeypatch.setattr(names, "_WINDOW_ROWS", 2)
    assert found() == expected
    monkeypatch.setattr(names, "_WINDOW_BYTES", 1)
    assert found() == expected
