"""Runs in flight: those that died are ended in Dagster, which cannot tell them from the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import dagster as dg

from musehub_pipeline.orchestration.backfill_mpacks import BACKFILL_JOB
from musehub_pipeline.orchestration.checks import CHECKS
from musehub_pipeline.orchestration.instance import LOCATION_TAG
from musehub_pipeline.orchestration.prune_history import PRUNING_JOB
from musehub_pipeline.phases.services import HubServices

_CHECKS_BY_HAND = "__ASSET_JOB"
"""What Dagster calls each run of assets or checks that somebody has chosen in the UI."""
_CHECKS = frozenset(check.check_key for check in CHECKS)

TASK_TAG = "dagster-celery/task_id"
"""The tag of a run that Celery's broker has been given."""

_MOST_RUNS = 1_000
_AT_WORK = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    *_AT_WORK,
]
_LAUNCHED = [dg.DagsterRunStatus.STARTING, *_AT_WORK]


@dataclass(frozen=True, kw_only=True)
class InFlight:
    """The living runs of a job."""

    runs: int
    unclaimed: int  # that have not claimed yet, with those that Dagster knows nothing of so far


@runtime_checkable
class _Forgetful(Protocol):
    """A launcher whose runs wait at a broker, where they can get lost."""

    def has_lost(self, run: dg.DagsterRun) -> bool:
        """Tell whether a run that was given to the broker is no longer there."""
        ...


def in_flight(
    services: HubServices, instance: dg.DagsterInstance, *, job_name: str, locations: list[str]
) -> InFlight:
    """Count the living runs of a job; end, in Dagster, the runs of all our jobs that died.

    A run is dead when its heartbeat has stopped, or when it is at work and has begun none within
    a lease; or before that, when the broker that had it has forgotten it. What runs at other code
    locations is not looked at, whatever it is called.
    """
    runs = list(_runs(instance, job_name, locations))
    at_work = [run.run_id for run in runs if run.status in _AT_WORK]
    known = services.runs.known(at_work)
    dead = {
        run_id: "The run's process is gone: its heartbeat has stopped."
        for run_id in at_work
        if not known[run_id].alive
    } | {
        run.run_id: "The broker has forgotten the run: no worker will begin it."
        for run in runs
        if _is_lost(instance, run)
    }
    for run in runs:
        if run.run_id in dead:
            instance.report_run_failed(run, dead[run.run_id])
    living = [run.run_id for run in runs if run.job_name == job_name and run.run_id not in dead]
    claimed = sum(run_id in known and known[run_id].claimed for run_id in living)
    begun_elsewhere = len(known.keys() - {run.run_id for run in runs})
    return InFlight(runs=len(living), unclaimed=len(living) - claimed + begun_elsewhere)


def _runs(
    instance: dg.DagsterInstance, job_name: str, locations: list[str]
) -> Iterator[dg.DagsterRun]:
    """Yield the runs in flight of whatever has a heartbeat: another one must not be ended here.

    Of other jobs only those that were launched: behind one day of a backfill, a thousand others may
    wait.
    """
    yield from _of_job(instance, job_name, locations, _IN_FLIGHT)
    for name in (BACKFILL_JOB, PRUNING_JOB):
        yield from _of_job(instance, name, locations, _LAUNCHED)
    for run in _of_job(instance, _CHECKS_BY_HAND, locations, _LAUNCHED):
        if run.entity_selection and run.entity_selection <= _CHECKS:
            yield run


def _is_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    if run.status != dg.DagsterRunStatus.STARTING or TASK_TAG not in run.tags:
        return False  # and no launcher is opened that nobody needs here
    launcher = instance.run_launcher
    return isinstance(launcher, _Forgetful) and launcher.has_lost(run)


def _of_job(
    instance: dg.DagsterInstance,
    name: str,
    locations: list[str],
    statuses: Sequence[dg.DagsterRunStatus],
) -> Sequence[dg.DagsterRun]:
    ours = dg.RunsFilter(job_name=name, statuses=statuses, tags={LOCATION_TAG: locations})
    return instance.get_runs(ours, limit=_MOST_RUNS)
