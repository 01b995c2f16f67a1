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


JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
RepoFilter = Annotated[str | None, repo_option("Only jobs of this repository.")]
Limit = Annotated[int, typer.Option(min=1, max=_MOST_LISTED, help="List at most this many.")]
CodeFilter = Annotated[
    str | None,
    typer.Option(
        "--code",
        help="Only jobs with this reason code, as in docs/reasons.md.",
        metavar="REASON",
        parser=parse_code,
    ),
]
OlderThanFilter = Annotated[
    timedelta | None,
    typer.Option(
        "--older-than",
        help="Only jobs created longer ago than this: 90s, 15m, 2h, 3d.",
        metavar="AGE",
        parser=parse_age,
    ),
]
NewerThanFilter = Annotated[
    timedelta | None,
    typer.Option(
        "--newer-than",
        help="Only jobs created more recently than this: 90s, 15m, 2h, 3d.",
        metavar="AGE",
        parser=parse_age,
    ),
]
FirstDay = Annotated[
    date | None,
    typer.Option(
        "--from",
        help="The first day of pushes, in UTC.",
        metavar="DAY",
        parser=parse_day,
        show_default="MUSEHUB_BACKFILL_START",
    ),
]
LastDay = Annotated[
    date | None,
    typer.Option(
        "--to",
        help="The last day of pushes, inclusive.",
        metavar="DAY",
        parser=parse_day,
        show_default="today",
    ),
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
    typer.Option(
        "--code",
        help="With --status failed: only jobs with this reason code, as in docs/reasons.md;"
        " may be repeated.",
        metavar="REASON",
        parser=parse_code,
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
