"""Runs that died without a word: their jobs are taken again, by halves, and not for ever."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from musehub_pipeline.domain.run_requests import DueJob
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import (
    BACKOFF,
    LEASE,
    NOW,
    TROUBLE,
    change,
    claimed,
    expire,
    state,
)

KILLS = 3


@pytest.fixture
def patient(hub: Hub) -> Iterator[Queue]:
    """A queue in which a job has as many attempts as it takes."""
    with Database(str(hub.settings.database_url)) as database:
        backoff = replace(BACKOFF, max_attempts=30)
        yield Queue(database, lease=LEASE, backoff=backoff, max_kills=KILLS)


def due(queue: Queue) -> Sequence[DueJob]:
    return queue.backlog(limit=50).due


def test_the_jobs_of_a_run_that_died_are_taken_by_halves(hub: Hub, queue: Queue) -> None:
    jobs = [hub.enqueue(f"r{number}") for number in range(7)]
    assert claimed(queue, "dead", limit=9) == jobs
    for job_id in jobs:
        expire(hub, job_id)
    fresh = hub.enqueue("another")

    queue.rescue()

    assert [(job.died_with, job.together) for job in due(queue)] == [
        *[("dead", 4)] * 7,
        (None, None),
    ]
    assert claimed(queue, "one", limit=9) == jobs[:4]
    assert claimed(queue, "two", limit=9) == jobs[4:]
    assert claimed(queue, "three", limit=9) == [fresh]


def test_what_died_with_another_run_is_not_taken_beside_it(hub: Hub, queue: Queue) -> None:
    of_one, of_two = ([hub.enqueue(f"{run}{number}") for number in range(4)] for run in ("a", "b"))
    assert claimed(queue, "one", limit=4) == of_one
    assert claimed(queue, "two", limit=4) == of_two
    for job_id in (*of_one, *of_two):
        expire(hub, job_id)

    batches = [claimed(queue, f"again-{number}", limit=9) for number in range(4)]

    assert batches == [of_one[:2], of_one[2:], of_two[:2], of_two[2:]]


def test_a_death_is_shared_by_those_whose_leases_end_later(hub: Hub, queue: Queue) -> None:
    locked, *others = [hub.enqueue(f"r{number}") for number in range(3)]
    assert claimed(queue, "dead") == [locked, *others]
    expire(hub, locked)

    assert [job.job_id for job in queue.rescue()] == [locked]
    for job_id in others:
        expire(hub, job_id)
    assert sorted(job.job_id for job in queue.rescue()) == sorted(others)

    shared = {job_id: hub.job(job_id)["attempts"][-1]["jobs"] for job_id in (locked, *others)}
    assert shared == {locked: 3} | dict.fromkeys(others, 2)


@pytest.mark.parametrize("place", [0, 13, 29])
def test_one_that_kills_every_run_is_found_and_no_other_fails(
    hub: Hub, patient: Queue, place: int
) -> None:
    jobs = [hub.enqueue(f"r{number}") for number in range(30)]
    deadly = jobs[place]
    runs = deaths = 0
    while taken := claimed(patient, f"run-{runs}", limit=30):
        runs += 1
        deaths += deadly in taken
        for job_id in taken:
            if deadly in taken:
                expire(hub, job_id)
            else:
                change(hub, job_id, "status = 'done', lease_expires_at = NULL")

    rows = {job_id: hub.job(job_id) for job_id in jobs}
    assert rows[deadly]["error_code"] == "LEASE_EXPIRED"
    assert [job_id for job_id in jobs if rows[job_id]["status"] == "failed"] == [deadly]
    assert [entry["jobs"] for entry in rows[deadly]["attempts"]][-KILLS:] == [1] * KILLS
    assert deaths <= KILLS + 5  # thirty are halved five times
    assert runs <= deaths + 5 + 1


def test_the_jobs_of_a_repo_stay_in_order_whatever_died(hub: Hub, queue: Queue) -> None:
    first, second = hub.enqueue("r"), hub.enqueue("r")
    assert claimed(queue, "dead") == [first, second]
    assert claimed(queue, "next") == []
    expire(hub, first)
    expire(hub, second)

    assert sorted(job.job_id for job in queue.rescue()) == sorted([first, second])
    claims = [lease.claim for lease in queue.claim(run_id="next", limit=5)]

    assert [(claim.job_id, claim.attempt) for claim in claims] == [(first, 2)]
    assert state(hub, second)["status"] == "pending"
    row = state(hub, first)
    assert row.pop("error").startswith("run dead died, its lease expired at ")
    assert (row["status"], row["run_id"], row["error_code"]) == ("running", "next", "LEASE_EXPIRED")


def test_a_job_that_killed_its_run_takes_no_neighbours_along(hub: Hub, queue: Queue) -> None:
    bomb, neighbour = hub.enqueue("hostile"), hub.enqueue("innocent")
    assert claimed(queue, "one") == [bomb, neighbour]
    expire(hub, bomb)
    expire(hub, neighbour)
    fresh = hub.enqueue("another")

    assert claimed(queue, "two") == [bomb]
    assert claimed(queue, "three") == [neighbour]
    assert claimed(queue, "four") == [fresh]


def test_it_stays_alone_when_it_then_fails_for_another_reason(hub: Hub, queue: Queue) -> None:
    bomb, neighbour = hub.enqueue("hostile"), hub.enqueue("innocent")
    assert claimed(queue, "one", limit=1) == [bomb]
    expire(hub, bomb)
    queue.rescue()
    [lease] = queue.claim(run_id="two", limit=5)
    lease.retry_later(TROUBLE, pause=NOW)

    suspects = [job.job_id for job in queue.backlog(limit=10).due if job.died_with]

    assert suspects == claimed(queue, "three") == [bomb]
    assert claimed(queue, "four") == [neighbour]


def test_a_job_that_was_running_before_there_were_leases_is_taken(hub: Hub, queue: Queue) -> None:
    job_id = hub.enqueue("r")
    change(hub, job_id, "status = 'running', attempt = 1")

    assert (queue.has_due(), queue.count_due()) == (True, 1)
    assert claimed(queue) == [job_id]


def test_what_became_of_a_job_is_told_with_the_run_that_left_it(
    hub: Hub, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = hub.enqueue("r")
    for run_id in ("one", "two"):
        assert claimed(queue, run_id) == [job_id]
        expire(hub, job_id)
        with caplog.at_level(logging.WARNING, "musehub_pipeline.index"):
            [rescued] = queue.rescue()
        assert (rescued.job_id, rescued.run_id) == (job_id, run_id)
        assert f"job={job_id} repo=r code=LEASE_EXPIRED 'run {run_id} died, " in rescued.line
        assert caplog.record_tuples[-1] == (
            "musehub_pipeline.index",
            rescued.level,
            rescued.line,
        )

    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert caplog.messages[-1].startswith("❌ [mpack.index] failed")
    assert queue.rescue() == []


def test_a_job_that_kills_every_run_fails_in_the_end(hub: Hub, queue: Queue) -> None:
    job_id, behind = hub.enqueue("r"), hub.enqueue("r")
    for run_id in ("one", "two"):
        assert claimed(queue, run_id, limit=1) == [job_id]
        expire(hub, job_id)

    assert claimed(queue, "three") == [behind]

    row = state(hub, job_id)
    assert row.pop("error").startswith("run two died, its lease expired at ")
    assert row == {
        "status": "failed",
        "attempt": 2,
        "run_id": None,
        "error_code": "LEASE_EXPIRED",
    }
    assert hub.job(job_id)["finished_at"] is not None
