"""The archive: which jobs that have ended are indexed again, and who gets them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest

from musehub_pipeline.domain.backfill import PastJob, Select
from musehub_pipeline.domain.job import Claim, Status
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.lease import PastLease
from musehub_pipeline.queue.reindex import Archive
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import change, expire, seconds
from musehub_pipeline_tests.queue.reindexing import (
    DAY,
    NEXT_DAY,
    NOON,
    chosen,
    claim_again,
    ended_job,
    failed_job,
    past,
)

SECOND = timedelta(seconds=1)


def planned(archive: Archive, *args: Any, **selection: Any) -> list[str]:
    return [job.job_id for job in archive.plan(chosen(*args, **selection))]


@pytest.fixture
def repo_id(hub: Hub) -> str:
    return hub.create_repo()


def test_a_plan_has_what_a_claim_and_a_batch_need(hub: Hub, archive: Archive, repo_id: str) -> None:
    old = ended_job(hub, repo_id)
    failed = failed_job(hub, repo_id, created_at=NOON + SECOND)

    assert archive.plan(chosen(Select.ALL)) == [
        PastJob(old, 1, 70),
        PastJob(failed, 1, 0, unread_key="key"),
    ]


def test_each_selection_takes_its_jobs_and_no_others(
    hub: Hub, archive: Archive, repo_id: str
) -> None:
    def at(minutes: int) -> dict[str, datetime]:
        return {"created_at": NOON + timedelta(minutes=minutes)}

    old = ended_job(hub, repo_id, **at(1))
    older = ended_job(hub, repo_id, index_version=None, **at(0))
    current = ended_job(hub, repo_id, index_version=1, **at(2))
    newer = ended_job(hub, repo_id, index_version=2, **at(3))
    bad, gone = (failed_job(hub, repo_id, code, **at(4)) for code in ("BAD_ID", "MPACK_MISSING"))
    change(hub, gone, "created_at = created_at + interval '1 minute'")
    for status in ("pending", "running"):
        ended_job(hub, repo_id, status=status)
    ended_job(hub, repo_id, job_type="mail.send")

    assert planned(archive) == [older, old]
    assert planned(archive, codes=("BAD_ID",)) == [older, old]  # they are for failed jobs
    assert planned(archive, Select.FAILED) == [bad, gone]
    assert planned(archive, Select.FAILED, codes=("MPACK_MISSING", "BAD_TEXT")) == [gone]
    assert planned(archive, Select.FAILED, codes=("BAD_TEXT",)) == []
    assert planned(archive, Select.ALL) == [older, old, current, newer, bad, gone]


def test_a_plan_has_the_jobs_of_a_time_oldest_first(
    hub: Hub, archive: Archive, repo_id: str
) -> None:
    times = [NEXT_DAY, NEXT_DAY - SECOND, DAY, DAY - SECOND]
    _, last, first, _ = (ended_job(hub, repo_id, created_at=time) for time in times)
    beside = sorted(ended_job(hub, repo_id) for _ in range(3))

    assert planned(archive) == [first, *beside, last]


def test_one_repo_is_planned_alone_and_a_deleted_one_never(
    hub: Hub, archive: Archive, repo_id: str
) -> None:
    other, deleted = hub.create_repo("other"), hub.create_repo("deleted")
    mine, theirs = ended_job(hub, repo_id), ended_job(hub, other)
    ended_job(hub, deleted)
    ended_job(hub, "repo-of-nobody")
    hub.sql("UPDATE musehub_repos SET deleted_at = now() WHERE repo_id = 'repo-deleted'")

    assert sorted(planned(archive)) == sorted([mine, theirs])
    assert planned(archive, repo_id=other) == [theirs]
    assert planned(archive, repo_id=deleted) == []
    assert sum(day["ended"] for day in archive.days(chosen())) == 2


def test_what_ended_since_a_time_is_left_out(hub: Hub, archive: Archive, repo_id: str) -> None:
    before = failed_job(hub, repo_id, finished_at=NOON - SECOND)
    failed_job(hub, repo_id, finished_at=NOON)
    of_old = failed_job(hub, repo_id, finished_at=None, created_at=NOON + SECOND)

    assert planned(archive, Select.FAILED, ended_before=NOON) == [before, of_old]
    [day] = archive.days(chosen(Select.FAILED, ended_before=NOON))
    assert (day["ended"], day["jobs"]) == (3, 2)


def test_days_tell_what_has_ended_and_what_there_is_to_do(
    hub: Hub, archive: Archive, repo_id: str
) -> None:
    for _ in range(2):
        ended_job(hub, repo_id)
    ended_job(hub, repo_id, created_at=NEXT_DAY - SECOND, result='{"mpack_size_bytes": 5}')
    ended_job(hub, repo_id, created_at=NEXT_DAY, index_version=1)
    failed_job(hub, repo_id, created_at=NEXT_DAY)
    hub.enqueue(repo_id)

    def days(select: Select) -> list[tuple[Any, ...]]:
        names = ("day", "ended", "jobs", "mpack_bytes", "unmeasured", "current", "failed")
        names += ("given_up",)
        found = archive.days(chosen(select, before=NEXT_DAY + timedelta(days=2)))
        assert all(tuple(day) == names for day in found)
        return [tuple(day.values()) for day in found]

    one, other = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)
    assert days(Select.OUTDATED) == [(one, 3, 3, 145, 0, 0, 0, 0), (other, 2, 0, 0, 0, 1, 1, 0)]
    assert days(Select.FAILED) == [(one, 3, 0, 0, 0, 0, 0, 0), (other, 2, 1, 0, 1, 1, 1, 0)]
    assert days(Select.ALL) == [(one, 3, 3, 145, 0, 0, 0, 0), (other, 2, 2, 70, 1, 1, 1, 0)]


def test_a_claim_leases_a_job_which_stays_what_it_was(
    hub: Hub, archive: Archive, repo_id: str
) -> None:
    done, failed = ended_job(hub, repo_id, attempts_forgiven=1), failed_job(hub, repo_id)
    change(hub, failed, "created_at = created_at + interval '1 minute'")
    before = [hub.job(job_id) for job_id in (done, failed)]

    claimed = archive.claim(past(hub, failed, done), run_id="again")

    names = {"repo_id": repo_id, "attempt": 2, "run_id": "again"}
    assert claimed == [
        PastLease(
            claim=Claim(job_id=job_id, attempts_forgiven=forgiven, **names),
            payload={"mpack_key": "key"},
            status=status,
            database=archive._database,
        )
        for job_id, forgiven, status in ((done, 1, Status.DONE), (failed, 0, Status.FAILED))
    ]
    held = {"attempt": 2, "run_id": "again"}
    for row, job_id in zip(before, (done, failed), strict=True):
        after = hub.job(job_id)
        lease = {name: after.pop(name) for name in ("started_at", "lease_expires_at")}
        assert lease["started_at"] > row["started_at"]
        assert after == {n: value for n, value in row.items() if n not in lease} | held
        assert seconds(hub, job_id, "lease_expires_at - started_at") == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize(
    "meanwhile",
    [
        "attempt = attempt + 1",
        "status = 'pending'",
        "status = 'running', lease_expires_at = now() - interval '1 hour'",
        "job_type = 'mail.send'",
        "lease_expires_at = now() + interval '1 hour'",
    ],
)
def test_what_has_changed_since_it_was_planned_is_left_alone(
    hub: Hub, archive: Archive, repo_id: str, meanwhile: str
) -> None:
    changed, same = ended_job(hub, repo_id), ended_job(hub, repo_id)
    jobs = archive.plan(chosen())
    change(hub, changed, meanwhile)
    before = hub.job(changed)

    claimed = archive.claim(jobs, run_id="again")

    assert [lease.claim.job_id for lease in claimed] == [same]
    assert hub.job(changed) == before


def test_a_job_that_is_gone_is_left_out(hub: Hub, archive: Archive) -> None:
    assert archive.claim([PastJob("job-of-nobody", 1, 0)], run_id="again") == []
    assert archive.claim([], run_id="again") == []


def test_a_job_that_another_session_changes_is_not_waited_for(
    hub: Hub, archive: Archive, repo_id: str
) -> None:
    locked, free = ended_job(hub, repo_id), ended_job(hub, repo_id)
    jobs = past(hub, locked, free)

    with psycopg.connect(str(hub.settings.database_url)) as connection:
        connection.execute(
            "SELECT FROM musehub_background_jobs WHERE job_id = %s FOR UPDATE", [locked]
        )
        claimed = archive.claim(jobs, run_id="again")

    assert [lease.claim.job_id for lease in claimed] == [free]
    assert [lease.claim.job_id for lease in archive.claim(jobs, run_id="again")] == [locked]


def test_a_job_whose_run_died_is_planned_and_taken_again(
    hub: Hub, archive: Archive, repo_id: str
) -> None:
    job_id = ended_job(hub, repo_id)
    assert [lease.claim.attempt for lease in claim_again(archive, hub, job_id, run_id="dead")] == [
        2
    ]
    assert claim_again(archive, hub, job_id, run_id="early") == []
    expire(hub, job_id)

    jobs = archive.plan(chosen())
    [lease] = archive.claim(jobs, run_id="next")

    assert jobs == [PastJob(job_id, 2, 70, suspect=True)]
    assert (lease.claim.job_id, lease.claim.attempt, lease.status) == (job_id, 3, Status.DONE)


def test_runs_at_the_same_time_share_no_job(hub: Hub, archive: Archive, repo_id: str) -> None:
    for _ in range(60):
        ended_job(hub, repo_id)
    jobs = archive.plan(chosen())
    start = Barrier(6)

    def run(number: int) -> list[str]:
        start.wait()
        portions = [jobs[place : place + 10] for place in range(0, 60, 10)]
        return [
            lease.claim.job_id
            for portion in portions
            for lease in archive.claim(portion, run_id=f"{number}")
        ]

    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(run, range(6)))

    taken = [job_id for run in runs for job_id in run]
    assert sorted(taken) == sorted(job.job_id for job in jobs)


def test_live_jobs_of_the_repo_do_not_wait(
    hub: Hub, archive: Archive, queue: Queue, repo_id: str
) -> None:
    old = ended_job(hub, repo_id)
    live = hub.enqueue(repo_id)
    claim_again(archive, hub, old)

    backlog = queue.backlog(limit=5)
    assert (backlog.pending, backlog.running, len(backlog.due)) == (1, 0, 1)
    assert [lease.claim.job_id for lease in queue.claim(run_id="live", limit=5)] == [live]
    expire(hub, old)
    assert (queue.rescue(), queue.has_due()) == ([], False)  # it is no job of a run that died
