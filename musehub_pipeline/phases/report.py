"""What people see of a run: its figures, to be plotted over time, and a row for each job."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Literal, cast

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.backfill import Report
from musehub_pipeline.domain.budgets import BUDGET_KEYS, BudgetKey
from musehub_pipeline.domain.escapes import one_line
from musehub_pipeline.domain.job import Claim
from musehub_pipeline.domain.result import COUNTS, TIMINGS, Count, Outcome, Result
from musehub_pipeline.phases.batch import Batch, Item

MAX_ROWS = 100
"""Rows of a table: a page that is read, and an event that stays small, whatever the batch."""

_DECIMALS = 3
_MAX_EXCESSES = 10
_NAME_CHARACTERS = 80
_REASON_CHARACTERS = 200

_OUTCOMES = {
    "done": Outcome.DONE,
    "failed": Outcome.FAILED,
    "put_back": Outcome.PUT_BACK,
    "lost": Outcome.LOST,
}
_SUMMED: tuple[BudgetKey | Count | Literal["mpack_size_bytes"], ...] = (
    "elapsed_ms",
    *TIMINGS,
    "mpack_size_bytes",
    *COUNTS,
)

Row = dict[str, str | int | float | None]

JOB_COLUMNS = {
    "job": "string",
    "repo": "string",
    "outcome": "string",
    "reason": "string",
    "mpack_bytes": "int",
    "elapsed_ms": "float",
}
"""What became of each job: columns of `job_rows`, with their types."""

PHASE_COLUMNS = {"job": "string", **dict.fromkeys(TIMINGS, "float")}
"""What each phase took of it: a table of its own, so that the other is no wider than a screen."""

FIGURE_COLUMNS = {"figure": "string", **dict.fromkeys(("total", "p50", "p95", "max"), "float")}
"""The type of each column of `figure_rows`."""

EXCESS_COLUMNS = {
    "key": "string",
    "taken_ms": "float",
    "budget_ms": "float",
    "job": "string",
    "repo": "string",
}
"""The type of each column of `excess_rows`."""


def figures(batch: Batch, seconds: float) -> dict[str, int | float]:
    """Return the figures of a run that took `seconds`, to be plotted: few, what matters first.

    Plots are drawn in the order of their names, so the first have numbers; the phases follow. What
    there is not, as times where no job is done, is a gap in a plot, and no zero.
    """
    waits, results = _waits(batch), batch.results
    failed = sum(item.outcome is Outcome.FAILED for item in batch.items)
    found: dict[str, int | float | None] = {
        "1 wait_seconds_max": waits[-1] if waits else None,
        "2 elapsed_ms_p50": _percentile(results, "elapsed_ms", 50),
        "3 elapsed_ms_p95": _percentile(results, "elapsed_ms", 95),
        "4 jobs_failed": failed,
        "5 mb_per_second": _mb_per_second(results, seconds),
        **{f"{key}_p50": _percentile(results, key, 50) for key in TIMINGS},
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def figure_rows(batch: Batch) -> list[Row]:
    """Return a row for every figure of a run: how many jobs fared how, and what those took and did.

    Times and counts are of the jobs that are done, each its own.
    """
    outcomes = Counter(item.outcome for item in batch.items)
    rows = [
        _figure_row("jobs", total=len(batch.items)),
        *(_figure_row(f"jobs_{name}", total=outcomes[of]) for name, of in _OUTCOMES.items()),
    ]
    if waits := _waits(batch):
        rows.append(_figure_row("wait_seconds", waits))
    for key in _SUMMED if batch.results else ():
        values = sorted(result[key] for result in batch.results)
        rows.append(_figure_row(key, values, total=round(sum(values), _DECIMALS)))
    return rows


def _figure_row(name: str, values: Sequence[float] = (), *, total: float | None = None) -> Row:
    return {
        "figure": name,
        "total": total,
        "p50": percentile(values, 50) if values else None,
        "p95": percentile(values, 95) if values else None,
        "max": values[-1] if values else None,
    }


def _percentile(results: Sequence[Result], key: BudgetKey, percent: int) -> float | None:
    return percentile(sorted(result[key] for result in results), percent) if results else None


def _mb_per_second(results: Sequence[Result], seconds: float) -> float | None:
    if not results or not seconds:
        return None
    mpack_bytes = sum(result["mpack_size_bytes"] for result in results)
    return round(mpack_bytes / 1e6 / seconds, _DECIMALS)


def has_ended_a_job(batch: Batch) -> bool:
    """Tell whether a run did what it is for: a job is done, or has failed for good."""
    return any(item.outcome in {Outcome.DONE, Outcome.FAILED} for item in batch.items)


def written(batch: Batch) -> Counter[str]:
    """Return how many rows a run wrote, of all its jobs, by their counts; and heads that moved."""
    total = Counter(heads_moved=sum(result["head_moved"] for result in batch.results))
    for item in batch.items:
        total.update(item.counts)
    return total


def backfill_report(batch: Batch) -> Report:
    """Return what came of a batch that was indexed again."""
    codes = [(item.outcome, str(item.error.code)) for item in batch.items if item.error]
    return Report.of(
        batch.results,
        failed=(code for outcome, code in codes if outcome is Outcome.FAILED),
        kept=(code for outcome, code in codes if outcome in {Outcome.KEPT, Outcome.LOST}),
    )


def longest_wait(batch: Batch) -> float:
    """Return for how many seconds the oldest of the jobs had waited that no run had before."""
    return max([0.0, *_waits(batch)])


def _waits(batch: Batch) -> list[float]:
    """Return the waits of jobs that no run had before; a clock ahead of us makes no debt."""
    claims = (item.claim for item in batch.items)
    seconds = (max(0.0, claim.queued_seconds) for claim in claims if claim.attempt == 1)
    return sorted(round(wait, _DECIMALS) for wait in seconds)


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that `percent` of the sorted `values` do not exceed: that of a real job."""
    return values[max(ceil(len(values) * percent / 100), 1) - 1]


def job_rows(batch: Batch) -> list[Row]:
    """Return a row for each job: what did not go well first, then the slowest first."""
    results = {result["job_id"]: result for result in batch.results}
    rows = [_row(item, results.get(item.claim.job_id)) for item in batch.items]
    return sorted(rows, key=_weight)


def _row(item: Item, result: Result | None) -> Row:
    times = cast("Mapping[str, float]", item.timings if result is None else result)
    outcome, reason = str(item.outcome), ""
    if item.error is not None:
        outcome = f"{outcome} {item.error.code}"
        reason = one_line(item.error.message, longest=_REASON_CHARACTERS)
    return {
        **_names(item.claim),
        "outcome": outcome,
        "reason": reason,
        "mpack_bytes": item.size_bytes,
        **{key: round(times[key], _DECIMALS) if key in times else None for key in BUDGET_KEYS},
    }


def _weight(row: Row) -> tuple[bool, float]:
    elapsed = row["elapsed_ms"]
    return elapsed is not None, -float(elapsed or 0)


def excess_rows(batch: Batch) -> list[Row]:
    """Return a row for each of the worst times over their budgets."""
    claims = {item.claim.job_id: item.claim for item in batch.items}
    return [
        {
            "key": excess.key,
            "taken_ms": excess.taken,
            "budget_ms": excess.budget,
            **_names(claims[excess.job_id]),
        }
        for excess in batch.excesses[:_MAX_EXCESSES]
    ]


def _names(claim: Claim) -> dict[str, str]:
    """Return how people call a job and its repo; whole ids are in the job table and the log."""
    return {
        "job": one_line(ids.short(claim.job_id), longest=_NAME_CHARACTERS),
        "repo": one_line(claim.repo_name, longest=_NAME_CHARACTERS),
    }
