"""What a benchmark finds: figures, each beside something bare that was measured in the same run."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from musehub_pipeline.phases.report import percentile

MIB = 1 << 20

Outcome = TypeVar("Outcome")


class Pair(NamedTuple, Generic[Outcome]):
    """One run: what came of the pipeline, and what of the bare limit."""

    measured: Outcome
    bare: Outcome


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of the table.

    `ratio` is what `limit` bounds, from `bound` on; without a limit the figure is for information.
    """

    name: str
    what: str
    unit: str
    measured: float
    bare: float
    ratio: float
    limit: float | None
    bound: Literal["at least", "at most"]
    runs: Sequence[Pair[float]]
    note: str = ""
    # What `ratio` is: as its name says, a difference in `unit`, or what was measured itself.
    shows: Literal["ratio", "excess", "amount"] = "ratio"

    @property
    def ok(self) -> bool:
        """Whether the limit is kept."""
        if self.limit is None:
            return True
        return self.ratio >= self.limit if self.bound == "at least" else self.ratio <= self.limit

    @property
    def limit_text(self) -> str:
        """The limit, as people read it."""
        if self.limit is None:
            return ""
        return f"{'>=' if self.bound == 'at least' else '<='} {self.limit:g}"

    def as_dict(self) -> dict[str, Any]:
        """Return the figure for JSON."""
        return {
            "name": self.name,
            "what": self.what,
            "measured": self.measured,
            "unit": self.unit,
            "bare": self.bare,
            "ratio": self.ratio,
            "bound": self.bound,
            "limit": self.limit,
            "ok": self.ok,
            "runs": [pair._asdict() for pair in self.runs],
            "note": self.note,
        }


def speed(
    name: str, what: str, pairs: Sequence[Pair[float]], *, limit: float | None, note: str = ""
) -> Figure:
    """Return how fast the pipeline is, as a multiple of the bare limit; pairs are in seconds.

    The ratio is the median of the ratios of the runs, not that of the medians: what slows the
    machine down for a while slows both sides of a run.
    """
    ratios = [pair.bare / pair.measured for pair in pairs]
    return _figure(name, what, pairs, ratios, "at least", limit=limit, note=note)


def growth(
    name: str, what: str, pairs: Sequence[Pair[float]], *, limit: float | None, note: str = ""
) -> Figure:
    """Return how many times as long the pipeline takes; pairs are in seconds."""
    ratios = [pair.measured / pair.bare for pair in pairs]
    return _figure(name, what, pairs, ratios, "at most", limit=limit, note=note)


def excess(
    name: str,
    what: str,
    pairs: Sequence[Pair[float]],
    *,
    unit: str,
    limit: float | None,
    note: str = "",
) -> Figure:
    """Return by how many units the pipeline is above the bare figure."""
    ratios = [pair.measured - pair.bare for pair in pairs]
    figure = _figure(name, what, pairs, ratios, "at most", limit=limit, note=note)
    return replace(figure, unit=unit, shows="excess")


def amount(
    name: str,
    what: str,
    pairs: Sequence[Pair[float]],
    *,
    unit: str,
    bound: Literal["at least", "at most"] = "at most",
    limit: float | None,
    percent: int = 50,
    note: str = "",
) -> Figure:
    """Return what was measured itself, for a limit that is stated so; a percentile of the runs."""
    measured = percentile(sorted(pair.measured for pair in pairs), percent)
    bare = percentile(sorted(pair.bare for pair in pairs), percent)
    figure = _figure(name, what, pairs, [measured], bound, limit=limit, note=note)
    return replace(figure, measured=measured, bare=bare, unit=unit, shows="amount")


def share(
    name: str, what: str, pairs: Sequence[Pair[float]], *, unit: str, of: float, note: str = ""
) -> Figure:
    """Return how much of what there may be is used up, at the most all of it."""
    ratios = [pair.measured / of for pair in pairs]
    figure = _figure(name, what, pairs, ratios, "at most", limit=1, note=note)
    return replace(figure, unit=unit)


def _figure(
    name: str,
    what: str,
    pairs: Sequence[Pair[float]],
    ratios: Sequence[float],
    bound: Literal["at least", "at most"],
    *,
    limit: float | None,
    note: str,
) -> Figure:
    return Figure(
        name=name,
        what=what,
        unit="s",
        measured=median(pair.measured for pair in pairs),
        bare=median(pair.bare for pair in pairs),
        ratio=median(ratios),
        limit=limit,
        bound=bound,
        runs=tuple(pairs),
        note=note,
    )


def interleave(
    ours: Callable[[], Outcome], bare: Callable[[], Outcome], *, runs: int, warm_up: bool = True
) -> list[Pair[Outcome]]:
    """Measure both in turn, each first every other time; the first pair may only warm up."""
    pairs: list[Pair[Outcome]] = []
    for run in range(runs + warm_up):
        if run % 2:
            second = bare()
            first = ours()
        else:
            first = ours()
            second = bare()
        pairs.append(Pair(first, second))
    return pairs[int(warm_up) :]


def seconds(work: Callable[[], object]) -> float:
    """Return how long a call takes; garbage of what came before is not its business."""
    gc.collect()
    started = perf_counter()
    work()
    return perf_counter() - started
