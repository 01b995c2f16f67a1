"""What people see of a run: its figures, to be plotted over time, and a row for each job."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from typing import cast

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.backfill import Report
from musehub_pipeline.domain.budgets import BUDGET_KEYS
from musehub_pipeline.domain.escapes import one_line
from musehub_pipeline.domain.job import Claim
from musehub_pipeline.domain.result import COUNTS, Outcome, Result
from musehub_pipeline.phases.batch import Batch, Item

MAX_ROWS = 100
"""Rows of a table: a page that is read, and an event that stays small, whatever the batch."""

_DECIMALS = 3
_MAX_EXCESSES = 10
_NAME_CHARACTERS = 80
_REASON_CHARACTERS = 200

Row = dict[str, str | int | float | None]

JOB_COLUMNS = {
    "job": "string",
    "repo": "string",
    "outcome": "string",
    "reason": "string",
    "mpack_bytes": "int",
    **dict.fromkeys(BUDGET_KEYS, "float"),
}
"""The type of each column of `job_rows`."""

EXCESS_COLUMNS = {
    "key": "string",
    "taken_ms": "float",
    "budget_ms": "float",
    "job": "string",
    "repo": "string",
}
"""The type of each column of `excess_rows`."""


def figures(batch: Batch, seconds: float) -> dict[str, int | float]:
    """Return the figures of a run that took `seconds`: of its done jobs, and how many fared how.

    Where no job is done there are no times: a gap in a plot, and no zero.
    """
    outcomes = Counter(item.outcome for item in batch.items)
    mpack_bytes = sum(result["mpack_size_bytes"] for result in batch.results)
    return {
        "jobs": len(batch.items),
        "jobs_done": outcomes[Outcome.DONE],
        "jobs_failed": outcomes[Outcome.FAILED],
        "jobs_put_back": outcomes[Outcome.PUT_BACK],
        "jobs_lost": outcomes[Outcome.LOST],
        "queue_age_seconds": round(_queue_age(batch), _DECIMALS),
        "mpack_bytes": mpack_bytes,
        "mb_per_second": round(mpack_bytes / 1e6 / seconds, _DECIMALS) if seconds else 0.0,
        **{name: sum(result[name] for result in batch.results) for name in COUNTS},
        **_times(batch.results),
    }


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


def _queue_age(batch: Batch) -> float:
    """Return for how many seconds the oldest job had waited; a clock ahead of us makes no debt."""
    return max([0.0, *(item.claim.queued_seconds for item in batch.items)])


def longest_wait(batch: Batch) -> float:
    """Return for how many seconds the oldest of the jobs had waited that no run had before."""
    return max([0.0, *(i.claim.queued_seconds for i in batch.items if i.claim.attempt == 1)])


def _times(results: Sequence[Result]) -> dict[str, float]:
    times: dict[str, float] = {}
    for key in BUDGET_KEYS if results else ():
        values = sorted(result[key] for result in results)
        times[f"{key}_p50"] = percentile(values, 50)
        times[f"{key}_p95"] = percentile(values, 95)
        times[f"{key}_max"] = values[-1]
    return times


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
