"""The timeline of `jobs show`: a line for each attempt, with a bar where it was."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from musehub_pipeline_tests.cli.terminal import call, on_terminal
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub

CREATED = datetime(2026, 3, 1, 10, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return CREATED + timedelta(seconds=seconds)


def entry(attempt: object, began: float, ended: float, code: str | None) -> dict[str, Any]:
    return {
        "attempt": attempt,
        "run_id": "5a0d3c7e-0f0e-4f5e-9f0b-1c1d2e3f4a5b",
        "started_at": at(began).isoformat(),
        "ended_at": at(ended).isoformat(),
        "code": code,
        "message": "why",
    }


def push(hub: Hub, *attempts: object, **columns: object) -> str:
    """Push a job with a history, and other columns than a new one has."""
    job_id = hub.push(hub.create_repo(), History().mpack())
    values = {"created_at": CREATED, "attempts": json.dumps(attempts), **columns}
    assignments = ", ".join(f"{name} = %({name})s" for name in values)
    hub.sql(f"UPDATE musehub_background_jobs SET {assignments}", values)
    return job_id


def shown(time: datetime) -> str:
    return time.astimezone().strftime("%m-%d %H:%M:%S")


def timeline(text: str) -> tuple[str, list[list[str]]]:
    """Return the heading, and the cells of each line."""
    _, _, rest = text.partition("timeline")
    heading, *lines = rest.split("\n└")[0].splitlines() or [""]
    rows = [line.split("│")[1:-1] for line in lines if line.startswith("│")]
    return heading.strip(), [[*(c.strip() for c in row[:-1]), row[-1].rstrip()] for row in rows]


def test_bars_stand_where_the_attempts_were(hub: Hub) -> None:
    job_id = push(
        hub,
        entry(1, 10, 20, "STORAGE_UNAVAILABLE"),
        entry(2, 60, 60.004, "DATABASE_UNAVAILABLE"),
        entry(3, 80, 90, None),
        status="done",
    )

    heading, rows = timeline(call("jobs", "show", job_id).out)

    first, last = (time.astimezone() for time in (CREATED, at(90)))
    assert heading == f"from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S}, 0:01:30"
    assert rows == [
        ["1", "STORAGE_UNAVAILABLE", shown(at(10)), "10.0 s", "10.0 s", " ··██"],
        ["2", "DATABASE_UNAVAILABLE", shown(at(60)), "40.0 s", "4 ms", "     ········█"],
        ["3", "done", shown(at(80)), "20.0 s", "10.0 s", "             ····██"],
    ]


def test_the_attempt_that_is_under_way_goes_on(hub: Hub) -> None:
    now = datetime.now(UTC)
    began = now - timedelta(hours=1)
    columns = {"created_at": began, "started_at": began, "lease_expires_at": now, "attempt": 1}
    job_id = push(hub, status="running", run_id="run", **columns)

    _, [row] = timeline(call("jobs", "show", job_id).out)

    assert row[:4] == ["1", "running", shown(began), "0 ms"]
    assert row[4].startswith("1:00:0")
    assert row[5] == " " + "█" * 18


def test_a_wait_of_days_leaves_a_cell_to_what_took_milliseconds(hub: Hub) -> None:
    days = 40 * 86_400.0
    job_id = push(
        hub, entry(1, 0.001, 0.002, "STORAGE_UNAVAILABLE"), entry(2, days, days + 0.005, None)
    )

    _, rows = timeline(call("jobs", "show", job_id).out)

    assert [row[3:] for row in rows] == [
        ["1 ms", "1 ms", " █"],
        ["39d 23:59:59", "5 ms", " " + "·" * 17 + "█"],
    ]


def test_it_fits_a_terminal_of_100_columns(hub: Hub) -> None:
    days = 40 * 86_400.0
    job_id = push(
        hub,
        *(entry(n, n * days, (n + 1) * days - 60, "OBJECT_HASH_MISMATCH") for n in range(28, 31)),
    )

    seen = on_terminal("jobs", "show", job_id, columns=100)

    assert max(map(len, seen.splitlines())) <= 100
    _, rows = timeline(seen)
    assert [row[:2] for row in rows] == [[str(n), "OBJECT_HASH_MISMATCH"] for n in range(28, 31)]


@pytest.mark.parametrize(
    ("attempts", "lines"),
    [
        ('"none"', []),
        ("{}", []),
        ('[7, null, "x"]', []),
        ("[{}]", [["-", "-", "-", "-", "-", ""]]),
        (
            '[{"attempt": "the first\\u202e", "code": {"a": 1}, "started_at": "soon"}]',
            [[r"the f…", "{'a': 1}", "-", "-", "-", ""]],
        ),
        (
            '[{"attempt": 1, "code": "X", "started_at": "0001-01-01T00:00:00+14:00"}]',
            [["1", "X", "-", "-", "-", ""]],
        ),
    ],
)
def test_what_strangers_wrote_is_no_traceback(
    hub: Hub, attempts: str, lines: list[list[str]]
) -> None:
    job_id = push(hub)
    hub.sql("UPDATE musehub_background_jobs SET attempts = %(a)s", {"a": attempts})

    finished = call("jobs", "show", job_id)

    assert (finished.code, finished.err) == (0, "")
    assert timeline(finished.out)[1] == lines
    assert call("jobs", "show", job_id, "--json").json["attempts"] == json.loads(attempts)
