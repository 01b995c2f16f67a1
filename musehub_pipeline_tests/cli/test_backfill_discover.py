"""`backfill discover`: what no job names is listed, and nothing else."""

import obstore
import pytest

from musehub_pipeline_tests.cli.orphans import ABSENT, KEYS, MPACKS, discover
from musehub_pipeline_tests.cli.terminal import run
from musehub_pipeline_tests.hub import Hub


def listed(*arguments: object) -> list[str]:
    finished = discover("--json", *arguments)
    assert finished.code == 0
    return [mpack["mpack_key"] for mpack in finished.json]


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
    [told] = [line for line in finished.err.splitlines() if "not mpacks" in line]
    counted, *names = told.replace(": ", ", ").split(", ")
    assert counted == "4 under mpacks/ are not mpacks"
    assert (len(names), names[3]) == (4, "…")
    assert set(names[:3]) < {
        "mpacks/[red]\\u202e",
        "mpacks/b",
        "mpacks/c",
        f"mpacks/d/{ABSENT}",
    }


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
        "'MAIN' is not an mpack": ["--enqueue", "--repo", "ada/song", KEYS[0], "MAIN"],
        f"'{ABSENT}0' is not an mpack": [f"{ABSENT}0"],
        "\\x1b[31m": ["\x1b[31m"],
        "'a while' is not an age": ["--older-than", "a while"],
        "--limit": ["--limit", "0"],
    }

    for named, arguments in wrong.items():
        finished = discover(*arguments, "--json")
        assert (finished.code, finished.out) == (2, "")
        assert named in finished.err
        assert "\x1b" not in finished.err

    assert orphans.sql("SELECT FROM musehub_background_jobs") == []


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
