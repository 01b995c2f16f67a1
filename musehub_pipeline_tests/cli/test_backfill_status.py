"""`backfill status`: how far all is indexed by the version of now."""

from datetime import UTC, datetime, timedelta

import pytest

from musehub_pipeline.domain.job import INDEX_VERSION
from musehub_pipeline_tests.cli.ended_jobs import START, failed, killed, row
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.hub import Hub


@pytest.fixture(autouse=True)
def _start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSEHUB_BACKFILL_START", START.isoformat())


@pytest.fixture
def under_way(hub: Hub) -> Hub:
    """Jobs of every kind: two runs hold three, one has died over another, one holds no matter."""
    repo_id = hub.create_repo()
    held = [row(hub, repo_id, 0, size=1500), row(hub, repo_id, 1, version=None, size=None)]
    for _ in range(2):
        row(hub, repo_id, 1, version=INDEX_VERSION, size=100, elapsed_ms=400, batch_jobs=2)
    held.append(failed(hub, repo_id, 2, "\x1b[2J"))
    for _ in range(2):
        failed(hub, repo_id, 2, "BAD_ID")
    dead = row(hub, repo_id, 3, size=500)
    killed(hub, dead, kills=2)
    row(hub, repo_id, -1)
    gone = row(hub, hub.create_repo("gone"), 0)
    hub.sql("UPDATE musehub_repos SET deleted_at = now() WHERE slug = 'gone'")
    for job_id, run, seconds in zip(
        [*held, dead, gone], "aabcd", (60, 60, 60, -1, 60), strict=True
    ):
        hub.sql(
            "UPDATE musehub_background_jobs SET run_id = %(run)s, attempt = attempt + 1,"
            " lease_expires_at = now() + %(left)s WHERE job_id = %(id)s",
            {"run": run, "left": timedelta(seconds=seconds), "id": job_id},
        )
    return hub


@pytest.mark.usefixtures("under_way")
def test_the_standing_is_told_in_numbers() -> None:
    found = call("backfill", "status", "--json").json

    assert abs(datetime.fromisoformat(found.pop("at")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert found == {
        "current": 2,
        "outdated": 3,
        "outdated_bytes": 2000,
        "failed": {"BAD_ID": 2, "\x1b[2J": 1},
        "given_up": 1,
        "before": 1,
        "leased": 3,
        "runs": 2,
        "pace": {"jobs_measured": 2, "jobs_per_second": 5.0, "bytes_per_second": 500.0},
        "estimated_seconds": 4.0,
    }


@pytest.mark.usefixtures("under_way")
def test_people_see_the_same_as_a_table() -> None:
    finished = call("backfill", "status")

    lines = [line.strip("│").split("│") for line in finished.out.splitlines() if "│" in line]
    shown = {name.strip(): value.strip() for name, value in lines}
    assert (finished.code, finished.err) == (0, "")
    assert shown.pop("at")
    assert shown == {
        "current": "2",
        "outdated": "3, 2,000 bytes",
        "failed": r"3: BAD_ID 2, \x1b[2J 1",
        "given up": (
            "1 jobs are given up: over each, MUSEHUB_MAX_KILLS runs have died;"
            " raise it to try them again"
        ),
        "before MUSEHUB_BACKFILL_START": "1",
        "leased now": "3 by 2 runs",
        "remaining time": "0:00:04, at 5.0 jobs or 500 bytes per second (jobs measured: 2)",
    }


@pytest.mark.usefixtures("hub")
def test_where_nothing_was_ever_pushed_nothing_is_made_up() -> None:
    found = call("backfill", "status", "--json").json

    assert found.pop("at")
    assert found == {
        "current": 0,
        "outdated": 0,
        "outdated_bytes": 0,
        "failed": {},
        "given_up": 0,
        "before": 0,
        "leased": 0,
        "runs": 0,
        "pace": None,
        "estimated_seconds": None,
    }
    assert "unknown: no job that is done was timed" in call("backfill", "status").out
