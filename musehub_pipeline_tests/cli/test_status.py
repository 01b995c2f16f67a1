"""`status`: the queue in numbers, for people, for scripts, and for those who watch."""

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import make_url

from musehub_pipeline_tests.cli.terminal import PROGRAM, SECONDS, call, finish, start
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_one
from musehub_pipeline_tests.servers.postgres import Postgres

NOTHING = {
    "pending": 0,
    "oldest_pending_seconds": None,
    "due": 0,
    "in_backoff": 0,
    "paused": 0,
    "running": 0,
    "expired_leases": 0,
    "failures_24h": {},
    "done_1h": 0,
    "bytes_1h": 0,
    "done_per_minute": 0,
    "bytes_per_minute": 0,
    "elapsed_ms_p50": None,
    "elapsed_ms_p95": None,
    "queue_wait_ms_p50": None,
    "queue_wait_ms_p95": None,
    "waiting_by_code": {},
    "oldest_unclaimed_seconds": None,
    "pauses": [],
}


def add(hub: Hub, repo_id: str, assignment: str) -> str:
    job_id = hub.enqueue(repo_id)
    hub.sql(
        f"UPDATE musehub_background_jobs SET {assignment} WHERE job_id = %(id)s", {"id": job_id}
    )
    return job_id


def done(hub: Hub, *, elapsed_ms: float, waited: str, ended_ago: str = "1 minute") -> None:
    """Add a done job of 600 bytes that waited so long for its first attempt, and had a second."""
    result = json.dumps({"elapsed_ms": elapsed_ms, "mpack_size_bytes": 600})
    add(
        hub,
        "done",
        f"status = 'done', result = '{result}', finished_at = now() - interval '{ended_ago}',"
        f" created_at = now() - interval '1 day', started_at = now(),"
        " attempts = jsonb_build_array("
        "jsonb_build_object('started_at', NULL, 'code', 'CANCELLED'), jsonb_build_object("
        f"'started_at', now() - interval '1 day' + interval '{waited}', 'code', 'HEAD_MOVED'),"
        " jsonb_build_object('started_at', now(), 'code', NULL))",
    )


@pytest.fixture
def busy(hub: Hub) -> Hub:
    """A hub with a queue that has something of everything."""
    held = "status = 'running', run_id = 'run', lease_expires_at = now() + interval"
    add(hub, "due", "created_at = now() - interval '90 s'")
    add(
        hub,
        "backoff",
        "not_before = now() + interval '1 hour', error_code = 'STORAGE_UNAVAILABLE'",
    )
    hub.enqueue("backoff")
    add(hub, "held", f"{held} '1 hour'")
    hub.enqueue("held")
    add(hub, "dead", f"{held} '-1 s'")
    ended = "status = 'failed', error_code = 'BAD_ID', finished_at = now() - interval"
    for ago in ("23 hours", "1 s", "25 hours"):
        add(hub, "failed", f"{ended} '{ago}'")
    add(hub, "failed", f"{ended} '1 hour'".replace("BAD_ID", "MPACK_MISSING"))
    for n in range(1, 4):
        done(hub, elapsed_ms=n, waited=f"{n} s")
    done(hub, elapsed_ms=1000, waited="9 hours", ended_ago="61 minutes")
    add(hub, "other", "job_type = 'mail.send'")
    return hub


def test_the_queue_is_told_in_numbers(busy: Hub) -> None:
    found = call("status", "--json").json

    at = datetime.fromisoformat(found.pop("at"))
    assert abs((at - datetime.now(at.tzinfo)).total_seconds()) < 60
    assert found.pop("oldest_pending_seconds") == pytest.approx(90, abs=30)
    assert found.pop("oldest_unclaimed_seconds") == pytest.approx(90, abs=30)
    assert found == {
        "pending": 4,
        "due": 2,
        "in_backoff": 1,
        "paused": 0,
        "running": 2,
        "expired_leases": 1,
        "failures_24h": {"BAD_ID": 2, "MPACK_MISSING": 1},
        "done_1h": 3,
        "bytes_1h": 1800,
        "done_per_minute": 0.05,
        "bytes_per_minute": 30,
        "elapsed_ms_p50": 2,
        "elapsed_ms_p95": 2.9,
        "queue_wait_ms_p50": 2000,
        "queue_wait_ms_p95": 2900,
        "waiting_by_code": {"STORAGE_UNAVAILABLE": 1},
        "pauses": [],
    }


def test_people_see_the_same_as_a_table(busy: Hub) -> None:
    finished = call("status")

    lines = [line.strip("│").split("│") for line in finished.out.splitlines() if "│" in line]
    shown = {name.strip(): value.strip() for name, value in lines}
    assert (finished.code, finished.err) == (0, "")
    assert shown.pop("at")
    assert shown.pop("oldest pending").startswith("0:01:")
    assert shown == {
        "pending": "4",
        "due now": "2",
        "in backoff": "1",
        "paused": "0",
        "waiting after": "STORAGE_UNAVAILABLE 1",
        "running": "2",
        "expired leases": "1",
        "failed in 24 hours": "3: BAD_ID 2, MPACK_MISSING 1",
        "done in an hour": "3, 0.1 a minute",
        "bytes in an hour": "1,800, 30 a minute",
        "elapsed, p50 and p95": "2.0 ms, 2.9 ms",
        "wait, p50 and p95": "2,000.0 ms, 2,900.0 ms",
    }


def test_a_monitor_is_told_by_an_exit_code_what_is_wrong(
    busy: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = call("status", "--check")
    monkeypatch.setenv("MUSEHUB_QUEUE_AGE_SECONDS", "20")
    older = call("status", "--check", "--json")

    lines = ["1 jobs wait after STORAGE_UNAVAILABLE", "1 jobs are held by runs that died"]
    assert (wrong.code, wrong.err.splitlines()) == (3, lines)
    assert older.code == 3
    assert older.err.splitlines()[:2] == lines
    assert re.fullmatch(
        r"the oldest job has waited for \d+ s, where MUSEHUB_QUEUE_AGE_SECONDS allows 20",
        older.err.splitlines()[2],
    )
    assert older.json["expired_leases"] == 1
    assert call("status").code == 0


def test_where_all_is_well_a_monitor_is_told_so(hub: Hub) -> None:
    add(hub, "due", "created_at = now()")
    tried = "attempt = 1, created_at = now() - interval '1 day', error_code = 'HEAD_MOVED'"
    add(hub, "behind", f"{tried}, not_before = now() + interval '1 hour'")

    finished = call("status", "--check")

    assert (finished.code, finished.err) == (0, "")
    assert call("status", "--check", "--watch").code == 2


def test_an_empty_queue_has_a_status_too(hub: Hub) -> None:
    found = call("status", "--json").json

    assert found.pop("at")
    assert found == NOTHING
    assert call("status").code == 0


def test_a_job_that_was_indexed_counts_with_its_own_numbers(hub: Hub) -> None:
    job_id = hub.push(hub.create_repo(), History().mpack())
    result = index_one(hub, job_id)

    found = call("status", "--json").json

    row = hub.job(job_id)
    waited = (row["started_at"] - row["created_at"]).total_seconds() * 1e3
    assert found["done_1h"] == 1
    assert found["bytes_1h"] == result["mpack_size_bytes"]
    assert found["elapsed_ms_p50"] == found["elapsed_ms_p95"] == result["elapsed_ms"]
    assert found["queue_wait_ms_p50"] == pytest.approx(waited, abs=0.01)


def test_whoever_watches_gets_a_line_of_json_an_interval_until_ctrl_c(hub: Hub) -> None:
    process = start("status", "--watch", "--json", "--interval", "0.1")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    hub.enqueue("r")
    seen = first
    while not seen["pending"]:
        seen = json.loads(process.stdout.readline())

    process.send_signal(signal.SIGINT)
    finished = finish(process)

    assert (finished.code, finished.err) == (0, "")
    assert {name: first[name] for name in NOTHING} == NOTHING
    assert (seen["pending"], seen["due"]) == (1, 1)


def test_watching_goes_on_where_the_database_was_away(hub: Hub, postgres: Postgres) -> None:
    process = start("status", "--watch", "--json", "--interval", "0.1")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()

    with postgres.closed(str(make_url(str(hub.settings.database_url)).database)):
        complaint = process.stderr.readline()
    hub.enqueue("r")
    while not json.loads(process.stdout.readline())["pending"]:
        pass

    process.send_signal(signal.SIGINT)
    assert finish(process).code == 0
    assert complaint.startswith("DATABASE_UNAVAILABLE: ")


def test_on_a_terminal_the_table_is_drawn_again_in_its_place(hub: Hub) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [PROGRAM, "status", "--watch", "--interval", "0.1"],
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "50"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(theirs)
        text = read_until(ours, lambda seen: seen.count("due now") >= 3)
        process.send_signal(signal.SIGINT)
        text += read_until(ours, lambda _: False)
        assert process.wait(SECONDS) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert "\x1b[1A\x1b[2K" in text  # a line up, and wipe it
    assert text.index("\x1b[?25l") < text.rindex("\x1b[?25h")  # the cursor is back


def read_until(terminal: int, is_enough: Callable[[str], Any]) -> str:
    """Return what comes from a terminal, up to what is enough, or to its end."""
    seen = b""
    while not is_enough(seen.decode(errors="replace")):
        try:
            seen += os.read(terminal, 4096)
        except OSError:  # its other side is closed
            break
    return seen.decode(errors="replace")
