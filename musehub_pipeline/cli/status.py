"""`status`: the queue in numbers, once or for as long as one watches."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table

from musehub_pipeline import local
from musehub_pipeline.cli.console import (
    EXIT_NOT_OK,
    duration,
    err,
    out,
    pairs_table,
    print_json,
    print_json_line,
    print_table,
)
from musehub_pipeline.cli.jobs import paused_name
from musehub_pipeline.cli.options import JsonFlag
from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.domain.trouble import problems
from musehub_pipeline.phases.services import open_database
from musehub_pipeline.queue.status import QueueStatus, queue_status
from musehub_pipeline.settings import Settings


def status(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Keep looking until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")
    ] = 2,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 3 if something is wrong, and say what.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show how the queue stands: what waits, what is under way, and what happened lately.

    Times and rates are those of jobs done in the last hour; failures are counted over a day. What
    waits is due now, or in backoff, or behind an earlier job of its repository. A job whose lease
    expired is due too: the run that held it died.

    --check is for a monitor. It exits with 3 if something is wrong, and prints each such thing as a
    line on stderr: jobs wait after trouble with database, storage, scratch or the pipeline itself,
    runs have died, or the oldest job that no run has taken yet waits longer than
    MUSEHUB_QUEUE_AGE_SECONDS.

    With --json and --watch there is one line of JSON per interval. If the database becomes
    unreachable, stderr says so, and the command goes on.
    """
    if watch and check:
        raise typer.BadParameter("--check is one look, --watch are many", param_hint="--check")
    settings = local.resolve(Settings.load())
    with open_database(settings) as database:
        look = partial(queue_status, database)
        if watch:
            with suppress(KeyboardInterrupt):
                _watch(look, interval, as_json=as_json)
        else:
            found = look()
            if as_json:
                print_json(found)
            else:
                print_table(_table(found))
            if check:
                _check(found, settings)


def _check(row: QueueStatus, settings: Settings) -> None:
    """Say what is wrong.

    Raises:
        Exit: with 3, where anything is.
    """
    lines = problems(
        waiting=row["waiting_by_code"],
        expired_leases=row["expired_leases"],
        oldest_seconds=row["oldest_unclaimed_seconds"],
        most_seconds=settings.queue_age_seconds,
    )
    for line in lines:
        err.print(line)
    if lines:
        raise typer.Exit(EXIT_NOT_OK)


def _watch(look: Callable[[], QueueStatus], interval: float, *, as_json: bool) -> None:
    if as_json:
        _repeat(lambda: print_json_line(look()), interval)
    elif not out.is_terminal:  # nothing can be drawn again in a pipe
        _repeat(lambda: print_table(_table(look())), interval)
    else:
        with Live(console=out, auto_refresh=False) as live:
            _repeat(lambda: live.update(_table(look()), refresh=True), interval)


def _repeat(show: Callable[[], None], interval: float) -> None:
    show()
    while True:
        time.sleep(interval)
        try:
            show()
        except Transient as error:
            err.print(str(error))


def _table(row: QueueStatus) -> Table:
    failures = row["failures_24h"]
    failed = sum(failures.values())
    return pairs_table(
        {
            "at": row["at"],
            "pending": row["pending"],
            "oldest pending": duration(row["oldest_pending_seconds"]),
            "due now": row["due"],
            "in backoff": row["in_backoff"],
            "paused": _paused(row),
            "waiting after": _by_code(row["waiting_by_code"]) or 0,
            "running": row["running"],
            "expired leases": row["expired_leases"],
            "failed in 24 hours": f"{failed}: {_by_code(failures)}" if failed else 0,
            "done in an hour": f"{row['done_1h']:,}, {row['done_per_minute']:,.1f} a minute",
            "bytes in an hour": f"{row['bytes_1h']:,}, {row['bytes_per_minute']:,.0f} a minute",
            "elapsed, p50 and p95": _milliseconds(row["elapsed_ms_p50"], row["elapsed_ms_p95"]),
            "wait, p50 and p95": _milliseconds(row["queue_wait_ms_p50"], row["queue_wait_ms_p95"]),
        }
    )


def _paused(row: QueueStatus) -> str | int:
    held_back = ", ".join(map(paused_name, row["pauses"]))
    return f"{row['paused']}: {held_back}" if held_back else 0


def _by_code(codes: dict[str, int]) -> str:
    return ", ".join(f"{code} {jobs}" for code, jobs in codes.items())


def _milliseconds(*values: float | None) -> str | None:
    known = [f"{value:,.1f} ms" for value in values if value is not None]
    return ", ".join(known) or None
