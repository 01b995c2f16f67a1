"""The ops: each calls one phase, and says in its metadata how much it did."""

import inspect
from collections import Counter
from time import monotonic

import dagster as dg
from pydantic import Field

from musehub_pipeline.domain.result import Result
from musehub_pipeline.orchestration.home import keep_connections
from musehub_pipeline.orchestration.observation import (
    Metadata,
    jobs_metadata,
    log_run,
    note_rescued,
)
from musehub_pipeline.orchestration.resources import MusehubServices
from musehub_pipeline.phases import claim_jobs as claiming
from musehub_pipeline.phases import summarize as summarizing
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.pipeline import PHASES, Phase


class ClaimConfig(dg.Config):
    """Which jobs a run takes."""

    job_ids: list[str] = Field(
        default_factory=list,
        description="Jobs to index, due or in backoff; none: whatever is pending, oldest first.",
    )


@dg.op(description="Lease pending jobs, oldest first, up to a batch; or those named.")
def claim_jobs(
    context: dg.OpExecutionContext, config: ClaimConfig, musehub: MusehubServices
) -> dg.Output[Batch]:
    """Begin a run."""
    keep_connections(context.instance)
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


@dg.op(description="Publish every finished job, give back the others, and say how each fared.")
def summarize(
    context: dg.OpExecutionContext, batch: Batch, musehub: MusehubServices
) -> dg.Output[list[Result]]:
    """End a run; the output is the result of every job that is done."""
    started = monotonic()
    ended = summarizing.summarize(batch, musehub)
    log_run(context, ended, budgets=musehub.settings.phase_budgets)
    metadata = batch_metadata(ended, monotonic() - started) | jobs_metadata(ended)
    return dg.Output(list(ended.results), metadata=metadata)


def batch_metadata(batch: Batch, seconds: float, *, before: Batch | None = None) -> Metadata:
    """Return what an op did to a batch, for the UI: jobs, bytes, and the rows it counted."""
    live = batch.live
    size_bytes = sum(item.size_bytes or 0 for item in live)
    counted = _counts(before.items) if before else {}
    rows = {name: count for name, count in _counts(live).items() if name not in counted}
    return {
        "jobs": len(batch.items),
        "jobs_stopped": len(batch.items) - len(live),
        "mpack_bytes": size_bytes,
        "mb_per_second": round(size_bytes / 1e6 / seconds, 3) if seconds else 0.0,
        **rows,
    }


def _counts(items: tuple[Item, ...]) -> Counter[str]:
    total: Counter[str] = Counter()
    for item in items:
        total.update(item.counts)
    return total


def priority(place: int) -> dict[str, str]:
    """Return the tags of an op that stands at a place of its chain."""
    return {"dagster/priority": str(place)}


PHASE_OPS = tuple(phase_op(phase, place=place) for place, phase in enumerate(PHASES, start=1))
