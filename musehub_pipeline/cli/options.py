"""Options that several commands have, most of them to narrow down which jobs one is about."""

import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import typer

from musehub_pipeline.domain import errors
from musehub_pipeline.domain.backfill import Select
from musehub_pipeline.domain.commit import parse_timestamp
from musehub_pipeline.domain.errors import Rejection, RepoNotFound
from musehub_pipeline.index.repos import split_name

_MOST_LISTED = 1_000_000

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGE = re.compile(r"(\d{1,6}(?:\.\d+)?)([smhd])", re.ASCII)


def parse_age(text: str) -> timedelta:
    """Return how long an age such as 90s, 15m, 2h or 3d is."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not an age such as 90s, 15m, 2h or 3d")
    return timedelta(**{_UNITS[found[2]]: float(found[1])})


def parse_repo(text: str) -> str:
    """Return the name of a repository, which is of the form ``owner/slug``."""
    try:
        split_name(text)
    except RepoNotFound as error:
        raise typer.BadParameter(str(error)) from None
    return text


def parse_code(text: str) -> str:
    """Return a reason code, in capitals."""
    try:
        return errors.parse_code(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def parse_day(text: str) -> date:
    """Return the day that a text such as 2026-01-31 names."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date such as 2026-01-31") from None


def parse_moment(text: str) -> datetime:
    """Return the time that an ISO 8601 text with an offset names."""
    try:
        return parse_timestamp(text, where="time")
    except Rejection:
        raise typer.BadParameter(
            f"{text!r} is not a time with an offset, such as 2026-01-31T12:00:00+00:00"
        ) from None


def repo_option(explanation: str) -> Any:
    """Return the option that names a repository."""
    return typer.Option("--repo", "-r", help=explanation, metavar="OWNER/SLUG", parser=parse_repo)


def age_option(name: str, explanation: str, *, default: bool | str = True) -> Any:
    """Return an option that is an age."""
    return typer.Option(
        name,
        help=f"{explanation}: 90s, 15m, 2h, 3d.",
        metavar="AGE",
        parser=parse_age,
        show_default=default,
    )


def _code_option(explanation: str) -> Any:
    return typer.Option("--code", help=explanation, metavar="REASON", parser=parse_code)


def _day_option(name: str, explanation: str, *, default: str) -> Any:
    return typer.Option(
        name, help=explanation, metavar="DAY", parser=parse_day, show_default=default
    )


JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Limit = Annotated[int, typer.Option(min=1, max=_MOST_LISTED, help="List at most this many.")]

RepoFilter = Annotated[str | None, repo_option("Only jobs of this repository.")]
CodeFilter = Annotated[
    str | None, _code_option("Only jobs with this reason code, as in docs/reasons.md.")
]
OlderThanFilter = Annotated[
    timedelta | None, age_option("--older-than", "Only jobs created longer ago than this")
]
NewerThanFilter = Annotated[
    timedelta | None, age_option("--newer-than", "Only jobs created more recently than this")
]

FirstDay = Annotated[
    date | None,
    _day_option("--from", "The first day of pushes, in UTC.", default="MUSEHUB_BACKFILL_START"),
]
LastDay = Annotated[
    date | None, _day_option("--to", "The last day of pushes, inclusive.", default="today")
]
SelectOption = Annotated[
    Select,
    typer.Option(
        "--status",
        help="outdated: done by an older version of the pipeline; failed; all: done or failed.",
    ),
]
CodesOption = Annotated[
    list[str] | None,
    _code_option(
        "With --status failed: only jobs with this reason code, as in docs/reasons.md;"
        " may be repeated."
    ),
]
EndedBeforeOption = Annotated[
    datetime | None,
    typer.Option(
        "--ended-before",
        help="Only jobs that ended before this time, ISO 8601 with an offset: to resume a run that"
        " was stopped.",
        metavar="TIME",
        parser=parse_moment,
        show_default="now",
    ),
]
