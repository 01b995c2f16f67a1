"""Attempts as a row tells of them, whoever wrote it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from musehub_pipeline.domain.attempt import Attempt, attempts_of, moment

CREATED = datetime(2026, 3, 1, 10, tzinfo=UTC)
NOW = CREATED + timedelta(hours=1)


def after(seconds: float) -> datetime:
    return CREATED + timedelta(seconds=seconds)


def row(**changes: Any) -> dict[str, Any]:
    return {
        "created_at": CREATED,
        "attempt": 0,
        "attempts": [],
        "run_id": None,
        "started_at": None,
        "finished_at": None,
        "lease_expires_at": None,
        "status": "pending",
        "error_code": None,
    } | changes


def entry(attempt: int, began: float, ended: float, code: str | None) -> dict[str, Any]:
    return {
        "attempt": attempt,
        "run_id": f"run-{attempt}",
        "started_at": after(began).isoformat(),
        "ended_at": after(ended).isoformat(),
        "code": code,
    }


def test_a_job_that_nobody_claimed_has_none() -> None:
    assert attempts_of(row(), now=NOW) == []


def test_each_waits_from_the_end_of_the_one_before_and_the_first_from_the_row() -> None:
    attempts = attempts_of(
        row(
            attempt=3,
            attempts=[entry(1, 1, 2, "STORAGE_UNAVAILABLE"), entry(2, 5, 6, "LEASE_EXPIRED")],
            run_id="run-3",
            started_at=after(9),
            lease_expires_at=NOW,
            status="running",
        ),
        now=NOW,
    )

    assert attempts == [
        Attempt(
            number=1,
            run_id="run-1",
            outcome="STORAGE_UNAVAILABLE",
            due=CREATED,
            began=after(1),
            ended=after(2),
        ),
        Attempt(
            number=2,
            run_id="run-2",
            outcome="LEASE_EXPIRED",
            due=after(2),
            began=after(5),
            ended=after(6),
        ),
        Attempt(
            number=3, run_id="run-3", outcome="running", due=after(6), began=after(9), ended=NOW
        ),
    ]
    assert [(each.waited, each.took) for each in attempts[:2]] == [
        (timedelta(seconds=1), timedelta(seconds=1)),
        (timedelta(seconds=3), timedelta(seconds=1)),
    ]


def test_what_is_done_waits_for_no_backfill() -> None:
    done, again = attempts_of(
        row(
            attempt=2,
            attempts=[entry(1, 1, 2, None)],
            run_id="run-2",
            started_at=after(90),
            finished_at=after(2),
            lease_expires_at=NOW,
            status="done",
        ),
        now=NOW,
    )

    assert (done.outcome, again.outcome, again.began, again.waited) == (
        "done",
        "running",
        after(90),
        None,
    )


@pytest.mark.parametrize(
    ("status", "code", "outcome"), [("done", None, "done"), ("failed", "BAD_PATH", "BAD_PATH")]
)
def test_one_that_ended_before_there_was_a_history_stands_in_the_row(
    status: str, code: str | None, outcome: str
) -> None:
    columns = {"started_at": after(1), "finished_at": after(2), "error_code": code}

    [attempt] = attempts_of(row(attempt=1, run_id="run", status=status, **columns), now=NOW)

    assert attempt == Attempt(
        number=1, run_id="run", outcome=outcome, due=CREATED, began=after(1), ended=after(2)
    )


@pytest.mark.parametrize("attempts", [{}, "none", 7, None, [7, "x", None, []]])
def test_a_history_that_is_no_list_of_attempts_is_none(attempts: object) -> None:
    assert attempts_of(row(attempts=attempts), now=NOW) == []


def test_what_cannot_be_read_of_an_attempt_is_left_out() -> None:
    odd = {"attempt": "first", "run_id": 7, "started_at": [], "ended_at": "soon", "code": {}}

    attempts = attempts_of(row(attempts=[{}, odd, entry(3, 5, 2, "X")]), now=NOW)

    assert attempts == [
        Attempt(number=None, run_id=None, outcome=None, due=CREATED, began=None, ended=None),
        Attempt(number="first", run_id=None, outcome="{}", began=None, ended=None),
        Attempt(number=3, run_id="run-3", outcome="X", began=after(5), ended=after(2)),
    ]
    assert [(each.waited, each.took) for each in attempts] == [(None, None)] * 3


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2026-03-01T12:00:00+02:00", CREATED),
        ("2026-03-01T10:00:00", CREATED),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("infinity", None),
        (1_772_359_200, None),
        (None, None),
    ],
)
def test_a_time_of_json_is_one_that_every_zone_can_show(
    value: object, time: datetime | None
) -> None:
    assert moment(value) == time
