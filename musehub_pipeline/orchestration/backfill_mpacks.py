"""`backfill_mpacks`: index again what ended long ago, a day of pushes a partition.

The day is planned when the run starts, in batches; each goes through the same phases as a live one,
from its claim to its end, before the next one is begun.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from time import monotonic, sleep
from typing import Any

import dagster as dg

from musehub_pipeline.domain.backfill import (
    MOST_WAITING,
    PastJob,
    Report,
    Selection,
    estimate,
    given_up_line,
    pause_seconds,
    split_into_batches,
)
from musehub_pipeline.domain.run_requests import BACKFILL, LANE_TAG
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.orchestration.backfill_config import (
    INDEXED_TAG,
    PLANNED_TAG,
    SELECTION_TAGS,
    BackfillConfig,
)
from musehub_pipeline.orchestration.event_log import log_lines
from musehub_pipeline.orchestration.index_mpacks import PHASE_OPS, priority
from musehub_pipeline.orchestration.metadata import batch_metadata, jobs_metadata
from musehub_pipeline.orchestration.resources import MusehubServices, hand_over
from musehub_pipeline.phases import claim_jobs as claiming
from musehub_pipeline.phases import plan_backfill as planning
from musehub_pipeline.phases import summarize as summarizing
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.report import backfill_report
from musehub_pipeline.postgres.blips import through_blips
from musehub_pipeline.queue.reindex import Archive
from musehub_pipeline.settings import Settings

BACKFILL_JOB = "backfill_mpacks"
_DESCRIPTION = f"""Index again what was pushed on a day: by an older version, or what failed.

*Missing* means here that this job never ran for a day, and not that the index lacks anything. Most
days stay missing, and that is as it should be: nothing was pushed on them, or all of it is current.
`musehub-pipeline backfill plan` says on which days there are how many jobs to index again.

Each run says of its day by its tags how many jobs it planned, `{PLANNED_TAG}`, and how many it has
indexed, `{INDEXED_TAG}`.

The config of `plan_backfill` says what is taken. Where it does not, as from the dialog of
backfills, tags of the run do:

""" + "\n".join(f"- `{tag}`: {values}" for tag, values in SELECTION_TAGS.items())

_PLAN = "plan"
_BATCHES = "batches"


@dg.op(
    out={_PLAN: dg.Out(dict), _BATCHES: dg.DynamicOut(list)},
    description="Plan a day: which jobs are indexed again, in batches.",
)
def plan_backfill(
    context: dg.OpExecutionContext, config: BackfillConfig, musehub: MusehubServices
) -> Iterator[dg.Output[dict[str, Any]] | dg.DynamicOutput[list[PastJob]]]:
    """Read the queue's past; where there is nothing to do, say so. A dry run ends with that."""
    musehub.heartbeat.begin(context.run_id)
    selection = through_blips(_selection, context, config, musehub.repos)
    jobs = planning.plan_backfill(musehub, selection)
    plan = _plan(context, config, jobs, selection, musehub.archive)
    tags = {PLANNED_TAG: str(plan["planned"]), INDEXED_TAG: "0"}
    context.instance.add_run_tags(context.run_id, tags)
    yield dg.Output(plan, _PLAN, metadata=plan)
    yield from _in_batches([] if plan["dry_run"] else jobs, musehub.settings)


def _selection(context: dg.OpExecutionContext, config: BackfillConfig, repos: Repos) -> Selection:
    window = context.partition_time_window
    return config.selection(
        context.run.tags,
        since=window.start,
        before=window.end,
        requested_at=_requested_at(context),
        repo_id_of=lambda repo: repos.find_by_name_or_id(repo).repo_id,
    )


def _requested_at(context: dg.OpExecutionContext) -> datetime:
    """Return when this run was requested, or the first one of which it is a re-execution."""
    first = context.run.root_run_id or context.run_id
    record = context.instance.get_run_record_by_id(first)
    return record.create_timestamp.replace(tzinfo=UTC) if record else datetime.now(UTC)


def _plan(
    context: dg.OpExecutionContext,
    config: BackfillConfig,
    jobs: Sequence[PastJob],
    selection: Selection,
    archive: Archive,
) -> dict[str, Any]:
    """Count what is planned, and what is not; log what an operator has to know of it."""
    dry_run = config.is_dry_run(context.run.tags)
    days, pace = through_blips(lambda: (archive.days(selection), archive.pace()))
    current, given_up = (sum(day[name] for day in days) for name in ("current", "given_up"))
    planned_bytes = sum(job.size_bytes for job in jobs)
    if not jobs:
        context.log.info("There is nothing to index again: %d jobs are current.", current)
    elif dry_run:
        context.log.info("Dry run: %d jobs would be indexed again.", len(jobs))
    if given_up:
        context.log.warning("%s", given_up_line(given_up))
    return {
        "dry_run": dry_run,
        "planned": len(jobs),
        "planned_bytes": planned_bytes,
        "estimated_seconds": estimate(pace, jobs=len(jobs), mpack_bytes=planned_bytes),
        "current": current,
        "given_up": given_up,
    }


def _in_batches(
    jobs: list[PastJob], settings: Settings
) -> Iterator[dg.DynamicOutput[list[PastJob]]]:
    planned = split_into_batches(
        jobs,
        batch_jobs=settings.batch_jobs,
        batch_bytes=settings.batch_bytes,
        batch_rows=settings.max_objects,
    )
    for number, batch in enumerate(planned, start=1):
        yield dg.DynamicOutput(batch, mapping_key=f"{number:06}", output_name=_BATCHES)


@dg.op(description="Let live pushes go first, then lease the jobs of a batch.", tags=priority(0))
def claim_past(
    context: dg.OpExecutionContext, jobs: list[PastJob], musehub: MusehubServices
) -> dg.Output[Batch]:
    """Begin a batch."""
    backlog = through_blips(musehub.queue.backlog, limit=MOST_WAITING)
    pause = pause_seconds(len(backlog.due))
    sleep(pause)
    started = monotonic()
    batch = claiming.claim_past(musehub, run_id=context.run_id, jobs=jobs)
    metadata = batch_metadata(batch, monotonic() - started)
    return dg.Output(batch, metadata=metadata | {"pause_seconds": pause})


@dg.op(
    description="Publish what was indexed again, leave the rest as it was, and log how each ended.",
    tags=priority(len(PHASE_OPS) + 1),
)
def conclude_batch(
    context: dg.OpExecutionContext, batch: Batch, musehub: MusehubServices
) -> dg.Output[Report]:
    """End a batch."""
    started = monotonic()
    ended = summarizing.summarize(batch, musehub)
    log_lines(context, ended)
    metadata = jobs_metadata(ended) | batch_metadata(ended, monotonic() - started)
    return dg.Output(backfill_report(ended), metadata=metadata)


@dg.op(description="Add up the results of all batches.", tags=priority(len(PHASE_OPS) + 2))
def report_backfill(
    context: dg.OpExecutionContext, plan: dict[str, Any], reports: list[Report]
) -> dg.Output[dict[str, Any]]:
    """End a partition."""
    total = sum(reports, Report())
    # The others are another run's, be it alive or dead for less than a lease, or live jobs again.
    done = total.indexed + total.failed.total() + total.kept.total()
    left = 0 if plan["dry_run"] else plan["planned"] - done
    if left:
        context.log.warning("%d jobs were left to other runs.", left)
    report = plan | {"left": left} | total.as_dict()
    context.log.info("Backfill: %s", report)
    context.instance.add_run_tags(context.run_id, {INDEXED_TAG: str(total.indexed)})
    return dg.Output(report, metadata={**report, "batches": len(reports)})


@dg.graph
def index_again(jobs: list[PastJob]) -> Report:
    """Index a batch again: claim, seven phases, publish."""
    batch = claim_past(jobs)
    for op in PHASE_OPS:
        batch = op(batch)
    return conclude_batch(batch)


@dg.graph(name=BACKFILL_JOB)
def backfill_mpacks() -> None:
    """Index again what was pushed on a day."""
    plan, jobs = plan_backfill()
    report_backfill(plan, jobs.map(index_again).collect())


def days_from(start: date) -> dg.DailyPartitionsDefinition:
    """Return the partitions: a day of `created_at` in UTC each, today's too."""
    return dg.DailyPartitionsDefinition(
        start_date=datetime(start.year, start.month, start.day, tzinfo=UTC), end_offset=1
    )


def backfill_mpacks_job(
    musehub: dg.ResourceDefinition | dg.ConfigurableResource,  # pyright: ignore[reportMissingTypeArgument]
    *,
    start: date,
) -> dg.JobDefinition:
    """Return the job that indexes the pushes of a day again, behind live pushes."""
    return backfill_mpacks.to_job(
        partitions_def=days_from(start),
        resource_defs={"musehub": musehub, "io_manager": hand_over},
        executor_def=dg.in_process_executor,
        tags={
            LANE_TAG: BACKFILL,  # dagster.yaml limits the number of its runs
            "dagster/priority": "-10",
            "dagster/retry_strategy": "ALL_STEPS",
        },
        description=_DESCRIPTION,
    )
