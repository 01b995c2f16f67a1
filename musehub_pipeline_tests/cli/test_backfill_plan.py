"""`backfill plan`: what a backfill would take, day by day, and for how long."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from musehub_pipeline.domain.job import INDEX_VERSION
from musehub_pipeline_tests.cli.ended_jobs import START, day, failed, killed, row
from musehub_pipeline_tests.cli.terminal import Finished, call
from musehub_pipeline_tests.hub import Hub

TODAY = datetime.now(UTC).date()


@pytest.fixture(autouse=True)
def _start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSEHUB_BACKFILL_START", START.isoformat())


@pytest.fixture
def past(hub: Hub) -> Hub:
    """Three days: outdated and current jobs of two repositories, failed ones, and no matter."""
    song, tune = hub.create_repo("song"), hub.create_repo("tune", owner="bob")
    row(hub, song, 0, size=10)
    row(hub, tune, 0, size=20, version=None)
    row(hub, song, 0, version=INDEX_VERSION)
    row(hub, song, 1, version=INDEX_VERSION)
    failed(hub, song, 1, "BAD_ID")
    failed(hub, tune, 3, "BAD_ID")
    failed(hub, tune, 3, "MPACK_MISSING")
    row(hub, tune, 3, size=None)
    row(hub, tune, -1)  # before the start
    hub.enqueue(song)  # not ended
    row(hub, hub.create_repo("gone"), 0)
    hub.sql("UPDATE musehub_repos SET deleted_at = now() WHERE slug = 'gone'")
    return hub


UNREAD = ", and the mpacks of 1 of them, which were never read"


def figures(
    number: int, *, ended: int, current: int, failed: int, jobs: int, size: int, **more: int
) -> dict[str, Any]:
    counts = {"ended": ended, "current": current, "failed": failed, "given_up": 0, "jobs": jobs}
    return {"day": day(number), **counts, "mpack_bytes": size, "unmeasured": 0, **more}


def chosen(*arguments: str) -> list[tuple[str, int]]:
    """Return the days of a plan that have work, and how many jobs."""
    days = call("backfill", "plan", *arguments, "--json").json["days"]
    return [(found["day"], found["jobs"]) for found in days if found["jobs"]]


def test_each_day_is_told_and_all_together(past: Hub) -> None:
    before = past.sql("SELECT * FROM musehub_background_jobs ORDER BY job_id")

    found = call("backfill", "plan", "--json").json

    ended_before = datetime.fromisoformat(found.pop("ended_before"))
    assert abs(ended_before - datetime.now(UTC)) < timedelta(minutes=1)
    midnight = datetime(START.year, START.month, START.day, tzinfo=UTC)
    tomorrow = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC) + timedelta(days=1)
    assert found == {
        "select": "outdated",
        "codes": [],
        "repo_id": None,
        "since": midnight.isoformat(),
        "before": tomorrow.isoformat(),
        "days": [
            figures(0, ended=3, current=1, failed=0, jobs=2, size=30),
            figures(1, ended=2, current=1, failed=1, jobs=0, size=0),
            figures(3, ended=3, current=0, failed=2, jobs=1, size=0, unmeasured=1),
        ],
        "total": {
            "days": 2,
            "ended": 8,
            "current": 2,
            "failed": 3,
            "given_up": 0,
            "jobs": 3,
            "mpack_bytes": 30,
            "unmeasured": 1,
        },
        "pace": None,
        "estimated_seconds": None,
    }
    assert past.sql("SELECT * FROM musehub_background_jobs ORDER BY job_id") == before


def test_it_can_be_narrowed(past: Hub) -> None:
    assert chosen("--from", day(1)) == [(day(3), 1)]
    assert chosen("--to", day(0)) == [(day(0), 2)]
    assert chosen("--from", day(1), "--to", day(2)) == []
    assert chosen("--repo", "bob/tune") == [(day(0), 1), (day(3), 1)]
    assert chosen("--status", "all") == [(day(0), 3), (day(1), 2), (day(3), 3)]
    assert chosen("--status", "failed") == [(day(1), 1), (day(3), 2)]
    assert chosen("--status", "failed", "--code", "mpack_missing") == [(day(3), 1)]
    assert chosen("--status", "failed", "--code", "BAD_ID", "--code", "MPACK_MISSING") == [
        (day(1), 1),
        (day(3), 2),
    ]
    assert chosen("--status", "all", "--ended-before", "2026-01-01T00:00:00+01:00") == []


def test_the_time_goes_by_jobs_or_by_bytes_whichever_takes_longer(hub: Hub) -> None:
    repo_id = hub.create_repo()
    for _ in range(4):  # a batch of four took two seconds
        row(hub, repo_id, 0, size=500, elapsed_ms=2000, batch_jobs=4)

    small = call("backfill", "plan", "--json").json
    row(hub, repo_id, 0, size=100_000)  # by a version that timed nothing
    large = call("backfill", "plan", "--json").json

    pace = {"jobs_measured": 4, "jobs_per_second": 2.0, "bytes_per_second": 1000.0}
    assert (small["pace"], small["estimated_seconds"]) == (pace, 2.0)
    assert (large["pace"], large["estimated_seconds"]) == (pace, 102.0)


def table(finished: Finished) -> list[list[str]]:
    lines = [line.strip("│┃") for line in finished.out.splitlines() if line[:1] in {"│", "┃"}]
    return [[cell.strip() for cell in line.replace("┃", "│").split("│")] for line in lines]


def test_people_see_the_days_with_work_as_a_table(past: Hub) -> None:
    finished = call("backfill", "plan")

    assert finished.code == 0
    assert table(finished) == [
        ["day", "ended", "current", "failed", "given up", "to index", "bytes"],
        [day(0), "3", "1", "0", "0", "2", "30"],
        [day(3), "3", "0", "2", "0", "1", "0"],
    ]
    assert finished.err.splitlines() == [
        f"3 of 8 jobs on 2 days are to be indexed again: 30 bytes{UNREAD}",
        "estimated time: unknown: no job that is done was timed",
    ]


def test_of_many_days_people_see_the_first_ones_and_the_rest_is_counted(past: Hub) -> None:
    row(past, "repo-song", 4, elapsed_ms=500, size=2000)

    finished = call("backfill", "plan", "--limit", "1")

    assert [line[0] for line in table(finished)] == ["day", day(0)]
    assert finished.err.splitlines() == [
        "… and 2 more days",
        f"4 of 9 jobs on 3 days are to be indexed again: 2,030 bytes{UNREAD}",
        "estimated time: 0:00:02, at 2.0 jobs or 4,000 bytes per second (jobs measured: 1)",
    ]


def test_what_killed_its_runs_is_not_planned_and_is_told(hub: Hub) -> None:
    repo_id = hub.create_repo()
    killed(hub, row(hub, repo_id, 0, size=10), kills=2)
    killed(hub, row(hub, repo_id, 0, size=20), kills=3)
    killed(hub, failed(hub, repo_id, 1, "BAD_ID"), kills=3)

    found = call("backfill", "plan", "--status", "all", "--json").json
    seen = call("backfill", "plan", "--status", "all")

    assert found["days"] == [
        figures(0, ended=2, current=0, failed=0, given_up=1, jobs=1, size=10),
        figures(1, ended=1, current=0, failed=1, given_up=1, jobs=0, size=0),
    ]
    assert (found["total"]["jobs"], found["total"]["given_up"]) == (1, 2)
    assert table(seen)[1:] == [[day(0), "2", "0", "0", "1", "1", "10"]]
    assert seen.err.splitlines()[0] == (
        "2 jobs are given up: over each, MUSEHUB_MAX_KILLS runs have died;"
        " raise it to try them again"
    )


def test_where_all_is_current_it_says_so(hub: Hub) -> None:
    row(hub, hub.create_repo(), 0, version=INDEX_VERSION)

    finished = call("backfill", "plan")

    assert (finished.code, finished.out) == (0, "")
    assert finished.err == (
        "there is nothing to index again: 1 jobs have ended, 1 of them are current\n"
    )


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from", "2026-13-01"], "'2026-13-01' is not a date such as 2026-01-31"),
        (["--to", "\x1b[2J\u202e"], r"'\x1b[2J\u202e' is not a date such as 2026-01-31"),
        (["--from", "2025-12-31"], "--from 2025-12-31 is before MUSEHUB_BACKFILL_START, 2026-01-"),
        (["--to", "9999-12-31"], f"--to 9999-12-31 is after today, {TODAY} in UTC"),
        (["--from", "9999-12-31"], f"--from 9999-12-31 is after today, {TODAY} in UTC"),
        (["--from", day(2), "--to", day(1)], f"--to {day(1)} is before --from {day(2)}"),
        (["--code", "bad_id"], "--code BAD_ID goes with --status failed, not with outdated"),
        (["--status", "failed", "--code", "NONE"], "'NONE' is none of BAD_ID, "),
        (["--status", "done"], "'done' is not one of 'outdated', 'failed', 'all'"),
        (["--ended-before", "2026-01-31T12:00"], "'2026-01-31T12:00' is not a time with an offset"),
    ],
)
def test_what_cannot_be_chosen_is_wrong_usage(
    past: Hub, command: str, options: list[str], message: str
) -> None:
    finished = call("backfill", command, *options)

    assert (finished.code, finished.out) == (2, "")
    assert message in finished.err
    assert "\x1b[2J" not in finished.err
    assert past.sql("SELECT FROM musehub_background_jobs WHERE attempt > 1") == []


def test_a_repository_that_is_not_there_is_an_error(past: Hub) -> None:
    for name in ("ada/none", "ada/gone", "\u202e/song"):
        for command in ("plan", "run"):
            finished = call("backfill", command, "--repo", name)

            assert (finished.code, finished.out) == (1, "")
            assert finished.err == f"error: no repository is called {name!r}\n"
