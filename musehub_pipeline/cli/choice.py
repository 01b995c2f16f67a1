"""Options that say what a backfill takes: `backfill plan` and `backfill run` have the same."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

import typer

from musehub_pipeline.cli.filters import parse_code
from musehub_pipeline.domain.backfill import Choice, Selection
from musehub_pipeline.domain.commit import parse_timestamp
from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.settings import Settings


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
SelectionOption = Annotated[
    Selection,
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


def choose(
    database: Database,
    settings: Settings,
    *,
    first: date | None,
    last: date | None,
    repo: str | None,
    selection: Selection,
    codes: list[str] | None,
    ended_before: datetime | None,
) -> Choice:
    """Return the choice that the options make.

    Raises:
        typer.BadParameter: two of them do not go together, or no such day has a partition.
        RepoNotFound: no repo is called so.
        Transient: DATABASE_UNAVAILABLE.
    """
    if codes and selection is not Selection.FAILED:
        raise typer.BadParameter(
            f"--code {', '.join(codes)} goes with --status failed, not with {selection}"
        )
    start = settings.backfill_start
    today = datetime.now(UTC).date()  # by this machine, as Dagster's partitions
    if start > today:
        raise typer.BadParameter(f"MUSEHUB_BACKFILL_START, {start}, is after today, {today} in UTC")
    for option, day in (("--from", first), ("--to", last)):
        if day is not None and day < start:
            raise typer.BadParameter(f"{option} {day} is before MUSEHUB_BACKFILL_START, {start}")
        if day is not None and day > today:
            raise typer.BadParameter(f"{option} {day} is after today, {today} in UTC")
    first, last = first or start, last or today
    if last < first:
        raise typer.BadParameter(f"--to {last} is before --from {first}")
    return Choice(
        since=midnight(first),
        before=midnight(last) + timedelta(days=1),
        selection=selection,
        codes=tuple(codes or ()),
        repo_id=Repos(database).find(repo).repo_id if repo else None,
        ended_before=ended_before or database.now(),
    )


def midnight(day: date) -> datetime:
    """Return when a day begins, in UTC."""
    return datetime.combine(day, time(), UTC)
