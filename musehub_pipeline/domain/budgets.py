"""Budgets: how long a phase may take. A job over one is done all the same, and pointed out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal

from musehub_pipeline.domain.result import TIMINGS, Result, Timing

BudgetKey = Literal[Timing, "elapsed_ms"]

BUDGET_KEYS: tuple[BudgetKey, ...] = (*TIMINGS, "elapsed_ms")
"""The keys of a result that may have a budget."""

Budgets = Mapping[BudgetKey, float]
"""Milliseconds by key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Excess:
    """A time of one job that is over its budget, in milliseconds."""

    job_id: str
    repo_id: str
    key: BudgetKey
    taken: float
    budget: float


def parse_budgets(text: str) -> dict[BudgetKey, float]:
    """Read budgets, as in ``object_puts_ms=5000,elapsed_ms=8000``.

    Raises:
        ValueError: a key is not known, or stands there twice, or its value is no time above 0.
    """
    budgets: dict[BudgetKey, float] = {}
    for part in text.split(",") if text.strip() else ():
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise ValueError(f"{part!r:.80} is not KEY=MILLISECONDS")
        if key not in BUDGET_KEYS:
            known = ", ".join(BUDGET_KEYS)
            raise ValueError(f"{key!r:.80} (given {value!r:.80}) is not one of {known}")
        if key in budgets:
            raise ValueError(f"{key!r} is given twice, the second time as {value!r:.80}")
        budgets[key] = _milliseconds(key, value)
    return budgets


def _milliseconds(key: str, value: str) -> float:
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds < inf:
        raise ValueError(f"{key!r} is {value!r:.80}, not a number of milliseconds above 0")
    return milliseconds


def over_budget(results: Iterable[Result], budgets: Budgets) -> tuple[Excess, ...]:
    """Return every time that is over its budget, by the greatest factor first."""
    excesses = (
        Excess(
            job_id=result["job_id"],
            repo_id=result["repo_id"],
            key=key,
            taken=result[key],
            budget=budget,
        )
        for result in results
        for key, budget in budgets.items()
        if result[key] > budget
    )
    return tuple(sorted(excesses, key=lambda excess: excess.taken / excess.budget, reverse=True))
