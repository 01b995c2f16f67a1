"""`index`: drain the queue in this process, or in several; or stay, and index what is pushed."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic, sleep
from typing import Annotated
from uuid import uuid4

import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import EXIT_NOT_OK, err, print_json, print_json_line
from musehub_pipeline.cli.options import JsonFlag
from musehub_pipeline.cli.progress import jobs_bar, progress_bar, shown_log
from musehub_pipeline.cli.workers import Workers
from musehub_pipeline.domain.errors import PipelineError
from musehub_pipeline.domain.job import Status
from musehub_pipeline.phases.services import open_database, open_queue
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.jobs import JobOutcome, Jobs
from musehub_pipeline.queue.live_runs import Runs
from musehub_pipeline.settings import Settings

_LOOK_SECONDS = 5
_PAUSE_SECONDS = 2
_FORGET_SECONDS = 600
_FINAL = (Status.DONE, Status.FAILED)


def index(
    job_ids: Annotated[
        list[str] | None,
        typer.Argument(
            help="Jobs to index, or how their ids begin.", show_default="all that are due"
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help=f"Exit with {EXIT_NOT_OK} if a job failed.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="How many processes share the queue.")] = 1,
    stay: Annotated[
        bool, typer.Option("--watch", help="Stay, and index what is pushed, until told to stop.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Index the jobs that are due, here, through the Dagster job, and exit when none is left.

    The row of each job and its summary line say how it ended. The exit code is 0 even if a job
    failed, unless --strict. The command does not wait for jobs that are to be tried again later.

    With --workers, several processes on this machine take batches side by side. The jobs of one
    repository still go one after the other. Ctrl-C or SIGTERM stops all of them, and jobs that
    they have not finished are pending again.

    With --watch, this process listens for pushes and indexes them at once. Any number of such
    processes on any machine share the queue with each other and with the sensor. Ctrl-C or SIGTERM
    ends it with exit code 0. With --json, each job that has ended is a line.
    """
    if job_ids and workers > 1:
        raise typer.BadParameter("--workers drains the whole queue: name no jobs")
    if stay and (job_ids or strict or workers > 1):
        raise typer.BadParameter("--watch goes with no jobs, no --strict and no --workers")
    settings = local.resolve(Settings.load())
    if stay:
        _stay(settings, as_json=as_json)
        return
    crew = Workers(settings)
    outcomes = (
        drain_beside(settings, crew, workers) if workers > 1 else drain(settings, job_ids or [])
    )
    if as_json:
        print_json(outcomes)
    elif not outcomes:
        err.print("nothing is due")
    crew.check()
    if strict and any(outcome["status"] == Status.FAILED for outcome in outcomes):
        raise typer.Exit(EXIT_NOT_OK)


def _stay(settings: Settings, *, as_json: bool) -> None:
    with suppress(KeyboardInterrupt, SystemExit):  # what it had claimed is given back
        for outcome in watch(settings):
            if as_json:
                print_json_line(outcome)


def drain_beside(settings: Settings, crew: Workers, number: int) -> list[JobOutcome]:
    """Index all that is due in that many processes, with one progress bar; return how it stands.

    Raises:
        Transient: the database could not be reached.
    """
    from musehub_pipeline.orchestration.instance import dagster_instance, use_dagster_home

    use_dagster_home(settings)
    taken: dict[str, None] = {}
    with open_database(settings) as database:
        queue = open_queue(database, settings)
        if total := queue.count_due():
            with dagster_instance():
                pass  # its files are made here, once, and not by all workers at the same time
            with progress_bar("indexing", "jobs") as show, crew:
                show(0, total)
                crew.start(number)
                for ended in crew.reports():
                    taken |= dict.fromkeys(ended)
                    if len(taken) >= total:  # more may have been pushed
                        total = len(taken) + queue.count_due()
                    show(len(taken), total)
                show(len(taken), len(taken))  # others may have taken the rest
        return Jobs(database).outcomes(list(taken))


def drain(settings: Settings, job_ids: list[str], *, everything: bool = False) -> list[JobOutcome]:
    """Index the named jobs, or all that are due, with a progress bar; return how they stand.

    With `everything`, what is due beside the named jobs is indexed too. How a named job stands that
    was not worked on is said on stderr.

    Raises:
        JobNotFound: one of the named jobs does not exist.
        Transient: the database could not be reached.
    """
    from musehub_pipeline.orchestration.in_process import Runner
    from musehub_pipeline.orchestration.instance import dagster_instance, use_dagster_home

    use_dagster_home(settings)
    taken: list[str] = []
    with open_database(settings) as database:
        queue, jobs = open_queue(database, settings), Jobs(database)
        job_ids = [jobs.named(job_id) for job_id in job_ids]
        rows = [jobs.require(job_id) for job_id in job_ids]
        named = bool(job_ids) and not everything
        remaining = [row["job_id"] for row in rows if named and row["status"] not in _FINAL]
        due = len(remaining) if named else queue.count_due()
        if due:
            with (
                dagster_instance() as instance,
                jobs_bar(due) as (show_phase, advance),
                shown_log(on_phase=show_phase),
            ):
                runner = Runner(settings, instance)
                while ended := runner.run(remaining):
                    advance(len(ended))
                    taken += ended
                    remaining = [job_id for job_id in remaining if job_id not in ended]
                    if not (remaining if named else queue.has_due()):
                        break
        outcomes = jobs.outcomes(job_ids or taken)
        for row in outcomes:
            if row["job_id"] in job_ids and row["job_id"] not in taken:
                err.print(f"job {row['job_id']} {jobs.explain(jobs.require(row['job_id']))}")
    return outcomes


def watch(settings: Settings) -> Iterator[JobOutcome]:
    """Index what is pushed, as soon as it is; yield how each job stands that was worked on.

    Where a service is away, that is said once, and it goes on when the service is back.
    """
    from musehub_pipeline.orchestration.in_process import Runner
    from musehub_pipeline.orchestration.instance import dagster_instance, use_dagster_home

    use_dagster_home(settings)
    said = ""
    with (
        open_database(settings) as database,
        dagster_instance() as instance,
        shown_log(on_phase=lambda _: None),
    ):
        queue, jobs = open_queue(database, settings), Jobs(database)
        runner, batch_jobs = Runner(settings, instance), settings.batch_jobs
        forget = _now_and_then(Runs(database, lease=settings.lease).forget)  # as the sensor does
        listened = False
        while True:
            try:
                with queue.notices() as wait:  # before looking, so that nothing is missed
                    if not listened:
                        err.print("waiting for pushes")
                        listened = True
                    while True:
                        forget()
                        if not queue.has_due():
                            pause = queue.backlog(limit=1).next_seconds
                            wait(min(_LOOK_SECONDS, pause or _LOOK_SECONDS))
                        elif ended := _turn(queue, runner.run, wait, batch_jobs=batch_jobs):
                            yield from jobs.outcomes(ended)
                        said = ""
            except PipelineError as trouble:
                if str(trouble) != said:
                    err.print(f"waiting: {trouble}")
                said = str(trouble)
                sleep(_PAUSE_SECONDS)


def _now_and_then(work: Callable[[], None]) -> Callable[[], None]:
    """Return what does `work` when it is called, once in ten minutes at the most."""
    due_at = monotonic()

    def call() -> None:
        nonlocal due_at
        if monotonic() >= due_at:
            work()
            due_at = monotonic() + _FORGET_SECONDS

    return call


def _turn(
    queue: Queue, run: Callable[..., list[str]], wait: Callable[[float], bool], *, batch_jobs: int
) -> list[str]:
    """Index a batch of what is due, where no other worker is about to; return its jobs."""
    run_id = str(uuid4())
    if not queue.reserve(run_id=run_id, batch_jobs=batch_jobs):
        wait(_PAUSE_SECONDS)
        return []
    ended = run(run_id=run_id)
    if not ended:  # somebody has locked the row
        sleep(_PAUSE_SECONDS)
    return ended
