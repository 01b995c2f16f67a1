"""The queue: who gets which job, in what order, and who may say how it ended."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from musehub_pipeline.domain.errors import Deferral, Fault, Rejection, Transient, Trouble
from musehub_pipeline.domain.job import INDEX_VERSION, Claim
from musehub_pipeline.storage.database import Database
from musehub_pipeline.storage.queue import Queue
from musehub_pipeline_tests.hub import Hub

LEASE = timedelta(minutes=1)
NOW = timedelta(0)
LATE = Deferral(Trouble.OVER_BATCH, "the batch is full")
TROUBLE = Transient(Trouble.STORAGE_UNAVAILABLE, "the disk is full")


@pytest.fixture
def queue(hub: Hub) -> Iterator[Queue]:
    with Database(str(hub.settings.database_url)) as database:
        yield Queue(database, lease=LEASE, max_attempts=2)


def claimed(queue: Queue, run_id: str = "run", *, limit: int = 100) -> list[str]:
    return [claim.job_id for claim, _ in queue.claim(run_id=run_id, limit=limit)]


def named(queue: Queue, *job_ids: str) -> list[str]:
    return [claim.job_id for claim, _ in queue.claim(run_id="run", limit=1, job_ids=job_ids)]


def claim_one(queue: Queue, run_id: str = "run") -> Claim:
    [(claim, _)] = queue.claim(run_id=run_id, limit=1)
    return claim


def reason(queue: Queue, job_id: str) -> str:
    return queue.standing(queue.require(job_id))


def change(hub: Hub, job_id: str, assignment: str) -> None:
    hub.sql(
        f"UPDATE musehub_background_jobs SET {assignment} WHERE job_id = %(id)s", {"id": job_id}
    )


def expire(hub: Hub, job_id: str) -> None:
    change(hub, job_id, "lease_expires_at = now() - interval '1 second'")


def put_off(hub: Hub, job_id: str) -> None:
    change(hub, job_id, "not_before = now() + interval '1 hour'")


def seconds(hub: Hub, job_id: str, expression: str) -> float:
    [row] = hub.sql(
        f"SELECT extract(epoch FROM {expression})::float AS s"
        " FROM musehub_background_jobs WHERE job_id = %(id)s",
        {"id": job_id},
    )
    return row["s"]


def state(hub: Hub, job_id: str) -> dict[str, Any]:
    """Return what is left of a job's row without its times and what the hub wrote."""
    row = hub.job(job_id)
    return {name: row[name] for name in ("status", "attempt", "run_id", "error_code", "error")}


def test_a_claim_leases_a_job_and_gives_its_payload(hub: Hub, queue: Queue) -> None:
    job_id = hub.enqueue("r", mpack_key="key", head=None)

    [(claim, payload)] = queue.claim(run_id="run-1", limit=5)

    assert claim == Claim(job_id=job_id, repo_id="r", attempt=1, run_id="run-1")
    assert payload == {"mpack_key": "key", "head": None}
    assert state(hub, job_id) == {
        "status": "running",
        "attempt": 1,
        "run_id": "run-1",
        "error_code": None,
        "error": None,
    }
    assert seconds(hub, job_id, "lease_expires_at - started_at") == pytest.approx(60, abs=0.1)


def test_the_oldest_jobs_come_first_as_many_as_are_asked_for(hub: Hub, queue: Queue) -> None:
    jobs = [hub.enqueue(f"r{n}") for n in range(5)]
    change(hub, jobs[4], "created_at = now() - interval '1 day'")

    assert claimed(queue, limit=2) == [jobs[4], jobs[0]]
    assert claimed(queue, limit=2) == jobs[1:3]
    assert claimed(queue) == [jobs[3]]
    assert claimed(queue) == []


def test_jobs_of_the_same_time_go_by_their_ids(hub: Hub, queue: Queue) -> None:
    jobs = [hub.enqueue(repo) for repo in ("a", "a", "b", "b")]
    hub.sql("UPDATE musehub_background_jobs SET created_at = '2026-03-01'")

    assert claimed(queue) == sorted(jobs)


def test_jobs_of_another_type_or_status_are_not_taken(hub: Hub, queue: Queue) -> None:
    for assignment in ("job_type = 'mail.send'", "status = 'done'", "status = 'failed'"):
        change(hub, hub.enqueue("r"), assignment)
    job_id = hub.enqueue("r")

    assert claimed(queue) == [job_id]


def test_a_repo_is_never_in_two_runs(hub: Hub, queue: Queue) -> None:
    first, second, third = (hub.enqueue("r") for _ in range(3))
    other = hub.enqueue("s")

    assert claimed(queue, "one", limit=2) == [first, second]
    assert claimed(queue, "two") == [other]
    hub.sql("UPDATE musehub_background_jobs SET status = 'done' WHERE run_id = 'one'")
    assert claimed(queue, "three") == [third]


def test_a_job_in_backoff_holds_back_the_later_ones_of_its_repo(hub: Hub, queue: Queue) -> None:
    first, late, behind = (hub.enqueue("r") for _ in range(3))
    other = hub.enqueue("s")
    put_off(hub, late)

    assert claimed(queue) == [first, other]
    change(hub, first, "status = 'done'")
    assert claimed(queue) == []
    change(hub, late, "not_before = now()")
    assert claimed(queue) == [late, behind]


def test_claims_at_the_same_time_share_no_job_and_no_repo(hub: Hub, queue: Queue) -> None:
    jobs = {hub.enqueue(f"r{n % 12}") for n in range(60)}
    start = Barrier(6)

    def run(number: int) -> list[Claim]:
        start.wait()
        claims = []
        for _ in range(4):
            claims += [claim for claim, _ in queue.claim(run_id=f"{number}", limit=3)]
        return claims

    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(run, range(6)))

    taken = [claim.job_id for claims in runs for claim in claims]
    assert len(taken) == len(set(taken))
    assert set(taken) <= jobs
    repos = [{claim.repo_id for claim in claims} for claims in runs]
    assert sum(map(len, repos)) == len(set().union(*repos)) == 12


def test_a_release_that_spends_the_attempt_says_why_and_waits(hub: Hub, queue: Queue) -> None:
    job_id = hub.enqueue("r")

    queue.release(claim_one(queue), TROUBLE, delay=timedelta(minutes=5), spent=True)

    assert state(hub, job_id) == {
        "status": "pending",
        "attempt": 1,
        "run_id": None,
        "error_code": "STORAGE_UNAVAILABLE",
        "error": "the disk is full",
    }
    assert hub.job(job_id)["lease_expires_at"] is None
    assert seconds(hub, job_id, "not_before - started_at") == pytest.approx(300, abs=1)
    assert claimed(queue) == []
    change(hub, job_id, "not_before = now()")
    assert claim_one(queue).attempt == 2


def test_a_release_that_does_not_spend_the_attempt_leaves_the_job_as_it_was(
    hub: Hub, queue: Queue
) -> None:
    job_id = hub.enqueue("r")
    for attempt in (1, 2):
        before = state(hub, job_id)
        queue.release(claim_one(queue), LATE, delay=NOW, spent=False)
        assert state(hub, job_id) == before
        assert claim_one(queue).attempt == attempt
        claim = Claim(job_id=job_id, repo_id="r", attempt=attempt, run_id="run")
        queue.release(claim, TROUBLE, delay=NOW, spent=True)


def test_a_failure_is_final_and_says_why(hub: Hub, queue: Queue) -> None:
    job_id = hub.enqueue("r")

    queue.fail(claim_one(queue), Rejection(Fault.BAD_TEXT, "NUL:\0 " + "x" * 5_000, item="path"))

    row = state(hub, job_id)
    assert row.pop("error") == "path: NUL:\\0 " + "x" * (2_000 - 13)
    assert row == {
        "status": "failed",
        "attempt": 1,
        "run_id": "run",
        "error_code": "BAD_TEXT",
    }
    assert hub.job(job_id)["finished_at"] >= hub.job(job_id)["started_at"]
    assert claimed(queue) == named(queue, job_id) == []


def test_the_jobs_of_a_run_that_died_are_taken_one_by_one(hub: Hub, queue: Queue) -> None:
    """One of them may be what killed the run: it takes no neighbours with it again."""
    first, second = hub.enqueue("r"), hub.enqueue("r")
    assert claimed(queue, "dead") == [first, second]
    assert claimed(queue, "next") == []
    expire(hub, first)
    expire(hub, second)

    claims = [claim for claim, _ in queue.claim(run_id="next", limit=5)]

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


def test_a_heartbeat_renews_the_leases_of_its_run_and_of_no_other(hub: Hub, queue: Queue) -> None:
    mine, lost, theirs = hub.enqueue("r"), hub.enqueue("r"), hub.enqueue("s")
    claimed(queue, "mine", limit=2)
    claimed(queue, "theirs")
    hub.sql(
        "UPDATE musehub_background_jobs SET lease_expires_at = now() + interval '1 s' * CASE job_id"
        " WHEN %(lost)s THEN -1 ELSE 5 END",
        {"lost": lost},
    )

    queue.renew("mine")

    left = [seconds(hub, job, "lease_expires_at - now()") for job in (mine, theirs, lost)]
    assert (left[0] > 50, left[1] < 10, left[2] < 0) == (True, True, True)


def test_a_named_job_is_taken_out_of_its_backoff(hub: Hub, queue: Queue) -> None:
    job_id, other = hub.enqueue("r"), hub.enqueue("s")
    put_off(hub, job_id)

    assert named(queue, job_id, "job-of-nobody") == [job_id]
    assert state(hub, other)["status"] == "pending"


def test_a_named_job_waits_for_the_earlier_ones_that_are_not_named(hub: Hub, queue: Queue) -> None:
    first, second, third = (hub.enqueue("r") for _ in range(3))

    assert named(queue, second) == named(queue, third, second) == []
    assert reason(queue, second) == f"waits: job {first} of its repository is pending"
    assert reason(queue, first) == "is pending"
    claims = [claim for claim, _ in queue.claim(run_id="run", limit=1, job_ids=[second, first])]
    assert [claim.job_id for claim in claims] == [first, second]
    assert named(queue, third) == []
    change(hub, first, "status = 'done'")
    assert reason(queue, third) == f"waits: job {second} of its repository is running"
    assert reason(queue, second) == "is held by run run"
    queue.release(claims[1], TROUBLE, delay=NOW, spent=True)
    assert reason(queue, second) == "is pending again, STORAGE_UNAVAILABLE: the disk is full"
    change(hub, second, "status = 'failed'")
    assert reason(queue, second) == "failed, STORAGE_UNAVAILABLE: the disk is full"


def test_what_is_due_is_what_a_claim_takes(hub: Hub, queue: Queue) -> None:
    put_off(hub, hub.enqueue("in backoff"))
    due = [hub.enqueue("in backoff, but first"), hub.enqueue("s"), hub.enqueue("s")]
    change(hub, due[0], "repo_id = 'in backoff', created_at = '2026-01-01'")
    hub.enqueue("in backoff")
    running, dead = hub.enqueue("running"), hub.enqueue("dead")
    assert named(queue, running, dead) == [running, dead]
    hub.enqueue("running")
    due += [dead, hub.enqueue("dead")]
    expire(hub, dead)
    change(hub, hub.enqueue("other"), "job_type = 'mail.send'")

    assert queue.count_due() == len(due)
    assert claimed(queue) == due[:3]
    assert claimed(queue) == [dead]  # alone, for it may have killed its run
    assert queue.count_due() == 0


def test_an_mpack_counts_as_verified_once_a_job_of_this_version_is_done(
    hub: Hub, queue: Queue
) -> None:
    repo_id = hub.create_repo()
    hexes = {state: f"{number:064x}" for number, state in enumerate(("done", "old", "failed"))}
    jobs = {state: hub.enqueue(repo_id, mpack_key=text) for state, text in hexes.items()}
    keys = {f"sha256:{text}" for text in hexes.values()}
    assert queue.verified(keys) == set()

    change(hub, jobs["done"], f"status = 'done', index_version = {INDEX_VERSION}")
    change(hub, jobs["old"], f"status = 'done', index_version = {INDEX_VERSION - 1}")
    change(hub, jobs["failed"], f"status = 'failed', index_version = {INDEX_VERSION}")

    assert queue.verified(keys) == {f"sha256:{hexes['done']}"}


def history(hub: Hub, job_id: str) -> list[tuple[object, ...]]:
    attempts = hub.job(job_id)["attempts"]
    assert all(each["started_at"] <= each["ended_at"] for each in attempts)
    return [(each["attempt"], each["run_id"], each["code"]) for each in attempts]


def test_every_attempt_leaves_how_it_ended(hub: Hub, queue: Queue) -> None:
    job_id = hub.enqueue("r")
    queue.release(claim_one(queue, "one"), TROUBLE, delay=NOW, spent=True)
    queue.release(claim_one(queue, "put off"), LATE, delay=NOW, spent=False)
    claim_one(queue, "two")
    expire(hub, job_id)
    change(hub, job_id, "attempts_forgiven = 1")
    assert queue.rescue() == 1
    queue.fail(claim_one(queue, "three"), Rejection(Fault.BAD_ID, "no id"))

    assert history(hub, job_id) == [
        (1, "one", "STORAGE_UNAVAILABLE"),
        (2, "two", "LEASE_EXPIRED"),
        (3, "three", "BAD_ID"),
    ]
    assert hub.job(job_id)["attempts"][0]["message"] == "the disk is full"


def test_a_job_that_killed_three_runs_fails_however_many_attempts_it_has(hub: Hub) -> None:
    with Database(str(hub.settings.database_url)) as database:
        queue = Queue(database, lease=LEASE, max_attempts=100)
        job_id = hub.enqueue("r")
        for run_id in ("one", "two", "three"):
            assert claimed(queue, run_id) == [job_id]
            expire(hub, job_id)

        assert queue.rescue() == 1

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
    change(hub, due, "created_at = now() - interval '1 minute', error_code = 'LEASE_EXPIRED'")

    found = queue.backlog(limit=10)

    assert (found.pending, found.running) == (4, 1)
    assert found.oldest_seconds == pytest.approx(60, abs=5)
    assert found.next_seconds == pytest.approx(60, abs=5)
    assert [(job.job_id, job.repo_id, job.suspect) for job in found.due] == [
        (due, "c", True),
        (more, "c", False),
    ]
    assert behind not in {job.job_id for job in found.due}
    assert len(queue.backlog(limit=1).due) == 1


def test_a_new_job_is_noticed_at_once(hub: Hub, queue: Queue) -> None:
    with queue.notices() as wait:
        assert not wait(0.05)
        hub.enqueue("r")
        assert wait(10)


def test_rows_of_jobs_that_were_done_long_ago_may_be_forgotten(hub: Hub, queue: Queue) -> None:
    old, young, failed = (hub.enqueue("r") for _ in range(3))
    change(hub, old, "status = 'done', finished_at = now() - interval '8 days'")
    change(hub, young, "status = 'done', finished_at = now() - interval '6 days'")
    change(hub, failed, "status = 'failed', finished_at = now() - interval '8 days'")

    assert queue.prune_done(older_than=timedelta(days=7)) == 1

    left = hub.sql("SELECT job_id FROM musehub_background_jobs")
    assert {row["job_id"] for row in left} == {young, failed}
