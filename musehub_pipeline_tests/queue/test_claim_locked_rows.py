"""Rows of the queue that another session has locked: the hub's, an operator's, a frozen run's."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.jobs import Jobs
from musehub_pipeline.queue.live_runs import Runs
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import claimed, expire, named, seconds


@contextmanager
def locked(hub: Hub, job_id: str) -> Generator[None]:
    with psycopg.connect(str(hub.settings.database_url)) as connection:
        connection.execute(
            "SELECT FROM musehub_background_jobs WHERE job_id = %s FOR UPDATE", [job_id]
        )
        yield


@pytest.mark.parametrize("by_name", [False, True])
def test_a_row_that_another_session_has_locked_stops_nobody_but_its_repo(
    hub: Hub, queue: Queue, by_name: bool
) -> None:
    first, behind, free = hub.enqueue("r"), hub.enqueue("r"), hub.enqueue("s")
    take = partial(named, queue, first, behind, free) if by_name else partial(claimed, queue)

    with locked(hub, first):
        assert take() == [free]

    assert take() == [first, behind]


@pytest.mark.parametrize("change", [Jobs.cancel, Jobs.retry])
def test_an_operator_does_not_wait_for_a_locked_row_while_nobody_can_claim(
    hub: Hub, queue: Queue, jobs: Jobs, change: Callable[[Jobs, list[str]], list[str]]
) -> None:
    row, free = hub.enqueue("r"), hub.enqueue("s")
    if change is Jobs.retry:
        hub.sql("UPDATE musehub_background_jobs SET status = 'failed' WHERE repo_id = 'r'")

    with locked(hub, row):
        with pytest.raises(Transient, match=r"^DATABASE_UNAVAILABLE: .* lock timeout$"):
            change(jobs, [row])
        assert claimed(queue) == [free]

    assert change(jobs, [row]) == [row]


def test_a_locked_row_does_not_keep_its_neighbours_from_being_renewed(
    hub: Hub, queue: Queue, runs: Runs
) -> None:
    stuck, free = hub.enqueue("r"), hub.enqueue("s")
    assert claimed(queue, "run") == [stuck, free]
    hub.sql("UPDATE musehub_background_jobs SET lease_expires_at = now() + interval '5 s'")

    with locked(hub, stuck):
        runs.renew("run")

    left = [seconds(hub, job, "lease_expires_at - now()") for job in (stuck, free)]
    assert (left[0] < 10, left[1] > 50) == (True, True)


def test_a_lease_that_another_session_has_locked_is_taken_back_later(
    hub: Hub, queue: Queue
) -> None:
    stuck, dead, free = hub.enqueue("r"), hub.enqueue("s"), hub.enqueue("t")
    assert claimed(queue, "one", limit=2) == [stuck, dead]
    expire(hub, stuck)
    expire(hub, dead)

    with locked(hub, stuck):
        assert [job.job_id for job in queue.rescue()] == [dead]
        assert claimed(queue, "two") == [dead]
        assert claimed(queue, "three") == [free]

    assert claimed(queue, "four") == [stuck]
