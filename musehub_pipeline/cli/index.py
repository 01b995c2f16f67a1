"""`index`: drain the queue in this process."""

from typing import Annotated

import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import JsonFlag, err, phase_progress, plain, print_json
from musehub_pipeline.cli.logs import logs_as_output
from musehub_pipeline.domain.job import Status
from musehub_pipeline.settings import Settings
from musehub_pipeline.storage.database import Database, Row
from musehub_pipeline.storage.operations import Operations
from musehub_pipeline.storage.queue import Queue

EXIT_JOB_FAILED = 3

_FINAL = (Status.DONE, Status.FAILED)


def index(
    job_ids: Annotated[
        list[str] | None, typer.Argument(help="Jobs to index.", show_default="all that are due")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help=f"Exit with {EXIT_JOB_FAILED} if a job failed.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Index what is due now, here, through the Dagster job, and exit when nothing due is left.

    What becomes of each job stands in its row and in its summary line; the exit code is 0 all the
    same, unless --strict. A job that waits for another attempt is not waited for.
    """
    outcomes = drain(local.resolve(Settings.load()), job_ids or [])
    if as_json:
        print_json(outcomes)
    elif not outcomes:
        err.print("nothing is due")
    if strict and any(outcome["status"] == Status.FAILED for outcome in outcomes):
        raise typer.Exit(EXIT_JOB_FAILED)


def drain(settings: Settings, job_ids: list[str], *, everything: bool = False) -> list[Row]:
    """Index the named jobs, or all that are due, with a progress bar; return how they stand.

    With `everything`, what is due beside the named jobs is indexed too. How a named job stands that
    was not worked on is said on stderr.

    Raises:
        JobNotFound: one of the named jobs does not exist.
        Transient: the database could not be reached.
    """
    from musehub_pipeline.orchestration.home import use_dagster_home
    from musehub_pipeline.orchestration.in_process import Runner, dagster_instance

    use_dagster_home(settings)
    taken: list[str] = []
    with Database(str(settings.database_url)) as database:
        queue = Queue(database, lease=settings.lease, max_attempts=settings.max_attempts)
        rows = [queue.require(job_id) for job_id in job_ids]
        named = bool(job_ids) and not everything
        remaining = [row["job_id"] for row in rows if named and row["status"] not in _FINAL]
        due = len(remaining) if named else queue.count_due()
        if due:
            with (
                dagster_instance() as instance,
                phase_progress(due) as (show_phase, advance),
                logs_as_output(on_phase=show_phase),
            ):
                runner = Runner(settings, instance)
                while ended := runner.run(remaining):
                    advance(len(ended))
                    taken += ended
                    remaining = [job_id for job_id in remaining if job_id not in ended]
                    if not (remaining if named else queue.count_due()):
                        break
        outcomes = Operations(database).outcomes(job_ids or taken)
        for row in outcomes:
            if row["job_id"] in job_ids and row["job_id"] not in taken:
                err.print(
                    plain(f"job {row['job_id']} {queue.standing(queue.require(row['job_id']))}")
                )
    return outcomes
