"""`stats`: what the jobs of a time came to, as tables and bars, or as JSON."""

from pathlib import Path
from typing import Annotated

import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import (
    bar,
    duration,
    err,
    print_json,
    print_pairs,
    print_rows,
    repo_name,
)
from musehub_pipeline.cli.options import JsonFlag
from musehub_pipeline.phases.services import open_database
from musehub_pipeline.queue.stats import Stats, course_of, stats_of_hours, stats_of_jobs
from musehub_pipeline.settings import Settings

_HOURS = 24


def stats(
    hours: Annotated[
        float | None,
        typer.Option(
            "--hours", min=0.01, max=1_000_000, help="Cover so many hours.", show_default="24"
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Cover so many of the newest done jobs instead."),
    ] = None,
    as_json: JsonFlag = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", dir_okay=False, help="Write a page with charts to this file instead."
        ),
    ] = None,
) -> None:
    """Show how long the phases take, what was slow, and what failed.

    The times are those of results: a job's own part of its run. A percentile may lie between two
    jobs. The share of a phase is its part of all that the jobs took; the rest is time between the
    phases.

    The page of --html is one file that loads nothing else: it can be sent, printed, and read on a
    phone. A file of that name is replaced.
    """
    if hours and jobs:
        raise typer.BadParameter("not both --hours and --jobs", param_hint="--jobs")
    if html and as_json:
        raise typer.BadParameter("not both --html and --json", param_hint="--html")
    settings = local.resolve(Settings.load())
    with open_database(settings) as database:
        found = stats_of_jobs(database, jobs) if jobs else stats_of_hours(database, hours or _HOURS)
        course = course_of(database, found, jobs=jobs) if html else None
    if html and course:
        from musehub_pipeline.cli.stats_page import page  # it imports the library of charts

        html.write_text(page(found, course), "utf-8")
        err.print(f"{found['jobs']:,} jobs: {html}")
    elif as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: Stats) -> None:
    print_pairs(summary(found))
    if not found["jobs"]:
        return
    print_rows(
        (*TIMES_COLUMNS, ""),
        (
            (*cells, bar(row["share"]))
            for cells, row in zip(times_rows(found), found["times"].values(), strict=True)
        ),
    )
    print_rows(
        ("slowest jobs", "repo", "bytes", "elapsed ms", "finished at"),
        (
            (
                row["job_id"],
                row["repo_id"],
                row["mpack_size_bytes"],
                f"{row['elapsed_ms']:,.1f}",
                row["finished_at"],
            )
            for row in found["slowest_jobs"]
        ),
    )
    print_rows(REPOS_COLUMNS, repos_rows(found))


def summary(found: Stats) -> dict[str, object]:
    """Return what all of it came to."""
    covered = (found["at"] - found["since"]).total_seconds() if found["since"] else None
    failed = ", ".join(f"{code} {jobs}" for code, jobs in found["failed"].items())
    return {
        "time": duration(covered),
        "jobs done": f"{found['jobs']:,}, {found['jobs_per_second']:,.4g} a second",
        "bytes": f"{found['mpack_bytes']:,}, {found['bytes_per_second']:,.0f} a second",
        "failed": f"{sum(found['failed'].values())}: {failed}" if failed else 0,
    }


TIMES_COLUMNS = ("milliseconds", "p50", "p95", "p99", "max", "share")


def times_rows(found: Stats) -> list[tuple[str, ...]]:
    """Return the cells of each timing."""
    return [
        (
            key.removesuffix("_ms"),
            *(f"{value:,.1f}" for value in (row["p50"], row["p95"], row["p99"], row["max"])),
            f"{row['share']:.1%}",
        )
        for key, row in found["times"].items()
    ]


REPOS_COLUMNS = ("busiest repositories", "jobs", "bytes", "elapsed ms")


def repos_rows(found: Stats) -> list[tuple[object, ...]]:
    """Return the cells of each repository whose jobs took long."""
    return [
        (
            repo_name(row["owner"], row["slug"], row["repo_id"]),
            row["jobs"],
            row["mpack_bytes"],
            f"{row['elapsed_ms'] or 0:,.1f}",
        )
        for row in found["busiest_repos"]
    ]
