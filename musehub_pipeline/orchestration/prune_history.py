"""What is kept of the past: a scheduled job removes ended runs and, if told to, old job rows."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from musehub_pipeline.orchestration.instance import LOCATION_TAG, code_locations
from musehub_pipeline.orchestration.resources import MusehubServices

PRUNING_JOB = "prune_history"

_RUNS_A_PAGE = 100
_ENDED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]


@dg.op(description="Delete old runs with their events, and old rows of done jobs, by the settings.")
def prune(context: dg.OpExecutionContext, musehub: MusehubServices) -> dg.Output[None]:
    """Remove what is older than `keep_runs_days` and `keep_done_days`; 0 keeps it for ever."""
    musehub.heartbeat.begin(context.run_id)
    settings, runs, rows = musehub.settings, 0, 0
    if settings.keep_runs:
        locations = code_locations(context.run.tags_for_storage().get(LOCATION_TAG))
        runs = prune_runs(context.instance, locations, older_than=settings.keep_runs)
    if settings.keep_done:
        rows = musehub.jobs.prune_done(older_than=settings.keep_done)
    return dg.Output(None, metadata={"runs": runs, "job_rows": rows})


def prune_runs(instance: dg.DagsterInstance, locations: list[str], *, older_than: timedelta) -> int:
    """Delete ended runs of code locations, with their events; return how many."""
    ended = dg.RunsFilter(
        statuses=_ENDED,
        tags={LOCATION_TAG: locations},  # others may share the instance
        created_before=datetime.now(UTC) - older_than,
    )
    pruned = 0
    while runs := instance.get_runs(ended, limit=_RUNS_A_PAGE):
        for run in runs:
            instance.delete_run(run.run_id)
        pruned += len(runs)
    return pruned


@dg.graph(name=PRUNING_JOB)
def prune_history() -> None:
    """Remove ended runs and old rows, by the days that are set for them."""
    prune()


def prune_history_schedule(
    musehub: dg.ResourceDefinition | dg.ConfigurableResource,  # pyright: ignore[reportMissingTypeArgument]
) -> dg.ScheduleDefinition:
    """Return the schedule that prunes every night."""
    return dg.ScheduleDefinition(
        job=prune_history.to_job(
            resource_defs={"musehub": musehub, "io_manager": dg.mem_io_manager},
            executor_def=dg.in_process_executor,
        ),
        cron_schedule="17 3 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Prunes the history every night.",
    )
