"""Options that narrow down which jobs a command is about."""

import re
from datetime import timedelta
from typing import Annotated, Any

import typer

from musehub_pipeline.domain import errors
from musehub_pipeline.domain.errors import RepoNotFound
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


def repo_option(explanation: str) -> Any:
    """Return the option that names a repository."""
    return typer.Option("--repo", "-r", help=explanation, metavar="OWNER/SLUG", parser=parse_repo)


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
