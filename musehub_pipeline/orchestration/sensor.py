"""The sensor on pending rows: looks at queue and runs, and requests what is missing.

What that is, `domain.run_requests` decides. Nothing is derived from a cursor: the rows are the
truth, and a tick that is lost costs nothing.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from musehub_pipeline.domain.run_requests import MOST_COUNTED, Backlog, PlannedRun, plan_runs
from musehub_pipeline.orchestration.event_log import note_rescued
from musehub_pipeline.orchestration.instance import code_locations
from musehub_pipeline.orchestration.resources import MusehubServices
from musehub_pipeline.orchestration.runs import in_flight
from musehub_pipeline.phases.services import Services

WAIT_SECONDS = 20.0
"""How long a tick waits for something to do; Dagster cuts it off after 60."""

_POLL_SECONDS = 5.0
_EPOCH_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a tick saw, and what is missing."""

    backlog: Backlog
    in_flight: int
    plan: Sequence[PlannedRun]

    def __str__(self) -> str:
        """Say it with numbers."""
        seen, oldest = self.backlog, self.backlog.oldest_seconds
        age = "" if oldest is None else f", the oldest for {oldest:.0f} s"
        more = " or more" if seen.pending == MOST_COUNTED else ""
        held_back = "; some are paused by `jobs pause`" if seen.paused else ""
        return (
            f"{seen.pending}{more} jobs pending{age}, {len(seen.due)} due, {seen.running} running;"
            f" {self.in_flight} runs in flight{held_back}"
        )


def pending_mpacks_sensor(
    job: dg.JobDefinition, *, wait_seconds: float = WAIT_SECONDS
) -> dg.SensorDefinition:
    """Return the sensor that requests runs of `job` for what is pending."""

    @dg.sensor(
        name="pending_mpacks",
        job=job,
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests the runs that pending mpack.index jobs need, and waits for new jobs.",
    )
    def pending_mpacks(
        context: dg.SensorEvaluationContext, musehub: MusehubServices
    ) -> dg.SensorResult | dg.SkipReason:
        seen = watch(
            musehub,
            context.instance,
            job_name=job.name,
            locations=code_locations(_location(context)),
            wait_seconds=wait_seconds,
        )
        if not seen.plan:
            return dg.SkipReason(str(seen))
        requests = [dg.RunRequest(run_key=run.run_key, tags=run.tags) for run in seen.plan]
        context.log.info("%s; %d requested", seen, len(requests))
        return dg.SensorResult(run_requests=requests)

    return pending_mpacks


def _location(context: dg.SensorEvaluationContext) -> str | None:
    origin = context.code_location_origin
    return origin and f"{context.repository_name}@{origin.location_name}"


def watch(
    services: Services,
    instance: dg.DagsterInstance,
    *,
    job_name: str,
    locations: list[str],
    wait_seconds: float,
) -> Look:
    """Look until a run is missing, or for so many seconds; put right what died meanwhile.

    Raises:
        Transient: DATABASE_UNAVAILABLE; the next tick looks again.
    """
    deadline = time.monotonic() + wait_seconds
    services.runs.forget()
    with services.queue.notices() as wait:  # before looking, so that nothing is missed in between
        while True:
            note_rescued(instance, services.queue.rescue())
            seen = look(services, instance, job_name=job_name, locations=locations)
            left = deadline - time.monotonic()
            if seen.plan or left <= 0:
                return seen
            wait(min(left, _POLL_SECONDS, max(seen.backlog.next_seconds or left, 0.05)))


def look(
    services: Services, instance: dg.DagsterInstance, *, job_name: str, locations: list[str]
) -> Look:
    """Look once at the queue and at the runs in flight."""
    settings = services.settings
    runs = in_flight(services, instance, job_name=job_name, locations=locations)
    backlog = services.queue.backlog(limit=settings.max_concurrent_runs * settings.batch_jobs)
    plan = plan_runs(
        backlog,
        in_flight=runs.runs,
        unclaimed=runs.unclaimed,
        batch_jobs=settings.batch_jobs,
        max_runs=settings.max_concurrent_runs,
        epoch=int(time.time()) // _EPOCH_SECONDS,
    )
    return Look(backlog=backlog, in_flight=runs.runs, plan=plan)
