"""Jobs that ended long ago, and over which runs die that index them again."""

from typing import Any

import pytest

from musehub_pipeline.domain.backfill import PastJob, Select
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.queue.reindex import Archive
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import expire, publish_one
from musehub_pipeline_tests.queue.reindexing import (
    DAY,
    chosen,
    claim_again,
    ended_job,
    failed_job,
)

KINDS: dict[str, Any] = {
    "done": (ended_job, {}),
    "failed": (failed_job, {}),
    "done, without a history": (ended_job, {"attempts": "[]"}),
    "failed, without a history": (failed_job, {"attempts": "[]"}),
    "done by another program": (
        ended_job,
        {"attempt": 7, "attempts": "[]", "run_id": None, "started_at": None, "result": None},
    ),
    "retried by an operator": (failed_job, {"attempts_forgiven": 1}),
}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def job_id(request: pytest.FixtureRequest, hub: Hub) -> str:
    """A job that ended, however it did."""
    make, columns = request.param
    return make(hub, hub.create_repo(), **columns)


def die(archive: Archive, hub: Hub, job_id: str, *, times: int = 1) -> None:
    """Have runs claim a job and die."""
    for number in range(times):
        assert claim_again(archive, hub, job_id, run_id=f"dead-{number}")
        expire(hub, job_id)


def suspects(archive: Archive) -> list[bool]:
    """Return of each job that is planned whether it goes alone."""
    return [job.suspect for job in archive.plan(chosen(Select.ALL))]


def told(archive: Archive) -> tuple[int, int, int]:
    """Return of the day: jobs and given up; and given up of all days."""
    [day] = archive.days(chosen(Select.ALL))
    return day["jobs"], day["given_up"], archive.standing(since=DAY)["given_up"]


def test_a_job_is_a_suspect_after_a_kill_and_given_up_after_three(
    hub: Hub, archive: Archive, job_id: str
) -> None:
    before = hub.job(job_id)
    [fresh] = archive.plan(chosen(Select.ALL))
    seen = [(suspects(archive), *told(archive))]
    for _ in range(3):
        die(archive, hub, job_id)
        seen.append((suspects(archive), *told(archive)))

    assert not fresh.suspect
    assert seen == [([False], 1, 0, 0), ([True], 1, 0, 0), ([True], 1, 0, 0), ([], 0, 1, 1)]
    after = hub.job(job_id)
    assert after["attempt"] == before["attempt"] + 3
    same = ("status", "error_code", "error", "result", "index_version", "finished_at")
    assert [after[name] for name in same] == [before[name] for name in same]


def test_more_kills_may_be_allowed(hub: Hub, archive: Archive, job_id: str) -> None:
    die(archive, hub, job_id, times=3)

    patient = Archive(archive._database, lease=archive._lease, max_kills=4)

    assert (suspects(archive), suspects(patient)) == ([], [True])
    assert (told(archive), told(patient)) == ((0, 1, 1), (1, 0, 0))


def test_a_run_that_is_alive_has_killed_nothing(hub: Hub, archive: Archive, job_id: str) -> None:
    die(archive, hub, job_id, times=2)

    claim_again(archive, hub, job_id)

    assert (suspects(archive), told(archive)) == ([True], (1, 0, 0))
    expire(hub, job_id)
    assert (suspects(archive), told(archive)) == ([], (0, 1, 1))


def test_what_was_given_back_was_no_kill_and_forgives_none(
    hub: Hub, archive: Archive, job_id: str
) -> None:
    for _ in range(4):
        [lease] = claim_again(archive, hub, job_id)
        lease.give_back()
    assert suspects(archive) == [False]
    die(archive, hub, job_id, times=2)

    [lease] = claim_again(archive, hub, job_id)
    lease.give_back()

    assert suspects(archive) == [True]
    die(archive, hub, job_id)
    assert suspects(archive) == []


def test_a_job_that_came_to_an_end_is_no_suspect_any_more(
    hub: Hub, archive: Archive, job_id: str
) -> None:
    die(archive, hub, job_id, times=2)
    [lease] = claim_again(archive, hub, job_id)
    if lease.status == "failed":
        lease.fail(Rejection(Fault.BAD_ID, "again"))
    else:
        publish_one(lease, {"mpack_size_bytes": 70}, head=None)

    assert suspects(archive) == [False]
    die(archive, hub, job_id, times=2)
    assert suspects(archive) == [True]


def test_a_job_that_failed_for_its_kills_is_tried_alone(hub: Hub, archive: Archive) -> None:
    job_id = failed_job(hub, hub.create_repo(), "LEASE_EXPIRED")

    assert archive.plan(chosen(Select.FAILED)) == [
        PastJob(job_id, 1, 0, suspect=True, unread_key="key")
    ]


def test_only_what_is_chosen_is_told_to_be_given_up(hub: Hub, archive: Archive) -> None:
    repo_id, gone = hub.create_repo(), hub.create_repo("gone")
    for job_id in (
        ended_job(hub, repo_id),
        ended_job(hub, repo_id, index_version=1),
        failed_job(hub, repo_id),
        ended_job(hub, gone),
    ):
        die(archive, hub, job_id, times=3)
    hub.sql("UPDATE musehub_repos SET deleted_at = now() WHERE slug = 'gone'")

    given_up = {
        str(select): [day["given_up"] for day in archive.days(chosen(select))] for select in Select
    }

    assert given_up == {"outdated": [1], "failed": [1], "all": [3]}
    assert archive.standing(since=DAY)["given_up"] == 3
