"""A queue of a thousand tiny mpacks, drained: what Dagster, and what is shown in it, costs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import dagster as dg

from musehub_pipeline.domain.job import Status
from musehub_pipeline.orchestration import index_mpacks
from musehub_pipeline.orchestration.in_process import Runner
from musehub_pipeline.phases.claim_jobs import claim_jobs
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.services import Services, open_services
from musehub_pipeline.phases.summarize import summarize
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.benchmarks.bench import Bench, checkpoint, index
from musehub_pipeline_tests.benchmarks.figures import (
    Figure,
    Pair,
    amount,
    growth,
    interleave,
    seconds,
    speed,
)
from musehub_pipeline_tests.benchmarks.task_queue import TaskQueue
from musehub_pipeline_tests.hub import Hub

_REPOS = 200
_EACH = 5
_TASK_QUEUE_RUNS = 3


def index_throughput(bench: Bench) -> Iterator[Figure]:
    """Compare with the phases in a loop without Dagster, and with a task queue's worker."""
    jobs = bench.some(_REPOS) * _EACH
    what = f"{jobs:,} tiny mpacks in one process"
    with bench.dagster() as instance:
        pairs = interleave(
            lambda: by_runs(bench, instance), lambda: by_phases(bench), runs=bench.runs
        )
        yield speed("index_drain", f"{what}, against the phases called bare", pairs, limit=0.7)
        yield amount(
            "index_rate",
            f"{what}, a second; beside the phases called bare",
            [Pair(jobs / pair.measured, jobs / pair.bare) for pair in pairs],
            unit="/s",
            bound="at least",
            limit=100,
        )
        pairs = interleave(
            lambda: by_runs(bench, instance),
            lambda: by_tasks(bench),
            runs=min(bench.runs, _TASK_QUEUE_RUNS),
        )
        what = f"{what}, against a procrastinate worker with the phases, a task a job"
        yield speed("index_task_queue", what, pairs, limit=1)


def overhead(bench: Bench) -> Iterator[Figure]:
    """Compare with runs that show nothing: no metadata, no materialization, no summary lines."""
    with bench.dagster() as instance:

        def bare() -> float:
            with nothing_is_shown():
                return by_runs(bench, instance)

        pairs = interleave(lambda: by_runs(bench, instance), bare, runs=bench.runs)
    jobs = bench.some(_REPOS) * _EACH
    what = f"{jobs:,} tiny mpacks, against the same runs without metadata and events of ours"
    yield growth("shown_overhead", what, pairs, limit=1.05)


@contextmanager
def nothing_is_shown() -> Iterator[None]:
    """Switch off, for the block, all that the ops tell Dagster."""
    silent: dict[str, Callable[..., Any]] = {
        "log_lines": lambda *_, **__: None,
        "materialize": lambda *_, **__: None,
        "batch_metadata": lambda *_, **__: {},
        "jobs_metadata": lambda *_, **__: {},
    }
    with ExitStack() as stack:
        for name, function in silent.items():
            stack.enter_context(patch.object(index_mpacks, name, function))
        yield


def by_runs(bench: Bench, instance: dg.DagsterInstance) -> float:
    """Drain as `index` does: run after run, until nothing is due."""
    with pushed(bench) as (hub, _):
        runner = Runner(hub.settings, instance)
        with open_services(hub.settings) as services:

            def drain() -> None:
                while runner.run() and services.queue.has_due():
                    pass

            return seconds(drain)


def by_phases(bench: Bench) -> float:
    """Drain with the phases alone, in batches as large."""
    with pushed(bench) as (hub, _), open_services(hub.settings) as services:
        return seconds(lambda: _batches(services))


def _batches(services: Services) -> None:
    while (batch := claim_jobs(services, run_id=str(uuid4()))).items:
        for phase in PHASES:
            batch = phase(batch, services)
        summarize(batch, services)


def by_tasks(bench: Bench) -> float:
    """Drain with a task queue in the same database: a task indexes a job with the phases alone."""
    with pushed(bench) as (hub, jobs), open_services(hub.settings) as services:
        tasks = TaskQueue(str(hub.settings.database_url), lambda job_id: index(services, job_id))
        tasks.defer(jobs)
        checkpoint(str(hub.settings.database_url))
        return seconds(tasks.work)


@contextmanager
def pushed(bench: Bench) -> Iterator[tuple[Hub, list[str]]]:
    """Push tiny mpacks to a new hub, yield it and the jobs; in the end all of them must be done."""
    with bench.database() as database_url:
        hub = Hub(bench.settings(database_url))
        jobs = push_many(hub, repos=bench.some(_REPOS), each=_EACH)
        hub.sql("ANALYZE")
        checkpoint(database_url)
        yield hub, jobs
        statuses = hub.sql("SELECT status, count(*) FROM musehub_background_jobs GROUP BY status")
        assert statuses == [{"status": Status.DONE, "count": len(jobs)}]
