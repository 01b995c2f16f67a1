"""`backfill plan`: what a backfill would do, without doing any of it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date
from typing import Any

from musehub_pipeline import local
from musehub_pipeline.cli.choice import (
    CodesOption,
    EndedBeforeOption,
    FirstDay,
    LastDay,
    SelectionOption,
    choose,
)
from musehub_pipeline.cli.console import JsonFlag, duration, err, print_json, print_rows
from musehub_pipeline.cli.filters import Limit, RepoFilter
from musehub_pipeline.domain.backfill import Choice, Pace, Selection, estimate, given_up_line
from musehub_pipeline.phases.services import open_archive, open_database
from musehub_pipeline.queue.reindex import PastDay
from musehub_pipeline.settings import Settings

_SHOWN = ("ended", "current", "failed", "given_up", "jobs", "mpack_bytes")
_FIGURES = (*_SHOWN, "unmeasured")


def plan(
    first: FirstDay = None,
    last: LastDay = None,
    repo: RepoFilter = None,
    selection: SelectionOption = Selection.OUTDATED,
    codes: CodesOption = None,
    ended_before: EndedBeforeOption = None,
    limit: Limit = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show what `backfill run` with the same options would index again; nothing is changed.

    For each day of pushes that has work: how many jobs have ended, how many of these are current,
    how many have failed, how many are given up since MUSEHUB_MAX_KILLS runs have died over each,
    how many would be indexed, and the bytes of their mpacks, as far as these were ever read. Jobs
    of deleted repositories are left out. With --json, all days that have such jobs are printed.

    The time is estimated from the newest 1,000 jobs that are done, and unknown where none is. The
    time it takes to start a run for each day, and to wait for live pushes, comes on top.
    """
    settings = local.resolve(Settings.load())
    with open_database(settings) as database:
        archive = open_archive(database, settings)
        choice = choose(
            database,
            settings,
            first=first,
            last=last,
            repo=repo,
            selection=selection,
            codes=codes,
            ended_before=ended_before,
        )
        days, pace = archive.days(choice), archive.pace()
    total = {name: sum(day[name] for day in days) for name in _FIGURES}
    if as_json:
        print_json(_summary(choice, days, total, pace))
    else:
        _show([day for day in days if day["jobs"]], total, pace, limit)


def day_of(row: PastDay) -> date:
    """Return the day that a row of `Archive.days` is about."""
    return row["day"].astimezone(UTC).date()


def estimate_text(pace: Pace | None, seconds: float | None) -> str:
    """Return an estimate as people read it, with what it was estimated from."""
    if pace is None:
        return "unknown: no job that is done was timed"
    rates = pace.as_dict()
    return (
        f"{duration(seconds)}, at {rates['jobs_per_second']:,.1f} jobs"
        f" or {rates['bytes_per_second']:,.0f} bytes per second (jobs measured: {pace.jobs:,})"
    )


def _summary(
    choice: Choice, days: Sequence[PastDay], total: Mapping[str, int], pace: Pace | None
) -> dict[str, Any]:
    return {
        "select": choice.selection,
        "codes": choice.codes,
        "repo_id": choice.repo_id,
        "since": choice.since,
        "before": choice.before,
        "ended_before": choice.ended_before,
        "days": [{"day": day_of(day)} | {name: day[name] for name in _FIGURES} for day in days],
        "total": {"days": sum(day["jobs"] > 0 for day in days), **total},
        "pace": pace and pace.as_dict(),
        "estimated_seconds": estimate(pace, jobs=total["jobs"], mpack_bytes=total["mpack_bytes"]),
    }


def _unmeasured(jobs: int) -> str:
    return f", and the mpacks of {jobs:,} of them, which were never read" if jobs else ""


def _show(work: Sequence[PastDay], total: Mapping[str, int], pace: Pace | None, limit: int) -> None:
    if total["given_up"]:
        err.print(given_up_line(total["given_up"]))
    if not work:
        err.print(
            f"there is nothing to index again: {total['ended']:,} jobs have ended,"
            f" {total['current']:,} of them are current"
        )
        return
    print_rows(
        ("day", "ended", "current", "failed", "given up", "to index", "bytes"),
        ((day_of(day), *(f"{day[name]:,}" for name in _SHOWN)) for day in work[:limit]),
    )
    if len(work) > limit:
        err.print(f"… and {len(work) - limit:,} more days")
    seconds = estimate(pace, jobs=total["jobs"], mpack_bytes=total["mpack_bytes"])
    err.print(
        f"{total['jobs']:,} of {total['ended']:,} jobs on {len(work):,} days are to be indexed"
        f" again: {total['mpack_bytes']:,} bytes{_unmeasured(total['unmeasured'])}"
    )
    err.print(f"estimated time: {estimate_text(pace, seconds)}")
