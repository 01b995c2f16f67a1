"""What is kept of the past: a scheduled job removes ended runs and, if told to, old job rows."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from musehub_pipeline.orchestration.resources import MusehubServices

_RUNS_A_PAGE = 100
_ENDED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]


@dg.op(description="Delete ended runs with their events, and rows of done jobs, past their days.")
def prune(context: dg.OpExecutionContext, musehub: MusehubServices) -> dg.Output[None]:
    """Remove what is older than `keep_runs_days` and `keep_done_days`; 0 keeps it for ever."""
    policy = musehub.policy
    runs = prune_runs(context.instance, older_than=policy.keep_runs) if policy.keep_runs else 0
    rows = musehub.queue.prune_done(older_than=policy.keep_done) if policy.keep_done else 0
    return dg.Output(None, metadata={"runs": runs, "job_rows": rows})


def prune_runs(instance: dg.DagsterInstance, *, older_than: timedelta) -> int:
    """Delete ended runs and their events; return how many."""
    ended = dg.RunsFilter(statuses=_ENDED, created_before=datetime.now(UTC) - older_than)
    pruned = 0
    while runs := instance.get_runs(ended, limit=_RUNS_A_PAGE):
        for run in runs:
            instance.delete_run(run.run_id)
        pruned += len(runs)
    return pruned


@dg.graph
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
