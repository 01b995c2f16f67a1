"""A timeline: when the attempts of a job were, and how long it waited in between."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil

from musehub_pipeline.cli.console import cell, milliseconds, print_rows
from musehub_pipeline.domain.attempt import Attempt
from musehub_pipeline.domain.escapes import one_line

_CELLS = 18  # with which a line has no more than 100 characters
_OUTCOME_CHARACTERS = 20
_NUMBER_CHARACTERS = 6
_MILLISECOND = timedelta(milliseconds=1)


def print_timeline(attempts: Sequence[Attempt]) -> None:
    """Print a line for each attempt, with a bar where it was on the way from first to last."""
    moments = [time for each in attempts for time in _moments(each)]
    axis = (min(moments), max(moments)) if moments else None
    print_rows(
        ("try", "outcome", "began", "waited", "took", "· waits █ works"),
        (
            (
                one_line(cell(each.number), longest=_NUMBER_CHARACTERS),
                one_line(cell(each.outcome), longest=_OUTCOME_CHARACTERS),
                each.began and _local(each.began, "%m-%d %H:%M:%S"),
                _span(each.waited),
                _span(each.took),
                _bar(each, *axis) if axis else "",
            )
            for each in attempts
        ),
        title=f"timeline{_heading(*axis) if axis else ''}",
    )


def _heading(first: datetime, last: datetime) -> str:
    ends = [_local(time, "%Y-%m-%d %H:%M:%S") for time in (first, last)]
    return f" from {' to '.join(ends)}, {_span(last - first)}"


def _local(time: datetime, form: str) -> str:
    return time.astimezone().strftime(form)


def _moments(attempt: Attempt) -> list[datetime]:
    due = None if attempt.waited is None else attempt.due
    return [time for time in (due, attempt.began, attempt.ended) if time is not None]


def _bar(attempt: Attempt, first: datetime, last: datetime) -> str:
    """Return dots where the job waited, and blocks where it was worked on: one at the least."""
    moments = _moments(attempt)
    if not moments:
        return ""
    span = (last - first) or _MILLISECOND

    def cells(time: datetime) -> float:
        return _CELLS * ((time - first) / span)

    due = min(int(cells(moments[0])), _CELLS - 1)
    began = min(int(cells(attempt.began or moments[0])), _CELLS - 1)
    ended = max(ceil(cells(moments[-1])), began + 1)
    return " " * due + "·" * (began - due) + "█" * (ended - began)


def _span(time: timedelta | None) -> str | None:
    if time is None:
        return None
    if time.days:
        return f"{time.days}d {timedelta(seconds=time.seconds)}"
    return milliseconds(time / _MILLISECOND)
