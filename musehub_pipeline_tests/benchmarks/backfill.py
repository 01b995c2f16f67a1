"""Backfills in this process: as fast as live jobs, and planned at once however long the past is."""

from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.orchestration.backfill import BACKFILL_JOB
from musehub_pipeline.orchestration.resources import fixed_resource
from musehub_pipeline.phases.services import Services, open_services
from musehub_pipeline_tests.acceptance.pushes import make_past
from musehub_pipeline_tests.benchmarks.bench import Bench, checkpoint
from musehub_pipeline_tests.benchmarks.drain import by_runs, pushed
from musehub_pipeline_tests.benchmarks.figures import (
    Figure,
    Pair,
    amount,
    interleave,
    seconds,
    speed,
)
from musehub_pipeline_tests.benchmarks.past import choice_of, days_of, fill, outdated
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all

_DAYS = 4
_PAST_JOBS = 100_000
_PAST_DAYS = 400
_SAMPLED_DAYS = 4
_PLAN_SECONDS = 10
_RUNS_A_TEN_THOUSAND = 60


def backfill(bench: Bench) -> Iterator[Figure]:
    """Compare with `index` that drains the same jobs; then plan a long past."""
    with bench.dagster() as instance:
        pairs = interleave(
            lambda: by_backfill(bench, instance), lambda: by_runs(bench, instance), runs=bench.runs
        )
        what = f"tiny mpacks of {_DAYS} days in one process, against `index` of the same jobs"
        yield speed("backfill_drain", what, pairs, limit=0.7)
        yield from _long_past(bench, instance)


def by_backfill(bench: Bench, instance: dg.DagsterInstance) -> float:
    """Index jobs again that an older version has done."""
    days = days_of(_DAYS)
    with pushed(bench) as (hub, _):
        index_all(hub)
        make_past(hub, days)
        checkpoint(str(hub.settings.database_url))
        elapsed = seconds(lambda: index_again(hub, instance, days))
        assert outdated(hub) == 0
        return elapsed


def index_again(hub: Hub, instance: dg.DagsterInstance, days: Sequence[date]) -> None:
    """Run a backfill in this process, a run a day."""
    job = build_defs(musehub=fixed_resource(hub.settings)).get_job_def(BACKFILL_JOB)
    for day in days:
        job.execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            instance=instance,
            partition_key=day.isoformat(),
        )


def _long_past(bench: Bench, instance: dg.DagsterInstance) -> Iterator[Figure]:
    """Plan every day of it; index a few days, for all of them would take too long."""
    jobs, days = bench.some(_PAST_JOBS), days_of(bench.some(_PAST_DAYS))
    with bench.database() as database_url:
        hub = Hub(bench.settings(database_url))
        fill(hub, jobs=jobs, days=days)
        checkpoint(database_url)
        with open_services(hub.settings) as services:
            pairs = interleave(
                lambda: seconds(lambda: _plan(services, days, jobs)),
                lambda: seconds(lambda: outdated(hub)),
                runs=bench.runs,
            )
        what = f"{jobs:,} jobs of {len(days)} days; beside a count of them"
        yield amount("backfill_plan", what, pairs, unit="s", limit=_PLAN_SECONDS)
        before = instance.get_runs_count()
        elapsed = seconds(lambda: index_again(hub, instance, days[:: len(days) // _SAMPLED_DAYS]))
        runs = instance.get_runs_count() - before
        indexed = jobs - outdated(hub)
        yield amount(
            "backfill_runs",
            f"for 10,000 of {jobs:,} jobs",
            [Pair(runs * 10_000 / indexed, 0)],
            unit="runs",
            limit=_RUNS_A_TEN_THOUSAND,
            note=(
                f"only {runs} of {len(days)} days were indexed, {indexed:,} jobs in {elapsed:.1f}"
                f" s: all would take {elapsed * jobs / indexed / 60:.0f} minutes"
            ),
        )


def _plan(services: Services, days: Sequence[date], jobs: int) -> None:
    """Plan as `backfill plan` does, and as the runs of all days do."""
    assert sum(day["jobs"] for day in services.archive.days(choice_of(days))) == jobs
    assert sum(len(services.archive.plan(choice_of([day]))) for day in days) == jobs
