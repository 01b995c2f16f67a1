"""`index_mpacks`: a chain of ops, of which each calls one phase and says how much it did."""

import inspect
from time import monotonic
from typing import Any

import dagster as dg
from pydantic import Field

from musehub_pipeline.orchestration.assets import materialize
from musehub_pipeline.orchestration.checks import judge
from musehub_pipeline.orchestration.event_log import log_lines, note_rescued
from musehub_pipeline.orchestration.metadata import batch_metadata, jobs_metadata
from musehub_pipeline.orchestration.resources import MusehubServices
from musehub_pipeline.phases import claim_jobs as claiming
from musehub_pipeline.phases import summarize as summarizing
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.pipeline import PHASES, Phase


class ClaimConfig(dg.Config):
    """Which jobs a run takes."""

    job_ids: list[str] = Field(
        default=[],  # not made by a factory: the launchpad would not show it
        description="Jobs to index, due or in backoff; if none: pending jobs, the oldest first.",
    )


@dg.op(description="Lease pending jobs, the oldest first, up to a batch; or the named ones.")
def claim_jobs(
    context: dg.OpExecutionContext, config: ClaimConfig, musehub: MusehubServices
) -> dg.Output[Batch]:
    """Begin a run."""
    started = monotonic()
    batch = claiming.claim_jobs(musehub, run_id=context.run_id, job_ids=config.job_ids)
    note_rescued(context.instance, batch.rescued)
    return dg.Output(batch, metadata=batch_metadata(batch, monotonic() - started))


def phase_op(phase: Phase, *, place: int) -> dg.OpDefinition:
    """Return the op that runs `phase`, with its name and its docstring.

    Its priority is its `place`: where many batches pass through one run, each is finished first.
    """

    @dg.op(name=phase.__name__, description=inspect.getdoc(phase), tags=priority(place))
    def run_phase(batch: Batch, musehub: MusehubServices) -> dg.Output[Batch]:
        started = monotonic()
        after = phase(batch, musehub)
        metadata = batch_metadata(after, monotonic() - started, before=batch)
        return dg.Output(after, metadata=metadata)

    return run_phase


RESULTS = dg.DagsterType(
    name="results",
    description="The result of every job that is done: a list of dicts, as in the job rows.",
    # Of a list of dicts it would check every key and value, which takes longer than to publish it.
    type_check_fn=lambda _, value: isinstance(value, list),
    typing_type=list[dict[str, Any]],
)


@dg.op(
    description="Publish every finished job, give back the others, and log how each ended.",
    out=dg.Out(RESULTS),
)
def summarize(
    context: dg.OpExecutionContext, batch: Batch, musehub: MusehubServices
) -> dg.Output[list[dict[str, Any]]]:
    """End a run; the output is the result of every job that is done."""
    started = monotonic()
    ended = summarizing.summarize(batch, musehub)
    log_lines(context, ended)
    materialize(context, ended, musehub.index)
    judge(context, ended, musehub.settings)
    metadata = jobs_metadata(ended) | batch_metadata(ended, monotonic() - started)
    return dg.Output([dict[str, Any](result) for result in ended.results], metadata=metadata)


def priority(place: int) -> dict[str, str]:
    """Return the tags of an op that stands at a place of its chain."""
    return {"dagster/priority": str(place)}


PHASE_OPS = tuple(phase_op(phase, place=place) for place, phase in enumerate(PHASES, start=1))


@dg.graph
def index_mpacks() -> None:
    """Index a batch of pushed mpacks: claim, seven phases, publish."""
    batch = claim_jobs()
    for op in PHASE_OPS:
        batch = op(batch)
    summarize(batch)


def index_mpacks_job(musehub: dg.ResourceDefinition | dg.ConfigurableResource) -> dg.JobDefinition:  # pyright: ignore[reportMissingTypeArgument]
    """Return the job that indexes a batch with the services of `musehub`.

    It runs in one process, and its IO manager is memory, also in production: what passes between
    ops is paths and numbers, and there is one scratch folder.
    """
    return index_mpacks.to_job(
        resource_defs={"musehub": musehub, "io_manager": dg.mem_io_manager},
        executor_def=dg.in_process_executor,
        # What passed between ops is gone with the process: only the row is left to start from.
        tags={"dagster/retry_strategy": "ALL_STEPS"},
    )
