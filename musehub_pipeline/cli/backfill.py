"""`backfill`: index again what was pushed long ago, day after day, in this process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import (
    EXIT_NOT_OK,
    duration,
    err,
    print_json,
    print_pairs,
    print_rows,
)
from musehub_pipeline.cli.discover import discover
from musehub_pipeline.cli.options import (
    CodesOption,
    EndedBeforeOption,
    FirstDay,
    JsonFlag,
    LastDay,
    Limit,
    RepoFilter,
    SelectOption,
)
from musehub_pipeline.cli.progress import jobs_bar, shown_log
from musehub_pipeline.domain.backfill import (
    Pace,
    Report,
    Select,
    Selection,
    estimate,
    given_up_line,
)
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.phases.services import open_archive, open_database
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.reindex import PastDay, Standing
from musehub_pipeline.settings import Settings

_SHOWN = ("ended", "current", "failed", "given_up", "jobs", "mpack_bytes")
_FIGURES = (*_SHOWN, "unmeasured")

app = typer.Typer(no_args_is_help=True, help="Index again what was pushed long ago.")


@app.command()
def plan(
    first: FirstDay = None,
    last: LastDay = None,
    repo: RepoFilter = None,
    select: SelectOption = Select.OUTDATED,
    codes: CodesOption = None,
    ended_before: EndedBeforeOption = None,
    limit: Limit = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show what `backfill run` with the same options would index again; nothing is changed.

    Each day of pushes that has work is a row. It counts the jobs that have ended, and of these the
    current ones, the failed ones, and those that are given up, because MUSEHUB_MAX_KILLS runs have
    died over each. Then it counts the jobs that would be indexed, and the bytes of their mpacks, as
    far as these were ever read. Jobs of deleted repositories are left out. --json prints all days
    with ended jobs, also those with nothing to do.

    The time is estimated from the newest 1,000 jobs that are done; without any it is unknown. It
    takes further time to start a run for each day, and to wait for live pushes.
    """
    settings = local.resolve(Settings.load())
    with open_database(settings) as database:
        archive = open_archive(database, settings)
        selection = _selection_of(
            database,
            settings,
            first=first,
            last=last,
            repo=repo,
            select=select,
            codes=codes,
            ended_before=ended_before,
        )
        days, pace = archive.days(selection), archive.pace()
    total = {name: sum(day[name] for day in days) for name in _FIGURES}
    if as_json:
        print_json(_summary(selection, days, total, pace))
    else:
        _show([day for day in days if day["jobs"]], total, pace, limit)


def _summary(
    selection: Selection, days: Sequence[PastDay], total: Mapping[str, int], pace: Pace | None
) -> dict[str, Any]:
    return {
        "select": selection.select,
        "codes": selection.codes,
        "repo_id": selection.repo_id,
        "since": selection.since,
        "before": selection.before,
        "ended_before": selection.ended_before,
        "days": [{"day": _day_of(day)} | {name: day[name] for name in _FIGURES} for day in days],
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
        ((_day_of(day), *(f"{day[name]:,}" for name in _SHOWN)) for day in work[:limit]),
    )
    if len(work) > limit:
        err.print(f"… and {len(work) - limit:,} more days")
    seconds = estimate(pace, jobs=total["jobs"], mpack_bytes=total["mpack_bytes"])
    err.print(
        f"{total['jobs']:,} of {total['ended']:,} jobs on {len(work):,} days are to be indexed"
        f" again: {total['mpack_bytes']:,} bytes{_unmeasured(total['unmeasured'])}"
    )
    err.print(f"estimated time: {_estimate_text(pace, seconds)}")


@dataclass
class Backfill:
    """What there is to do, and what has come of the runs that have ended."""

    days: int
    planned: int
    given_up: int
    run_ids: list[str] = field(default_factory=list)
    report: Report = field(default_factory=Report)

    @property
    def all_indexed(self) -> bool:
        """Whether no job failed again, and none stayed as it was."""
        return not (self.report.failed or self.report.kept or self.given_up)

    def as_dict(self) -> dict[str, Any]:
        """Return it flat, JSON-ready."""
        return {
            "days": self.days,
            "planned": self.planned,
            "given_up": self.given_up,
            "run_ids": self.run_ids,
            **self.report.as_dict(),
        }


@app.command()
def run(
    first: FirstDay = None,
    last: LastDay = None,
    repo: RepoFilter = None,
    select: SelectOption = Select.OUTDATED,
    codes: CodesOption = None,
    ended_before: EndedBeforeOption = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help=f"Exit with {EXIT_NOT_OK} if a job failed again, stayed as it was, or is"
            " given up.",
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Index again what was pushed on some days, here, through the Dagster job `backfill_mpacks`.

    There is one run for each day that has work, the oldest first. Dagster's UI shows it, and marks
    the day's partition. Live pushes go first. A job that was done stays done, and keeps its old
    result if it cannot be indexed again. A failed job that is refused again gets the new reason.

    Ctrl-C or SIGTERM stops it. What is indexed by then stays so, the rest is as it was, and the
    results of the finished days are printed. The same command goes on from there. With --status
    failed or all, also give the --ended-before that was printed at the start; else it tries again
    what it has tried already.
    """
    settings = local.resolve(Settings.load())
    with open_database(settings) as database:
        selection = _selection_of(
            database,
            settings,
            first=first,
            last=last,
            repo=repo,
            select=select,
            codes=codes,
            ended_before=ended_before,
        )
        days = open_archive(database, settings).days(selection)
    work = [day for day in days if day["jobs"]]
    if work and select is not Select.OUTDATED and selection.ended_before is not None:
        err.print(f"to resume after a stop: --ended-before {selection.ended_before.isoformat()}")
    backfill = Backfill(
        days=len(work),
        planned=sum(day["jobs"] for day in work),
        given_up=sum(day["given_up"] for day in days),
    )
    try:
        if work:
            _index_again(settings, selection, work, backfill)
    finally:  # also where it is stopped, or breaks off
        _tell(backfill, as_json=as_json)
    if strict and not backfill.all_indexed:
        raise typer.Exit(EXIT_NOT_OK)


def _index_again(
    settings: Settings, selection: Selection, days: Sequence[PastDay], backfill: Backfill
) -> None:
    from musehub_pipeline.orchestration.in_process import BackfillRunner
    from musehub_pipeline.orchestration.instance import dagster_instance, use_dagster_home

    use_dagster_home(settings)
    with (
        dagster_instance() as instance,
        jobs_bar(backfill.planned) as (show_phase, advance),
        shown_log(on_phase=show_phase, on_job=advance),
    ):
        runner = BackfillRunner(instance)
        for day in days:
            run_id, report = runner.run(_day_of(day), selection)
            backfill.run_ids.append(run_id)
            backfill.report += report


def _tell(backfill: Backfill, *, as_json: bool) -> None:
    if as_json:
        print_json(backfill.as_dict())
    elif backfill.days:
        print_pairs(backfill.as_dict() | {"run_ids": len(backfill.run_ids)}, title="backfill")
    else:
        err.print("there is nothing to index again")
    if backfill.given_up:
        err.print(given_up_line(backfill.given_up))


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Show how far backfills have got: how many jobs are current, outdated and failed.

    A job is given up when MUSEHUB_MAX_KILLS runs have died over it; raise that to try again. Leased
    jobs are being indexed again at this moment, from here or from the UI. Jobs of deleted
    repositories are left out. Jobs pushed before MUSEHUB_BACKFILL_START are counted separately,
    since no backfill takes them. The remaining time is that of the outdated jobs, estimated as by
    `backfill plan`.
    """
    settings = local.resolve(Settings.load())
    with open_database(settings) as database:
        archive = open_archive(database, settings)
        standing = archive.standing(since=_midnight(settings.backfill_start))
        pace = archive.pace()
    seconds = estimate(pace, jobs=standing["outdated"], mpack_bytes=standing["outdated_bytes"])
    if as_json:
        print_json(standing | {"pace": pace and pace.as_dict(), "estimated_seconds": seconds})
    else:
        print_pairs(_standing(standing) | {"remaining time": _estimate_text(pace, seconds)})


def _standing(standing: Standing) -> dict[str, object]:
    failed = standing["failed"]
    by_code = ", ".join(f"{code} {jobs:,}" for code, jobs in failed.items())
    return {
        "at": standing["at"],
        "current": f"{standing['current']:,}",
        "outdated": f"{standing['outdated']:,}, {standing['outdated_bytes']:,} bytes",
        "failed": f"{sum(failed.values()):,}: {by_code}" if failed else "0",
        "given up": given_up_line(standing["given_up"]) if standing["given_up"] else "0",
        "before MUSEHUB_BACKFILL_START": f"{standing['before']:,}",
        "leased now": f"{standing['leased']:,} by {standing['runs']:,} runs",
    }


def _day_of(row: PastDay) -> date:
    """Return the day that a row of `Archive.days` is about."""
    return row["day"].astimezone(UTC).date()


def _estimate_text(pace: Pace | None, seconds: float | None) -> str:
    """Return an estimate as people read it, with what it was estimated from."""
    if pace is None:
        return "unknown: no job that is done was timed"
    rates = pace.as_dict()
    return (
        f"{duration(seconds)}, at {rates['jobs_per_second']:,.1f} jobs"
        f" or {rates['bytes_per_second']:,.0f} bytes per second (jobs measured: {pace.jobs:,})"
    )


def _selection_of(
    database: Database,
    settings: Settings,
    *,
    first: date | None,
    last: date | None,
    repo: str | None,
    select: Select,
    codes: list[str] | None,
    ended_before: datetime | None,
) -> Selection:
    """Return the selection that the options make.

    Raises:
        typer.BadParameter: two of them do not go together, or no such day has a partition.
        RepoNotFound: no repo is called so.
        Transient: DATABASE_UNAVAILABLE.
    """
    if codes and select is not Select.FAILED:
        raise typer.BadParameter(
            f"--code {', '.join(codes)} goes with --status failed, not with {select}"
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
    return Selection(
        since=_midnight(first),
        before=_midnight(last) + timedelta(days=1),
        select=select,
        codes=tuple(codes or ()),
        repo_id=Repos(database).id_of(repo),
        ended_before=ended_before or database.now(),
    )


def _midnight(day: date) -> datetime:
    """Return when a day begins, in UTC."""
    return datetime.combine(day, time(), UTC)


app.command()(discover)
