"""`jobs`: the queue as it is, for people and for scripts."""

import json
from datetime import datetime
from typing import Any

import pytest

from musehub_pipeline.domain.result import KEYS, TIMINGS
from musehub_pipeline_tests.cli.terminal import Finished, call, on_terminal
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub

EMPTY = History().mpack()


@pytest.fixture
def queue(hub: Hub) -> list[str]:
    """Three jobs of two repositories, the oldest first: done, failed, pending."""
    done = hub.push(hub.create_repo("song"), EMPTY)
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'done', attempt = 1, result = %(r)s,"
        " started_at = now(), finished_at = now(), run_id = 'run', index_version = 1",
        {"r": json.dumps(dict.fromkeys(reversed(KEYS), 1.5))},
    )
    failed = hub.push(hub.create_repo("tune", owner="bob"), EMPTY)
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'failed', attempt = 1, finished_at = now(),"
        " error_code = 'MPACK_MALFORMED', error = 'no list' WHERE job_id = %(j)s",
        {"j": failed},
    )
    return [done, failed, hub.push("repo-song", EMPTY)]


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def rows_of(finished: Finished) -> list[list[str]]:
    """Return the cells of the tables that a command printed, row by row."""
    rows = [line.split("│")[1:-1] for line in finished.out.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row] for row in rows]


def test_the_list_has_the_newest_first(hub: Hub, queue: list[str]) -> None:
    listed = call("jobs", "list", "--json").json

    names = (
        "job_id",
        "repo_id",
        "status",
        "attempt",
        "created_at",
        "started_at",
        "finished_at",
        "not_before",
        "error_code",
        "error",
    )
    expected = []
    for job_id, owner, slug in zip(
        reversed(queue), ("ada", "bob", "ada"), ("song", "tune", "song"), strict=True
    ):
        row = hub.job(job_id)
        elapsed = row["result"] and row["result"]["elapsed_ms"]
        more = {"owner": owner, "slug": slug, "elapsed_ms": elapsed}
        expected.append(as_json({name: row[name] for name in names}) | more)
    assert listed == expected
    assert [row["status"] for row in listed] == ["pending", "failed", "done"]


def test_the_list_can_be_narrowed(hub: Hub, queue: list[str]) -> None:
    hub.sql(
        "UPDATE musehub_background_jobs SET created_at = created_at - interval '3 hours'"
        " WHERE job_id = %(j)s",
        {"j": queue[0]},
    )
    positions = {
        "--limit 2": [2, 1],
        "--status failed": [1],
        "--status running": [],
        "--repo ada/song": [2, 0],
        "-r ada/song --status done": [0],
        "--code MPACK_MALFORMED": [1],
        "--code mpack_malformed --repo ada/song": [],
        "--older-than 90m": [0],
        "--newer-than 0.25d": [2, 1, 0],
        "--newer-than 90m": [2, 1],
        "--older-than 5400s --newer-than 2h": [],
    }

    listed = {
        options: [row["job_id"] for row in call("jobs", "list", *options.split(), "--json").json]
        for options in positions
    }

    assert listed == {options: [queue[at] for at in some] for options, some in positions.items()}


def test_it_is_said_that_there_are_more_than_the_limit_lets_through(queue: list[str]) -> None:
    some, all_of_them = call("jobs", "list", "--limit", 2), call("jobs", "list", "--limit", 3)

    assert some.err == "only the newest 2: --limit shows more\n"
    assert [job_id in some.out for job_id in queue] == [False, True, True]
    assert (all_of_them.err, [job_id in all_of_them.out for job_id in queue]) == ("", [True] * 3)


def test_a_row_is_one_line_in_a_pipe_however_long_it_is(hub: Hub, queue: list[str]) -> None:
    message = "no list " * 100
    hub.sql("UPDATE musehub_background_jobs SET error = %(e)s", {"e": message})

    assert f"│ {message.rstrip()} " in call("jobs", "show", queue[1]).out


def test_people_see_a_row_for_each_job(queue: list[str]) -> None:
    finished = call("jobs", "list")

    assert (finished.code, finished.err) == (0, "")
    assert [row[:4] for row in rows_of(finished)] == [
        [queue[2], "ada/song", "pending", "0"],
        [queue[1], "bob/tune", "failed", "1"],
        [queue[0], "ada/song", "done", "1"],
    ]
    assert "MPACK_MALFORMED" in finished.out


def test_what_strangers_wrote_turns_and_hides_nothing_in_a_table(hub: Hub) -> None:
    repo_id = hub.create_repo("so\u202eng", owner="a\u200bda")
    job_id = hub.push(repo_id, EMPTY, branch="ma\u2067in")
    of_no_repo = hub.enqueue("re\u2066po")
    hub.sql("UPDATE musehub_background_jobs SET error = %(e)s", {"e": "no\u200f \x1b[2Jlist"})

    listed = rows_of(call("jobs", "list"))
    values = {row[0]: row[1] for row in rows_of(call("jobs", "show", job_id))}

    assert [row[:2] for row in listed] == [
        [of_no_repo, r"re\u2066po"],
        [job_id, r"a\u200bda/so\u202eng"],
    ]
    assert values["repo_id"] == r"repo-so\u202eng"
    assert values["error"] == r"no\u200f \x1b[2Jlist"
    assert r'"branch": "ma\u2067in"' in values["payload"]


def test_a_job_is_shown_with_all_its_columns_and_the_result_in_its_order(
    hub: Hub, queue: list[str]
) -> None:
    for job_id in queue:
        assert call("jobs", "show", job_id, "--json").json == as_json(hub.job(job_id))

    standing = [call("jobs", "show", job_id).out.splitlines()[0] for job_id in queue]
    finished = call("jobs", "show", queue[0])

    assert standing == [
        f"{queue[0]} is done already",
        f"{queue[1]} failed, MPACK_MALFORMED: no list",
        f"{queue[2]} is pending",
    ]
    result, _, phases = finished.out.partition("\nphases")
    before, _, after = result.partition("\nresult")
    shown = [line.strip("│ ").split(" ")[0] for line in after.splitlines()]
    assert all(column in before for column in ("payload", "lease_expires_at", "index_version"))
    assert [name for name in shown if name in KEYS] == list(KEYS)
    drawn = [[cell.strip() for cell in line.split("│")[1:-1]] for line in phases.splitlines()[4:-1]]
    assert drawn == [[key.removesuffix("_ms"), "1.5 ms", "100%", "█" * 30] for key in TIMINGS]


def test_a_job_is_shown_with_how_each_attempt_ended(hub: Hub, queue: list[str]) -> None:
    attempts = [
        {
            "attempt": 1,
            "run_id": "run-1",
            "started_at": "2026-03-01T10:00:00.5+00:00",
            "ended_at": "2026-03-01T10:00:02+00:00",
            "code": "STORAGE_UNAVAILABLE",
            "message": "the disk is full",
        },
        {
            "attempt": 1,
            "run_id": None,
            "started_at": None,
            "ended_at": "2026-03-01T11:00:00+00:00",
            "code": "CANCELLED",
            "message": "[/x]",
        },
    ]
    hub.sql(
        "UPDATE musehub_background_jobs SET attempts = %(a)s WHERE job_id = %(j)s",
        {"a": json.dumps(attempts), "j": queue[1]},
    )

    finished = call("jobs", "show", queue[1])

    before, _, after = finished.out.partition("\nattempts")
    local = [
        datetime.fromisoformat(f"2026-03-01T{time}+00:00").astimezone().isoformat(" ")
        for time in ("10:00:00", "10:00:02", "11:00:00")
    ]
    assert "MPACK_MALFORMED" in before
    assert [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in after.splitlines()
        if line.startswith("│")
    ] == [
        ["1", "run-1", local[0], local[1], "STORAGE_UNAVAILABLE", "the disk is full"],
        ["1", "-", "-", local[2], "CANCELLED", "[/x]"],
    ]
    assert call("jobs", "show", queue[1], "--json").json["attempts"] == attempts


def test_what_strangers_wrote_is_shown_as_it_is(hub: Hub) -> None:
    repo_id = hub.create_repo("[red]")
    hub.sql(
        "INSERT INTO musehub_background_jobs (job_id, repo_id, job_type, payload, status,"
        " created_at, attempt, error) VALUES ('job[/x]', %(r)s, 'mpack.index', '{\"[/a]\": 1}',"
        " 'failed', now(), 1, '[/bold] [link')",
        {"r": repo_id},
    )

    listed, shown = call("jobs", "list"), call("jobs", "show", "job[/x]")

    assert (listed.code, shown.code) == (0, 0)
    for said in ("job[/x]", "ada/[red]"):
        assert said in listed.out
    assert shown.out.splitlines()[0] == "job[/x] failed, None: [/bold] [link"
    assert "[/bold] [link" in shown.out
    assert '{"[/a]": 1}' in shown.out


def test_what_is_not_there_is_an_error_that_names_it(hub: Hub) -> None:
    errors = {
        "show job-none": (1, "error: no mpack.index job has the id 'job-none'\n"),
        "list --repo ada/none": (1, "error: no repository is called 'ada/none'\n"),
        "list --limit 0": (2, "--limit"),
        "list --status lost": (2, "--status"),
        "show": (2, "job_id"),
    }

    for arguments, (code, named) in errors.items():
        finished = call("jobs", *arguments.split(), "--json")
        assert (finished.code, finished.out) == (code, "")
        assert named in finished.err.replace("JOB_ID", "job_id")


def test_jobs_of_other_types_are_none_of_ours(hub: Hub) -> None:
    hub.sql(
        "INSERT INTO musehub_background_jobs (job_id, repo_id, job_type, payload, status,"
        " created_at, attempt) VALUES ('mail', 'repo', 'mail.send', '{}', 'pending', now(), 0)"
    )

    assert call("jobs", "list", "--json").json == []
    assert call("jobs", "show", "mail").code == 1
    assert call("index", "--json").json == []
    assert hub.job("mail")["status"] == "pending"


def test_an_id_is_taken_by_how_it_begins_where_no_other_does(hub: Hub) -> None:
    repo_id = hub.create_repo()
    ids = [f"sha256:{'ab' * 31}{end}" for end in ("00", "01")] + [f"sha256:{'c' * 64}", "sha256:c"]
    for job_id in ids:
        row_id = hub.push(repo_id, EMPTY)
        hub.sql(
            "UPDATE musehub_background_jobs SET job_id = %(n)s WHERE job_id = %(o)s",
            {"n": job_id, "o": row_id},
        )

    shown = {
        text: call("jobs", "show", text, "--json").json["job_id"]
        for text in (ids[0], ids[0].removeprefix("sha256:"), "cccccccccccc", "sha256:c")
    }
    ambiguous, none = call("jobs", "cancel", "abab", ids[2]), call("jobs", "cancel", "cccd")
    cancelled = call("jobs", "cancel", "cccccccccccc", "--json").json
    retried = call("jobs", "retry", "cccccccccccc", "--json").json
    indexed = call("index", ids[0][7:], "--json").json

    assert list(shown.values()) == [ids[0], ids[0], ids[2], ids[3]]
    assert (ambiguous.code, ambiguous.err) == (
        1,
        f"error: the ids of several jobs begin with 'abab': {ids[0]}, {ids[1]}\n",
    )
    assert (none.code, none.err.splitlines()[-1]) == (3, "no mpack.index job has the id 'cccd'")
    assert cancelled == {"cancelled": [ids[2]], "refused": {}}
    assert retried == {"retried": [ids[2]], "refused": {}}
    assert [row["job_id"] for row in indexed] == [ids[0]]
    assert call("jobs", "show", "").code == 1


def test_the_list_is_sorted_as_told(hub: Hub, queue: list[str]) -> None:
    hub.sql("UPDATE musehub_background_jobs SET attempt = 7 WHERE job_id = %(j)s", {"j": queue[1]})

    listed = {
        sort: [row["job_id"] for row in call("jobs", "list", "--sort", sort, "--json").json]
        for sort in ("created", "elapsed", "attempt")
    }

    assert listed == {
        "created": [queue[2], queue[1], queue[0]],
        "elapsed": [queue[0], queue[2], queue[1]],
        "attempt": [queue[1], queue[0], queue[2]],
    }
    assert call("jobs", "list", "--sort", "attempt", "--limit", 1).err == (
        "only the first 1: --limit shows more\n"
    )


def test_a_job_is_one_line_on_a_terminal_of_100_columns(hub: Hub, queue: list[str]) -> None:
    ids = [f"sha256:{digit * 64}" for digit in "abc"]
    for old, new in zip(queue, ids, strict=True):
        hub.sql(
            "UPDATE musehub_background_jobs SET job_id = %(n)s, attempt = 12,"
            " created_at = created_at - interval '3 hours' WHERE job_id = %(o)s",
            {"n": new, "o": old},
        )
    hub.sql("UPDATE musehub_repos SET slug = repeat('long-', 9) WHERE repo_id = 'repo-song'")
    hub.sql("UPDATE musehub_background_jobs SET error_code = 'OBJECT_HASH_MISMATCH'")

    seen = on_terminal("jobs", "list", columns=100)
    full = on_terminal("jobs", "list", "--full", columns=100)

    rows = [line for line in seen.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row.split("│")[1:-1]] for row in rows] == [
        ["c" * 12, "ada/long-long-long-long…", "pending", "12", "3h", "-", "OBJECT_HASH_MISMATCH"],
        ["b" * 12, "bob/tune", "failed", "12", "3h", "-", "OBJECT_HASH_MISMATCH"],
        [
            "a" * 12,
            "ada/long-long-long-long…",
            "done",
            "12",
            "3h",
            "1.5 ms",
            "OBJECT_HASH_MISMATCH",
        ],
    ]
    assert max(map(len, seen.splitlines())) <= 100
    assert "a" * 12 in full
    assert "long-" * 5 not in seen


@pytest.mark.parametrize(
    "result", [{"elapsed_ms": 1.5}, {**dict.fromkeys(KEYS, 1), "unpack_ms": "?"}]
)
def test_a_result_that_somebody_else_wrote_is_shown_as_it_is(
    hub: Hub, queue: list[str], result: dict[str, Any]
) -> None:
    hub.sql(
        "UPDATE musehub_background_jobs SET result = %(r)s WHERE job_id = %(j)s",
        {"r": json.dumps(result), "j": queue[0]},
    )

    shown = call("jobs", "show", queue[0])

    assert shown.code == 0, shown.err
    assert "elapsed_ms" in shown.out
    assert "phases" not in shown.out
