"""`jobs show`: all that is known about a job."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import bar, milliseconds, out, print_json, print_pairs, print_rows
from musehub_pipeline.cli.options import JsonFlag
from musehub_pipeline.cli.timeline import print_timeline
from musehub_pipeline.domain.attempt import Attempt, attempts_of, history, moment
from musehub_pipeline.domain.budgets import BUDGET_KEYS
from musehub_pipeline.domain.result import TIMINGS, in_order
from musehub_pipeline.orchestration.instance import RecordsUnavailable
from musehub_pipeline.orchestration.run_record import find_run
from musehub_pipeline.phases.services import open_database
from musehub_pipeline.queue.jobs import Jobs
from musehub_pipeline.settings import Settings

_ATTEMPT = ("attempt", "run_id", "started_at", "ended_at", "code", "message")


def show_job(
    job_id: Annotated[str, typer.Argument(help="The job, or how its id begins.")],
    as_json: JsonFlag = False,
) -> None:
    """Show all that is known about a job: how it stands, its row, its attempts, and its result.

    The link to its latest run leads to the UI at MUSEHUB_UI_URL. The Dagster job and the host of
    that run are shown if Dagster's records are in PostgreSQL and know them.
    """
    settings = local.resolve(Settings.load())
    with open_database(settings) as database:
        jobs = Jobs(database)
        found = jobs.require(jobs.named(job_id))
        standing = jobs.explain(found)
    row = dict[str, Any](found)
    if isinstance(row["result"], dict):
        row["result"] = dict(in_order(row["result"]))
    if as_json:
        print_json(row)
        return
    out.print(f"{found['job_id']} {standing}")
    result = row.pop("result") if isinstance(row["result"], dict) else {}
    print_pairs({name: value for name, value in row.items() if name != "attempts"})
    if attempts := attempts_of(row, now=datetime.now(UTC)):
        _print_run(attempts, settings)
        print_timeline(attempts)
    if ended := history(row):
        lines = ([_shown(entry.get(name)) for name in _ATTEMPT] for entry in ended)
        print_rows(_ATTEMPT, lines, title="attempts")
    if result:
        print_pairs(result, title="result")
        _print_phases(result)


def _print_run(attempts: Sequence[Attempt], settings: Settings) -> None:
    """Say which run had the job last, where that was, and where to see it."""
    run_id = next((each.run_id for each in reversed(attempts) if each.run_id), None)
    if run_id is None:
        return
    record = None
    with suppress(RecordsUnavailable):
        record = find_run(settings, run_id)
    run = {
        "job": record and record.job_name,
        "host": record and record.host,
        "page": f"{settings.ui_url.rstrip('/')}/runs/{quote(run_id, safe='')}",
    }
    print_pairs(run, title="latest run, in Dagster")


def _shown(value: object) -> object:
    """Return a time of the history, which is JSON, as one; anything else as it is."""
    return moment(value) or value


def _print_phases(result: dict[str, Any]) -> None:
    """Draw what the phases took of a job's time; not of a result that somebody else wrote."""
    if not all(isinstance(result.get(key), int | float) for key in BUDGET_KEYS):
        return
    elapsed = result["elapsed_ms"] or 1
    print_rows(
        ("phase", "took", "share", ""),
        (
            (
                key.removesuffix("_ms"),
                milliseconds(result[key]),
                f"{result[key] / elapsed:.0%}",
                bar(result[key] / elapsed),
            )
            for key in TIMINGS
        ),
        title="phases",
    )
