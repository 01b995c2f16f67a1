"""What the queue remembers of attempts, and what it tells of what waits."""

from dataclasses import replace

import pytest

from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.run_requests import MOST_COUNTED
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import (
    BACKOFF,
    LEASE,
    NOW,
    TROUBLE,
    change,
    claim_one,
    claimed,
    expire,
    put_off,
    state,
)


def history(hub: Hub, job_id: str) -> list[tuple[object, ...]]:
    attempts = hub.job(job_id)["attempts"]
    assert all(each["started_at"] <= each["ended_at"] for each in attempts)
    return [(each["attempt"], each["run_id"], each["code"]) for each in attempts]


def test_every_attempt_leaves_how_it_ended(hub: Hub, queue: Queue) -> None:
    job_id = hub.enqueue("r")
    claim_one(queue, "one").retry_later(TROUBLE, pause=NOW)
    claim_one(queue, "put off").give_back()
    claim_one(queue, "two")
    expire(hub, job_id)
    change(hub, job_id, "attempts_forgiven = 1")
    assert [job.job_id for job in queue.rescue()] == [job_id]
    claim_one(queue, "three").fail(Rejection(Fault.BAD_ID, "no id"))

    assert history(hub, job_id) == [
        (1, "one", "STORAGE_UNAVAILABLE"),
        (2, "two", "LEASE_EXPIRED"),
        (3, "three", "BAD_ID"),
    ]
    assert hub.job(job_id)["attempts"][0]["message"] == "the disk is full"


def test_a_job_that_killed_three_runs_fails_however_many_attempts_it_has(hub: Hub) -> None:
    with Database(str(hub.settings.database_url)) as database:
        queue = Queue(
            database, lease=LEASE, backoff=replace(BACKOFF, max_attempts=100), max_kills=3
        )
        job_id = hub.enqueue("r")
        for run_id in ("one", "two", "three"):
            assert claimed(queue, run_id) == [job_id]
            expire(hub, job_id)

        assert [job.job_id for job in queue.rescue()] == [job_id]

        assert (state(hub, job_id)["status"], history(hub, job_id)[-1][0]) == ("failed", 3)
        change(hub, job_id, "status = 'pending', attempts_forgiven = attempt")
        claimed(queue, "four")
        expire(hub, job_id)
        queue.rescue()
        assert state(hub, job_id)["status"] == "pending"


def test_the_backlog_tells_what_waits_and_what_is_due(hub: Hub, queue: Queue) -> None:
    empty = queue.backlog(limit=10)
    assert (empty.pending, empty.running, empty.due) == (0, 0, ())
    assert (empty.oldest_seconds, empty.next_seconds) == (None, None)
    held, behind, late, due, more = (hub.enqueue(repo) for repo in ("a", "a", "b", "c", "c"))
    assert claimed(queue, limit=1) == [held]
    put_off(hub, late)
    died = "attempts = jsonb_build_array(jsonb_build_object('code', 'LEASE_EXPIRED'))"
    change(hub, due, f"created_at = now() - interval '1 minute', {died}")

    found = queue.backlog(limit=10)

    assert (found.pending, found.running) == (4, 1)
    assert found.oldest_seconds == pytest.approx(60, abs=5)
    assert found.next_seconds == pytest.approx(60, abs=5)
    assert [(job.job_id, job.repo_id, job.died_with, job.together) for job in found.due] == [
        (due, "c", due, 1),
        (more, "c", None, None),
    ]
    assert behind not in {job.job_id for job in found.due}
    assert len(queue.backlog(limit=1).due) == 1


def test_a_long_backlog_is_not_counted_to_its_end(hub: Hub, queue: Queue) -> None:
    hub.sql(
        "INSERT INTO musehub_background_jobs (job_id, repo_id, job_type, payload)"
        " SELECT 'job-' || n, 'r', 'mpack.index', '{}' FROM generate_series(1, %(jobs)s) AS n",
        {"jobs": MOST_COUNTED + 1},
    )

    assert queue.backlog(limit=1).pending == MOST_COUNTED
    assert queue.count_due() == MOST_COUNTED + 1


def test_a_new_job_is_noticed_at_once(hub: Hub, queue: Queue) -> None:
    with queue.notices() as wait:
        assert not wait(0.05)
        hub.enqueue("r")
        assert wait(10)
