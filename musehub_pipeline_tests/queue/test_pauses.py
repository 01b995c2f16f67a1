"""Pauses: what an operator holds back is claimed by nobody, and goes on where it stood."""

from collections.abc import Iterator

import pytest

from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.jobs import Jobs
from musehub_pipeline.queue.pauses import Pauses
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import claim_one, claimed, expire, named, reason, state


@pytest.fixture
def pauses(hub: Hub) -> Iterator[Pauses]:
    """What is paused of a hub's queue."""
    with Database(str(hub.settings.database_url)) as database:
        yield Pauses(database)


def due(queue: Queue) -> list[str]:
    return [job.job_id for job in queue.backlog(limit=9).due]


def test_no_job_of_a_paused_repository_is_claimed_and_others_are(
    hub: Hub, queue: Queue, pauses: Pauses
) -> None:
    held_back = [hub.enqueue("song"), hub.enqueue("song")]
    other = hub.enqueue("tune")

    assert pauses.begin("song", reason="its storage moves")
    later = hub.enqueue("song")

    assert due(queue) == [other]
    assert queue.count_due() == 1
    assert named(queue, held_back[0]) == []
    assert claimed(queue) == [other]
    assert queue.has_due() is False
    assert queue.backlog(limit=9).paused is True
    assert pauses.end("song")
    assert queue.backlog(limit=9).paused is False
    assert queue.count_due() == 3
    assert claimed(queue) == [*held_back, later]


def test_nothing_is_claimed_while_the_queue_is_paused(
    hub: Hub, queue: Queue, pauses: Pauses
) -> None:
    jobs = [hub.enqueue("song"), hub.enqueue("tune")]
    pauses.begin(None)
    pauses.begin("tune")

    assert (due(queue), queue.count_due(), claimed(queue), named(queue, *jobs)) == ([], 0, [], [])
    pauses.end(None)
    assert claimed(queue) == jobs[:1]
    pauses.end("tune")
    assert claimed(queue) == jobs[1:]


def test_a_run_ends_what_it_has_and_what_a_dead_one_had_is_held_back(
    hub: Hub, queue: Queue, pauses: Pauses
) -> None:
    alive, dead = hub.enqueue("song"), hub.enqueue("tune")
    lease = claim_one(queue, "alive")
    claim_one(queue, "dead")
    pauses.begin(None)

    lease.give_back()
    expire(hub, dead)

    assert queue.count_due() == 0
    assert claimed(queue) == []
    assert [state(hub, job)["status"] for job in (alive, dead)] == ["pending", "pending"]
    pauses.end(None)
    assert sorted(claimed(queue, limit=1) + claimed(queue)) == sorted([alive, dead])


def test_what_is_paused_is_told_with_how_many_wait_for_it(hub: Hub, pauses: Pauses) -> None:
    repo_id = hub.create_repo("song")
    for repo in (repo_id, repo_id, "gone"):
        hub.enqueue(repo)

    begun = [pauses.begin(repo_id, reason="r"), pauses.begin(None), pauses.begin("gone")]
    again = pauses.begin(None, reason="another")
    told = [dict(pause) for pause in pauses.all()]

    assert (begun, again) == ([True, True, True], False)
    times = [pause.pop("paused_at") for pause in told]
    assert times == sorted(times)
    assert told == [
        {"repo_id": repo_id, "owner": "ada", "slug": "song", "reason": "r", "jobs": 2},
        {"repo_id": None, "owner": None, "slug": None, "reason": "", "jobs": 3},
        {"repo_id": "gone", "owner": None, "slug": None, "reason": "", "jobs": 1},
    ]
    assert [pauses.end("gone"), pauses.end("gone"), pauses.end("none")] == [True, False, False]


def test_a_job_says_that_it_is_paused(hub: Hub, jobs: Jobs, pauses: Pauses) -> None:
    first, second = hub.enqueue("song"), hub.enqueue("song")

    pauses.begin("song", reason="its storage moves")
    of_its_repository = reason(jobs, first)
    pauses.begin(None)

    assert of_its_repository == "waits: its repository is paused, its storage moves"
    assert reason(jobs, second) == "waits: the queue is paused"


def test_whoever_waits_for_jobs_hears_that_they_go_on(
    hub: Hub, queue: Queue, pauses: Pauses
) -> None:
    pauses.begin(None)
    with queue.notices() as wait:
        pauses.end(None)

        assert wait(30) is True
