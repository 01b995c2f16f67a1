"""The queue: who gets which job, in what order, and who may say how it ended."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest

from musehub_pipeline.domain.backfill import PastJob
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.job import Claim
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.jobs import Jobs
from musehub_pipeline.queue.lease import LiveLease
from musehub_pipeline.queue.live_runs import Runs
from musehub_pipeline.queue.reindex import Archive
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import (
    NOW,
    TROUBLE,
    change,
    claim_one,
    claimed,
    expire,
    named,
    put_off,
    reason,
    seconds,
    state,
)


def test_a_claim_leases_a_job_and_gives_its_payload(hub: Hub, queue: Queue) -> None:
    job_id = hub.enqueue("r", mpack_key="key", head=None)

    [lease] = queue.claim(run_id="run-1", limit=5)

    assert lease.claim == Claim(job_id=job_id, repo_id="r", attempt=1, run_id="run-1")
    assert lease.payload == {"mpack_key": "key", "head": None}
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


def test_a_run_is_reserved_for_each_batch_that_is_due_and_for_no_more(
    hub: Hub, queue: Queue
) -> None:
    def reserved(*run_ids: str) -> list[bool]:
        return [queue.reserve(run_id=run_id, batch_jobs=2) for run_id in run_ids]

    assert reserved("none-due") == [False]
    for number in range(3):
        hub.enqueue(f"r{number}")

    assert reserved("a", "b", "c") == [True, True, False]
    claimed(queue, "a", limit=2)
    assert reserved("c") == [False]  # b has yet to take the third
    claimed(queue, "b", limit=2)
    assert reserved("c") == [False]
    hub.enqueue("r3")
    assert reserved("c", "d") == [True, False]
    hub.sql("UPDATE musehub_pipeline_runs SET started_at = now() - interval '6 s'")
    assert reserved("d") == [True]  # c seems to have died


def test_a_run_is_reserved_for_what_a_dead_one_has_left(hub: Hub, queue: Queue) -> None:
    hub.enqueue("r")
    expire(hub, claim_one(queue).claim.job_id)

    assert queue.reserve(run_id="a", batch_jobs=2)
    assert not queue.reserve(run_id="b", batch_jobs=2)


def test_a_run_that_takes_nothing_from_the_queue_reserves_nothing(
    hub: Hub, queue: Queue, runs: Runs
) -> None:
    hub.enqueue("r")
    runs.begin("backfill", claims=False)

    assert queue.reserve(run_id="a", batch_jobs=2)


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

    def run(number: int) -> list[LiveLease]:
        start.wait()
        return [lease for _ in range(4) for lease in queue.claim(run_id=f"{number}", limit=3)]

    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(run, range(6)))

    taken = [lease.claim.job_id for leases in runs for lease in leases]
    assert len(taken) == len(set(taken))
    assert set(taken) <= jobs
    repos = [{lease.claim.repo_id for lease in leases} for leases in runs]
    assert sum(map(len, repos)) == len(set().union(*repos)) == 12


def test_a_release_that_spends_the_attempt_says_why_and_waits(hub: Hub, queue: Queue) -> None:
    job_id = hub.enqueue("r")

    claim_one(queue).retry_later(TROUBLE, pause=timedelta(minutes=5))

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
    assert claim_one(queue).claim.attempt == 2


def test_a_release_that_does_not_spend_the_attempt_leaves_the_job_as_it_was(
    hub: Hub, queue: Queue
) -> None:
    job_id = hub.enqueue("r")
    for attempt in (1, 2):
        before = state(hub, job_id)
        claim_one(queue).give_back()
        assert state(hub, job_id) == before
        lease = claim_one(queue)
        assert lease.claim.attempt == attempt
        lease.retry_later(TROUBLE, pause=NOW)


def test_a_failure_is_final_and_says_why(hub: Hub, queue: Queue) -> None:
    job_id = hub.enqueue("r")

    claim_one(queue).fail(Rejection(Fault.BAD_TEXT, "NUL:\0 " + "x" * 5_000, item="path"))

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


def test_a_heartbeat_renews_the_leases_of_its_run_and_of_no_other(
    hub: Hub, queue: Queue, runs: Runs
) -> None:
    mine, lost, theirs = hub.enqueue("r"), hub.enqueue("r"), hub.enqueue("s")
    claimed(queue, "mine", limit=2)
    claimed(queue, "theirs")
    hub.sql(
        "UPDATE musehub_background_jobs SET lease_expires_at = now() + interval '1 s' * CASE job_id"
        " WHEN %(lost)s THEN -1 ELSE 5 END",
        {"lost": lost},
    )

    runs.renew("mine")

    left = [seconds(hub, job, "lease_expires_at - now()") for job in (mine, theirs, lost)]
    assert (left[0] > 50, left[1] < 10, left[2] < 0) == (True, True, True)


def test_a_named_job_is_taken_out_of_its_backoff(hub: Hub, queue: Queue) -> None:
    job_id, other = hub.enqueue("r"), hub.enqueue("s")
    put_off(hub, job_id)

    assert named(queue, job_id, "job-of-nobody") == [job_id]
    assert state(hub, other)["status"] == "pending"


def test_a_named_job_waits_for_the_earlier_ones_that_are_not_named(
    hub: Hub, queue: Queue, jobs: Jobs
) -> None:
    first, second, third = (hub.enqueue("r") for _ in range(3))

    assert named(queue, second) == named(queue, third, second) == []
    assert reason(jobs, second) == f"waits: job {first} of its repository is pending"
    assert reason(jobs, first) == "is pending"
    leases = queue.claim(run_id="run", limit=1, job_ids=[second, first])
    assert [lease.claim.job_id for lease in leases] == [first, second]
    assert named(queue, third) == []
    change(hub, first, "status = 'done'")
    assert reason(jobs, third) == f"waits: job {second} of its repository is running"
    assert reason(jobs, second) == "is held by run run"
    leases[1].retry_later(TROUBLE, pause=NOW)
    assert reason(jobs, second) == "is pending again, STORAGE_UNAVAILABLE: the disk is full"
    change(hub, second, "status = 'failed'")
    assert reason(jobs, second) == "failed, STORAGE_UNAVAILABLE: the disk is full"


def test_a_hub_may_allow_jobs_of_no_repo_and_they_hold_up_nobody(hub: Hub, queue: Queue) -> None:
    hub.sql("ALTER TABLE musehub_background_jobs ALTER COLUMN repo_id DROP NOT NULL")
    odd, other, more = (hub.enqueue("r") for _ in range(3))
    change(hub, odd, "repo_id = NULL")
    assert claimed(queue, limit=1) == [odd]

    assert [job.job_id for job in queue.backlog(limit=10).due] == [other, more]
    assert named(queue, other) == [other]
    change(hub, other, "status = 'done'")
    assert claimed(queue) == [more]


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
    assert queue.has_due()
    assert claimed(queue) == due[:3]
    assert queue.has_due()
    assert claimed(queue) == [dead]  # alone, for it may have killed its run
    assert queue.count_due() == 0
    assert not queue.has_due()
    expire(hub, dead)
    assert queue.has_due()


def test_a_hub_may_keep_reasons_as_varchar(
    hub: Hub, queue: Queue, jobs: Jobs, archive: Archive
) -> None:
    for column in ("error", "error_code"):
        hub.sql(f"ALTER TABLE musehub_background_jobs ALTER {column} TYPE varchar")
    failed, cancelled = hub.enqueue("r"), hub.enqueue("s")
    claim_one(queue).retry_later(TROUBLE, pause=NOW)
    assert claim_one(queue).fail(Rejection(Fault.BAD_TEXT, "NUL"))
    assert jobs.cancel([cancelled]) == [cancelled]
    [again] = archive.claim([PastJob(failed, 2, 0)], run_id="again")

    assert again.fail(Rejection(Fault.BAD_TEXT, "NUL"))

    assert [state(hub, job)["error_code"] for job in (failed, cancelled)] == [
        "BAD_TEXT",
        "CANCELLED",
    ]
