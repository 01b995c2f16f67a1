"""`jobs`: look at the queue, and put right what is in it."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated

import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import (
    EXIT_NOT_OK,
    age,
    cell,
    err,
    milliseconds,
    out,
    print_json,
    print_rows,
    repo_name,
)
from musehub_pipeline.cli.options import (
    CodeFilter,
    JsonFlag,
    Limit,
    NewerThanFilter,
    OlderThanFilter,
    RepoFilter,
    repo_option,
)
from musehub_pipeline.cli.show import show_job
from musehub_pipeline.domain import ids
from musehub_pipeline.domain.errors import JobNotFound
from musehub_pipeline.domain.escapes import one_line
from musehub_pipeline.domain.job import Status
from musehub_pipeline.index.repos import Repos
from musehub_pipeline.phases.services import open_database
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.jobs import Filters, Jobs, ListedJob, Sort
from musehub_pipeline.queue.pauses import Pause, Pauses
from musehub_pipeline.settings import Settings

_REPOSITORY_CHARACTERS = 24

PausedRepo = Annotated[str | None, repo_option("The repository; without it, the whole queue.")]

app = typer.Typer(
    no_args_is_help=True, help="Look at the queue; retry and cancel jobs; pause and resume it."
)


@app.command("list")
def list_jobs(
    status: Annotated[Status | None, typer.Option(help="Only jobs in this state.")] = None,
    repo: RepoFilter = None,
    code: CodeFilter = None,
    older_than: OlderThanFilter = None,
    newer_than: NewerThanFilter = None,
    sort: Annotated[
        Sort, typer.Option(help="Newest, longest at work or most attempts first.")
    ] = Sort.CREATED,
    limit: Limit = 20,
    full: Annotated[
        bool, typer.Option("--full", help="Show whole ids, names and times, as in a pipe.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, the newest first; stderr says if there are more than --limit allows.

    On a terminal, ids are shortened and times are shown as ages. Every command accepts a shortened
    id.
    """
    with _open_queue() as (database, jobs):
        rows = jobs.listed(
            status=status,
            sort=sort,
            limit=limit + 1,
            **_filters(database, repo, code, older_than, newer_than),
        )
    if len(rows) > limit:
        rows.pop()
        first = "newest" if sort is Sort.CREATED else "first"
        err.print(f"only the {first} {limit}: --limit shows more")
    if as_json:
        print_json(rows)
    elif full or not out.is_terminal:
        print_rows(
            ("job", "repository", "status", "attempt", "created", "ms", "reason"),
            (
                (
                    row["job_id"],
                    _repository(row),
                    row["status"],
                    row["attempt"],
                    row["created_at"],
                    row["elapsed_ms"],
                    row["error_code"],
                )
                for row in rows
            ),
        )
    else:
        print_rows(
            ("job", "repository", "status", "try", "age", "elapsed", "reason"),
            (
                (
                    ids.short(row["job_id"]),
                    one_line(_repository(row), longest=_REPOSITORY_CHARACTERS),
                    row["status"],
                    row["attempt"],
                    age(row["created_at"]),
                    milliseconds(row["elapsed_ms"]),
                    row["error_code"],
                )
                for row in rows
            ),
        )


def _repository(row: ListedJob) -> str:
    return repo_name(row["owner"], row["slug"], row["repo_id"])


app.command("show")(show_job)


@app.command("retry")
def retry_jobs(
    job_ids: Annotated[
        list[str] | None,
        typer.Argument(help="Failed jobs, or how their ids begin.", show_default="by filter"),
    ] = None,
    repo: RepoFilter = None,
    code: CodeFilter = None,
    older_than: OlderThanFilter = None,
    newer_than: NewerThanFilter = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All failed jobs, whatever their reason.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make failed jobs pending again: those that are named, or all that match the filters.

    A job gets as many attempts as a new one and keeps its history. Within a repository jobs go in
    order of creation, so a retried one goes before those that came after it.

    A named job that has not failed is refused and named on stderr; the exit code is then 3.
    """
    if bool(job_ids) + _are_given(repo, code, older_than, newer_than) + everything != 1:
        raise typer.BadParameter("give either jobs, or filters, or --all")
    with _open_queue() as (database, jobs):
        filters = _filters(database, repo, code, older_than, newer_than)
        job_ids = jobs.named_all(job_ids or ())
        retried = jobs.retry(job_ids or None, **filters)
        refused = _refusals(job_ids or (), retried, jobs)
    _report("retried", retried, refused, as_json=as_json, sentence="pending again")


@app.command("cancel")
def cancel_jobs(
    job_ids: Annotated[
        list[str] | None,
        typer.Argument(help="Pending jobs, or how their ids begin.", show_default="by filter"),
    ] = None,
    repo: RepoFilter = None,
    code: CodeFilter = None,
    older_than: OlderThanFilter = None,
    newer_than: NewerThanFilter = None,
    as_json: JsonFlag = False,
) -> None:
    """End pending jobs as failed: those that are named, or all that match the filters.

    Their reason is CANCELLED. A named job that is not pending is refused and named on stderr; the
    exit code is then 3. To cancel a running job, first terminate its run in Dagster, which gives
    the lease back.
    """
    if bool(job_ids) + _are_given(repo, code, older_than, newer_than) != 1:
        raise typer.BadParameter("give either jobs, or filters")
    with _open_queue() as (database, jobs):
        filters = _filters(database, repo, code, older_than, newer_than)
        job_ids = jobs.named_all(job_ids or ())
        cancelled = jobs.cancel(job_ids or None, **filters)
        refused = _refusals(job_ids or (), cancelled, jobs, advice=_advise_to_terminate)
    _report("cancelled", cancelled, refused, as_json=as_json, sentence="cancelled")


@app.command("pause")
def pause_jobs(
    repo: PausedRepo = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever finds it paused.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Claim no more jobs of a repository, or none at all, until `jobs resume`.

    Pushes wait meanwhile; nothing is lost. Runs finish the jobs that they have, and backfills go
    on. A second pause changes nothing.
    """
    with _open_queue() as (database, _):
        pauses = Pauses(database)
        begun = pauses.begin(Repos(database).id_of(repo), reason=reason)
        _report_pauses(pauses.all(), as_json=as_json)
    if not begun:
        err.print(f"{repo or 'the queue'} was paused already")


@app.command("resume")
def resume_jobs(
    repo: PausedRepo = None,
    everything: Annotated[
        bool, typer.Option("--all", help="End every pause, of repositories that are gone, too.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Claim jobs again: of a repository that was paused, or of the queue.

    Other pauses stay, and are named. The exit code is 3 if it was not paused.
    """
    if repo and everything:
        raise typer.BadParameter("give either --repo or --all", param_hint="--all")
    with _open_queue() as (database, _):
        pauses = Pauses(database)
        ended = pauses.end_all() if everything else pauses.end(Repos(database).id_of(repo))
        _report_pauses(pauses.all(), as_json=as_json)
    if not ended:
        err.print("nothing was paused" if everything else f"{repo or 'the queue'} was not paused")
        raise typer.Exit(EXIT_NOT_OK)


def paused_name(pause: Pause) -> str:
    """Say what is paused, since when, and why."""
    named = repo_name(pause["owner"], pause["slug"], pause["repo_id"] or "the queue")
    why = f": {pause['reason']}" if pause["reason"] else ""
    return f"{named} since {cell(pause['paused_at'])}{why}"


def _report_pauses(pauses: list[Pause], *, as_json: bool) -> None:
    if as_json:
        print_json({"paused": pauses})
        return
    for pause in pauses:
        out.print(f"paused: {paused_name(pause)}; {pause['jobs']} jobs wait")
    if not pauses:
        out.print("nothing is paused")


@contextmanager
def _open_queue() -> Generator[tuple[Database, Jobs]]:
    settings = local.resolve(Settings.load())
    # Whoever stops in the midst of a change, at Ctrl-Z say, holds up claims no longer than a lease.
    with open_database(settings, idle=settings.lease) as database:
        yield database, Jobs(database)


def _are_given(*filters: object) -> bool:
    return any(each is not None for each in filters)


def _filters(
    database: Database,
    repo: str | None,
    code: str | None,
    older_than: timedelta | None,
    newer_than: timedelta | None,
) -> Filters:
    return {
        "repo_id": Repos(database).id_of(repo),
        "code": code,
        "older_than": older_than,
        "newer_than": newer_than,
    }


def _refusals(
    named: Sequence[str],
    changed: Sequence[str],
    jobs: Jobs,
    *,
    advice: Callable[[str], str] = lambda _: "",
) -> dict[str, str]:
    """Return for each named job that was not changed why not."""
    refused = {}
    for job_id in named:
        row = None if job_id in changed else jobs.find(job_id)
        if row is not None:
            refused[job_id] = f"job {job_id} {jobs.explain(row)}{advice(row['status'])}"
        elif job_id not in changed:
            refused[job_id] = str(JobNotFound(job_id))
    return refused


def _advise_to_terminate(status: str) -> str:
    if status != Status.RUNNING:
        return ""
    return ": terminate that run in Dagster first, which gives the lease back"


def _report(
    verb: str, changed: list[str], refused: dict[str, str], *, as_json: bool, sentence: str
) -> None:
    """Say which jobs were changed, and how many; exit with 3 where one was refused."""
    if as_json:
        print_json({verb: changed, "refused": refused})
    else:
        for job_id in changed:
            out.print(job_id)
        err.print(f"{len(changed)} {'job is' if len(changed) == 1 else 'jobs are'} {sentence}")
    for reason in refused.values():
        err.print(reason)
    if refused:
        raise typer.Exit(EXIT_NOT_OK)
