"""A backfill in this process: as fast as `index` of live jobs."""

import os
from collections.abc import Iterator, Sequence
from datetime import date
from unittest.mock import patch

import dagster as dg

from musehub_pipeline import local
from musehub_pipeline.orchestration.in_process import BackfillRunner
from musehub_pipeline_tests.acceptance.pushes import make_past
from musehub_pipeline_tests.benchmarks.bench import Bench, checkpoint
from musehub_pipeline_tests.benchmarks.drain import by_runs, pushed
from musehub_pipeline_tests.benchmarks.figures import Figure, interleave, seconds, speed
from musehub_pipeline_tests.benchmarks.past import days_of, outdated, selection_of
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all

_DAYS = 4


def backfill(bench: Bench) -> Iterator[Figure]:
    """Compare with `index` that drains the same jobs."""
    with bench.dagster() as instance:
        pairs = interleave(
            lambda: by_backfill(bench, instance), lambda: by_runs(bench, instance), runs=bench.runs
        )
        what = f"tiny mpacks of {_DAYS} days in one process, against `index` of the same jobs"
        yield speed("backfill_drain", what, pairs, limit=0.7)


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
    """Index again as `backfill run` does: in this process, a run a day."""
    with patch.dict(os.environ, local.environment(hub.settings)):
        runner = BackfillRunner(instance)
        for day in days:
            runner.run(day, selection_of([day]))
