"""How commands speak: tables and progress for people on stderr and stdout, JSON for scripts."""

import json
import sys
import unicodedata
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from musehub_pipeline.domain.text import spelled

# What strangers wrote is shown as it is: no markup, no emoji names.
out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
err = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
_pipe = Console(markup=False, emoji=False, highlight=False, width=10_000)

_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}  # Unicode's categories of control, format and line end


def plain(text: str) -> str:
    """Return a text with control characters and their like spelled out, but for tab and newline.

    A stranger's may command a terminal, or have one name look like another.
    """
    return "".join(
        spelled(c) if unicodedata.category(c) in _UNSEEN and c not in "\t\n" else c for c in text
    )


def print_json(value: object) -> None:
    """Print a value as JSON, times as ISO 8601."""
    json.dump(value, sys.stdout, indent=2, default=_json_default)
    sys.stdout.write("\n")


def _json_default(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def print_json_list(values: Iterable[object]) -> None:
    """Print values as a list in JSON, one a line, as they come: for any number of them."""
    sys.stdout.write("[")
    separator = "\n"
    for value in values:
        sys.stdout.write(f"{separator}  {json.dumps(value, default=_json_default)}")
        separator = ",\n"
    sys.stdout.write("\n]\n")


def print_json_line(value: object) -> None:
    """Print a value as one line of JSON, at once: whoever reads it may be waiting."""
    sys.stdout.write(json.dumps(value, default=_json_default) + "\n")
    sys.stdout.flush()


def print_pairs(pairs: Mapping[str, object], *, title: str | None = None) -> None:
    """Print names and values as a table of two columns."""
    print_table(pairs_table(pairs, title=title))


def pairs_table(pairs: Mapping[str, object], *, title: str | None = None) -> Table:
    """Return names and values as a table of two columns."""
    table = Table(show_header=False, title=title, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        table.add_row(name, cell(value))
    return table


def print_rows(
    columns: Iterable[str], rows: Iterable[Iterable[object]], *, title: str | None = None
) -> None:
    """Print rows as a table."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    print_table(table)


def print_table(table: Table) -> None:
    """Print a table, folded to fit a terminal; in a pipe each row is a line, for grep and less."""
    (out if out.is_terminal else _pipe).print(table)


def cell(value: object) -> str:
    """Return a value as the text of a table's cell."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().isoformat(sep=" ", timespec="seconds")
    if isinstance(value, dict | list):
        return plain(json.dumps(value, default=_json_default, ensure_ascii=False))
    return plain(str(value))


def duration(seconds: float | None) -> str | None:
    """Return seconds as days, hours, minutes and seconds."""
    return None if seconds is None else str(timedelta(seconds=round(seconds)))


@contextmanager
def progress_bar(description: str, unit: str) -> Generator[Callable[[int, int | None], None]]:
    """Show a bar while the block runs; the function that it gives takes (done, total if known)."""
    with _progress(unit) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
        progress.update(task, total=progress.tasks[0].completed)  # so that it stands full


@contextmanager
def phase_progress(total: int) -> Generator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """Show a bar of jobs, with the phase that is under way; gives functions to set each."""
    with _progress("jobs") as progress:
        task = progress.add_task("starting", total=total)
        yield (
            lambda phase: progress.update(task, description=phase),
            lambda jobs: progress.advance(task, jobs),
        )


def _progress(unit: str) -> Progress:
    columns: tuple[Any, ...] = (
        SpinnerColumn(),
        TextColumn("{task.description:<20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=err)
