"""The asset `musehub/mpack_index`, which every run of `index_mpacks` feeds, and its check."""

from time import monotonic

import dagster as dg

from musehub_pipeline.domain.budgets import BudgetKey, Budgets
from musehub_pipeline.orchestration.metadata import table
from musehub_pipeline.orchestration.resources import MusehubServices
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.report import EXCESS_COLUMNS, excess_rows, figures

MPACK_INDEX = dg.AssetSpec(
    ["musehub", "mpack_index"],
    description=(
        "The index of pushed mpacks: object bytes in object storage, rows in PostgreSQL. A run"
        " of index_mpacks that worked on any job adds one materialization with the figures of its"
        " batch: p50, p95 and maximum of each phase over the jobs that are done, how many jobs"
        " fared how, rows, bytes, and how long the oldest job had waited. Runs of backfill_mpacks"
        " add none, so that the figures are those of live pushes."
    ),
    group_name="musehub",
    kinds={"postgres", "s3"},
    tags={"musehub/job_type": "mpack.index"},
)


@dg.asset_check(
    asset=MPACK_INDEX.key,
    description=(
        "No job took longer than MUSEHUB_PHASE_BUDGETS_MS allows. Where budgets are set, each run"
        " of index_mpacks judges the jobs that it has done; executed by hand, the check judges the"
        " maxima of the latest materialization. It warns: the jobs are done all the same."
    ),
)
def phase_budgets(
    context: dg.AssetCheckExecutionContext, musehub: MusehubServices
) -> dg.AssetCheckResult:
    """Judge the latest materialization by the budgets of now."""
    musehub.heartbeat.begin(context.run.run_id)
    budgets = musehub.settings.phase_budgets
    maxima = _latest_maxima(context.instance, budgets)
    over = {key: taken for key, taken in maxima.items() if taken > budgets[key]}
    return dg.AssetCheckResult(
        passed=not over,
        severity=dg.AssetCheckSeverity.WARN,
        description=None if maxima else "There is nothing to judge.",
        metadata={"budgets_ms": dict(budgets), "over_budget_ms": over},
    )


def _latest_maxima(instance: dg.DagsterInstance, budgets: Budgets) -> dict[BudgetKey, float]:
    """Return of the latest materialization the maxima for which there is a budget."""
    latest = instance.get_latest_materialization_event(MPACK_INDEX.key)
    seen = latest.asset_materialization if latest else None
    entries = seen.metadata if seen else {}
    return {
        key: entry.value or 0.0
        for key in budgets
        if isinstance(entry := entries.get(f"{key}_max"), dg.FloatMetadataValue)
    }


def materialize(context: dg.OpExecutionContext, batch: Batch, *, budgets: Budgets) -> None:
    """Log how the jobs of a run fared, for the asset's page: one event, or two with budgets."""
    if batch.items:
        seconds = monotonic() - batch.items[0].claimed_at
        metadata = figures(batch, seconds)
        context.log_event(dg.AssetMaterialization(MPACK_INDEX.key, metadata=metadata))
    if batch.results and budgets:
        # It takes evaluations too, its annotation has not heard of them.
        context.log_event(_judgement(batch, budgets))  # pyright: ignore[reportArgumentType]


def _judgement(batch: Batch, budgets: Budgets) -> dg.AssetCheckEvaluation:
    over = {excess.job_id for excess in batch.excesses}
    return dg.AssetCheckEvaluation(
        asset_key=MPACK_INDEX.key,
        check_name=phase_budgets.check_key.name,
        passed=not over,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "budgets_ms": dict(budgets),
            "jobs_judged": len(batch.results),
            "jobs_over_budget": len(over),
            "worst": table(excess_rows(batch.excesses), EXCESS_COLUMNS),
        },
    )
