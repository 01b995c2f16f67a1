"""Runs that are killed, wherever they stand: others do their jobs, and each is published once.

How Dagster starts such runs, and finds out that they are dead: acceptance/test_killed_runs.py.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.services import open_services
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.acceptance.gate import TABLES, Gate
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.audit.checking import found
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all, index_batch
from musehub_pipeline_tests.orchestration.killing import asleep, end_sleep, let_leases_end
from musehub_pipeline_tests.waiting import wait_for

OPS = ("claim_jobs", *(phase.__name__ for phase in PHASES), "summarize")

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])


def run_until(settings: Settings, op: str) -> None:
    """Index a job as a run does, and wait before an op to be killed."""
    hub = Hub(settings)

    def wait_before(name: str) -> None:
        if name == op:
            hub.sql("SELECT pg_sleep(600)")

    index_batch(hub, run_id=f"until {op}", before=wait_before)


@contextmanager
def runs_until(hub: Hub, *ops: str, stand: Callable[[], bool]) -> Iterator[None]:
    """Have a run until each op, and when all stand for as long as the block; then kill them."""
    settings = hub.settings.model_copy(update={"batch_jobs": 1})
    runs = [_processes.Process(target=run_until, args=(settings, op)) for op in ops]
    try:
        for run in runs:
            run.start()
        wait_for(stand)
        yield
    finally:
        for run in runs:
            run.kill()
            run.join()


def assert_made_up_for(hub: Hub, jobs: list[str]) -> None:
    """Let the leases of the dead end; then others do their jobs at the second attempt."""
    held = let_leases_end(hub)
    with open_services(hub.settings) as services:
        rescued = services.queue.rescue()
    index_all(hub)

    assert sorted(job.job_id for job in rescued) == sorted(held)
    for job_id in jobs:
        codes = ["LEASE_EXPIRED", None] if job_id in held else [None]
        assert [attempt["code"] for attempt in hub.job(job_id)["attempts"]] == codes
    assert publications(hub) == sorted(jobs)
    assert found(hub) == []


@pytest.mark.slow
def test_at_the_beginning_of_every_op(hub: Hub) -> None:
    count_publications(hub)
    jobs = push_many(hub, repos=len(OPS), each=1)

    with runs_until(hub, *OPS, stand=lambda: asleep(hub) == len(OPS)):
        held = hub.sql("SELECT 1 FROM musehub_background_jobs WHERE status = 'running'")
    end_sleep(hub)

    assert len(held) == len(OPS) - 1  # one stands before it claims
    assert_made_up_for(hub, jobs)


@pytest.mark.slow
def test_in_the_midst_of_every_write(hub: Hub) -> None:
    count_publications(hub)
    jobs = push_many(hub, repos=len(TABLES), each=1)

    with Gate(str(hub.settings.database_url)) as gate:
        gate.stand_behind_rows(TABLES)
        with runs_until(hub, *TABLES, stand=lambda: gate.waiting() == len(TABLES)):
            held = hub.sql("SELECT 1 FROM musehub_background_jobs WHERE status = 'running'")

    assert len(held) == len(TABLES)
    assert_made_up_for(hub, jobs)
