"""`backfill run`: index again, day after day, in this process."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from musehub_pipeline import local
from musehub_pipeline.cli.backfill_plan import day_of
from musehub_pipeline.cli.choice import (
    CodesOption,
    EndedBeforeOption,
    FirstDay,
    LastDay,
    SelectionOption,
    choose,
)
from musehub_pipeline.cli.console import JsonFlag, err, phase_progress, print_json, print_pairs
from musehub_pipeline.cli.filters import RepoFilter
from musehub_pipeline.cli.logs import logs_as_progress
from musehub_pipeline.domain.backfill import Choice, Report, Selection, given_up_line
from musehub_pipeline.phases.services import open_archive, open_database
from musehub_pipeline.queue.reindex import PastDay
from musehub_pipeline.settings import Settings

EXIT_NOT_ALL_INDEXED = 3


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


def run(
    first: FirstDay = None,
    last: LastDay = None,
    repo: RepoFilter = None,
    selection: SelectionOption = Selection.OUTDATED,
    codes: CodesOption = None,
    ended_before: EndedBeforeOption = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help=f"Exit with {EXIT_NOT_ALL_INDEXED} if a job failed again, or stayed as it was.",
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Index again what was pushed on some days, here, through the Dagster job `backfill_mpacks`.

    There is one run for each day that has work, the oldest first: Dagster's UI shows it, and marks
    the day's partition. Live pushes go first. A job that was done stays done, with its old result
    where it cannot be indexed again; one that failed and is at fault gets its new reason.

    Ctrl-C or SIGTERM stops it: what is indexed by then stays so, and the rest is as it was. What
    came of the days that were finished is printed. The same command goes on from there; with
    --status failed or all, give it the --ended-before that was printed at the start, or what was
    tried already is tried again.
    """
    settings = local.resolve(Settings.load())
    with open_database(settings) as database:
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
        days = open_archive(database, settings).days(choice)
    work = [day for day in days if day["jobs"]]
    if work and selection is not Selection.OUTDATED and choice.ended_before is not None:
        err.print(f"to resume after a stop: --ended-before {choice.ended_before.isoformat()}")
    backfill = Backfill(
        days=len(work),
        planned=sum(day["jobs"] for day in work),
        given_up=sum(day["given_up"] for day in days),
    )
    try:
        if work:
            _index_again(settings, choice, work, backfill)
    finally:  # also where it is stopped, or breaks off
        _tell(backfill, as_json=as_json)
    if strict and not backfill.all_indexed:
        raise typer.Exit(EXIT_NOT_ALL_INDEXED)


def _index_again(
    settings: Settings, choice: Choice, days: Sequence[PastDay], backfill: Backfill
) -> None:
    from musehub_pipeline.orchestration.home import use_dagster_home
    from musehub_pipeline.orchestration.in_process import BackfillRunner, dagster_instance

    use_dagster_home(settings)
    with (
        dagster_instance() as instance,
        phase_progress(backfill.planned) as (show_phase, advance),
        logs_as_progress(on_phase=show_phase, on_job=advance),
    ):
        runner = BackfillRunner(instance)
        for day in days:
            run_id, report = runner.run(day_of(day), choice)
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
