"""`jobs`: look at the queue."""

from typing import Annotated

import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import JsonFlag, print_json, print_pairs, print_rows
from musehub_pipeline.domain.job import Status
from musehub_pipeline.domain.result import in_order
from musehub_pipeline.settings import Settings
from musehub_pipeline.storage.database import Database
from musehub_pipeline.storage.queue import Queue
from musehub_pipeline.storage.repos import Repos

app = typer.Typer(no_args_is_help=True, help="Look at the queue.")


@app.command("list")
def list_jobs(
    status: Annotated[Status | None, typer.Option(help="Only jobs that are so.")] = None,
    repo: Annotated[str | None, typer.Option("--repo", "-r", help="Only of owner/slug.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, the newest first."""
    settings = local.resolve(Settings.load())
    with Database(str(settings.database_url)) as database:
        queue = Queue(database, lease=settings.lease, max_attempts=settings.max_attempts)
        repo_id = Repos(database).find(repo).repo_id if repo else None
        rows = queue.jobs(status=status, repo_id=repo_id, limit=limit)
    if as_json:
        print_json(rows)
        return
    print_rows(
        ("job", "repository", "status", "attempt", "created", "ms", "reason"),
        (
            (
                row["job_id"],
                f"{row['owner']}/{row['slug']}" if row["owner"] else row["repo_id"],
                row["status"],
                row["attempt"],
                row["created_at"],
                row["elapsed_ms"],
                row["error_code"],
            )
            for row in rows
        ),
    )


@app.command("show")
def show_job(
    job_id: Annotated[str, typer.Argument(help="The job.")],
    as_json: JsonFlag = False,
) -> None:
    """Show all that is known about a job: its row, and its result where it is done."""
    settings = local.resolve(Settings.load())
    with Database(str(settings.database_url)) as database:
        queue = Queue(database, lease=settings.lease, max_attempts=settings.max_attempts)
        row = queue.require(job_id)
    row["result"] = row["result"] and in_order(row["result"])
    if as_json:
        print_json(row)
        return
    result = row.pop("result")
    print_pairs(row, title=job_id)
    if result:
        print_pairs(result, title="result")
