"""Workers whose clocks are wrong: leases, pauses and times go by the clock of the database."""

import subprocess
import sys
import time
from datetime import datetime, timedelta

import pytest

from musehub_pipeline_tests.acceptance.dev import LEASE_SECONDS, Dev
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.cli.terminal import finish
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import change
from musehub_pipeline_tests.servers import debian

OFFSETS = {"fast": 3600, "slow": -3600}  # seconds
LONGEST_PAUSE = timedelta(seconds=2)  # after a first failure, by default


@pytest.fixture(params=OFFSETS.values(), ids=OFFSETS)
def clock(request: pytest.FixtureRequest) -> list[str]:
    """The command through which another one sees that clock."""
    through = [debian.program("faketime"), "-f", f"{request.param:+d}s"]
    ask = [sys.executable, "-c", "import time; print(time.time())"]
    shown = float(subprocess.check_output([*through, *ask]))
    assert shown - time.time() == pytest.approx(request.param, abs=60)
    return through


def now(hub: Hub) -> datetime:
    [row] = hub.sql("SELECT clock_timestamp() AS now")
    return row["now"]


def test_a_failed_attempt_is_noted_and_followed_by_a_pause_as_ever(
    dev: Dev, clock: list[str]
) -> None:
    [job_id] = push_many(dev.hub, repos=1, each=1)
    dev.environment["MUSEHUB_STORAGE_URL"] = "file:///no/such/folder"
    before = now(dev.hub)

    finish(dev.start_beside("index", job_id, through=clock))

    row = dev.hub.job(job_id)
    [attempt] = row["attempts"]
    ended_at = datetime.fromisoformat(attempt["ended_at"])
    assert (row["status"], row["error_code"]) == ("pending", "STORAGE_UNAVAILABLE")
    assert before <= row["started_at"] <= ended_at <= now(dev.hub)
    assert timedelta(0) <= row["not_before"] - ended_at <= LONGEST_PAUSE


def test_what_is_due_is_indexed_and_nothing_else(dev: Dev, clock: list[str]) -> None:
    hub = dev.hub
    new, paused, overdue, held, orphaned = push_many(hub, repos=5, each=1)
    change(hub, paused, "not_before = now() + interval '30 minutes'")
    change(hub, overdue, "not_before = now()")
    running = "status = 'running', attempt = 1, run_id = 'other', started_at = now()"
    change(hub, held, f"{running}, lease_expires_at = now() + interval '30 minutes'")
    change(hub, orphaned, f"{running}, lease_expires_at = now()")
    others = [hub.job(job_id) for job_id in (paused, held)]
    before = now(hub)

    finished = finish(dev.start_beside("index", "--json", through=clock))

    after = now(hub)
    assert [row["job_id"] for row in finished.json] == [new, overdue, orphaned]
    assert [hub.job(job_id) for job_id in (paused, held)] == others
    for job_id in (new, overdue, orphaned):
        row = hub.job(job_id)
        assert row["status"] == "done"
        assert before <= row["started_at"] <= row["finished_at"] <= after
        elapsed = timedelta(milliseconds=row["result"]["elapsed_ms"])
        assert timedelta(0) < elapsed < row["finished_at"] - row["started_at"]
    assert [attempt["code"] for attempt in hub.job(orphaned)["attempts"]] == ["LEASE_EXPIRED", None]
    leases = [
        row["alive_until"] for row in hub.sql("SELECT alive_until FROM musehub_pipeline_runs")
    ]
    assert leases
    lease = timedelta(seconds=LEASE_SECONDS)
    assert all(before <= alive_until - lease <= after for alive_until in leases)
