"""What the UI shows of runs: the asset that they feed, its check, and the table of a run's jobs.

The last op logs all of it. How many events that are does not depend on the batch.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from time import monotonic

import dagster as dg

from musehub_pipeline.domain.budgets import Budgets
from musehub_pipeline.orchestration.resources import MusehubServices
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.report import (
    EXCESS_COLUMNS,
    JOB_COLUMNS,
    MAX_ROWS,
    Row,
    excess_rows,
    figures,
    job_rows,
)
from musehub_pipeline.queue.claim import Rescued

Metadata = dict[str, dg.MetadataValue | int | float]

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


def _latest_maxima(instance: dg.DagsterInstance, budgets: Budgets) -> dict[str, float]:
    """Return of the latest materialization the maxima for which there is a budget."""
    latest = instance.get_latest_materialization_event(MPACK_INDEX.key)
    seen = latest.asset_materialization if latest else None
    entries = seen.metadata if seen else {}
    return {
        key: entry.value or 0.0
        for key in budgets
        if isinstance(entry := entries.get(f"{key}_max"), dg.FloatMetadataValue)
    }


def log_run(context: dg.OpExecutionContext, batch: Batch, *, budgets: Budgets) -> None:
    """Log how the jobs of a run fared: their lines, and what the asset's page shows."""
    log_lines(context, batch)
    if batch.items:
        seconds = monotonic() - batch.items[0].claimed_at
        metadata = figures(batch, seconds)
        context.log_event(dg.AssetMaterialization(MPACK_INDEX.key, metadata=metadata))
    if batch.results and budgets:
        # It takes evaluations too, its annotation has not heard of them.
        context.log_event(_judgement(batch, budgets))  # pyright: ignore[reportArgumentType]


def log_lines(context: dg.OpExecutionContext, batch: Batch) -> None:
    """Log the line of each job of a batch."""
    for level, text in log_entries(batch.lines):
        context.log.log(level, text)


def note_rescued(instance: dg.DagsterInstance, rescued: Sequence[Rescued]) -> None:
    """Add to the log of each run that died what became of its jobs: one event a run."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for job in rescued:
        if job.run_id is not None:
            lines[job.run_id].append(job.line)
    for run_id in sorted(lines):
        # Dagster has no such run where its database was lost, or where it was pruned.
        if run := instance.get_run_by_id(run_id):
            instance.report_engine_event("\n".join(lines[run_id]), run)


def log_entries(lines: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return the lines as entries of Dagster's log: one a level, however many jobs there are.

    An entry is a write of Dagster's: one a job took a fifth of a run of tiny mpacks, on SQLite.
    """
    texts: defaultdict[int, list[str]] = defaultdict(list)
    for level, line in lines:
        texts[level].append(line)
    return [(level, "\n".join(texts[level])) for level in sorted(texts)]


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
            "worst": _table(excess_rows(batch.excesses), EXCESS_COLUMNS),
        },
    )


def jobs_metadata(batch: Batch) -> Metadata:
    """Return a table of a run's jobs, and how many rows were left out of it."""
    rows = job_rows(batch)
    metadata: Metadata = {
        "done": len(batch.results),
        "not_done": len(rows) - len(batch.results),
        "batch": _table(rows[:MAX_ROWS], JOB_COLUMNS),
    }
    if len(rows) > MAX_ROWS:
        metadata["left_out_of_batch"] = len(rows) - MAX_ROWS
    return metadata


def _table(rows: Sequence[Row], columns: Mapping[str, str]) -> dg.TableMetadataValue:
    schema = dg.TableSchema([dg.TableColumn(name, type=kind) for name, kind in columns.items()])
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema)
