"""How commands speak: lines and tables for people on stderr and stdout, JSON for scripts."""

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from musehub_pipeline.domain.escapes import spelled

EXIT_NOT_OK = 3
"""The exit code of a command that found something wrong, or could not do all that it was asked."""

_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}  # Unicode's categories of control, format and line end

_BAR_CHARACTERS = 30  # of a whole
_SECOND_MS = 1_000
_MINUTE_SECONDS = 60
_AGE_UNITS = (("d", 86_400), ("h", 3_600), ("m", _MINUTE_SECONDS))


class _PlainConsole(Console):
    """Shows what strangers wrote as it is: no markup, no emoji names, nothing unseen."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Spell out what would command the terminal, in lines as in the cells of tables."""
        return super().render_str(plain(text), **options)


def plain(text: str) -> str:
    """Return a text with control characters and their like spelled out, but for tab and newline.

    A stranger's may command a terminal, or have one name look like another.
    """
    return "".join(
        spelled(c) if unicodedata.category(c) in _UNSEEN and c not in "\t\n" else c for c in text
    )


out = _PlainConsole(soft_wrap=True)
err = _PlainConsole(stderr=True, soft_wrap=True)
_pipe = _PlainConsole(width=10_000)


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
        return json.dumps(value, default=_json_default, ensure_ascii=False)
    return str(value)


def duration(seconds: float | None) -> str | None:
    """Return seconds as days, hours, minutes and seconds."""
    return None if seconds is None else str(timedelta(seconds=round(seconds)))


def milliseconds(taken: float | None) -> str | None:
    """Return milliseconds in a unit that people read: 4.2 ms, 815 ms, 12.3 s, 1:02:03."""
    if taken is None:
        return None
    if taken < _SECOND_MS:
        return f"{taken:.3g} ms"
    seconds = taken / _SECOND_MS
    return f"{seconds:.1f} s" if seconds < _MINUTE_SECONDS else duration(seconds)


def bar(share: float) -> str:
    """Return a part of a whole as a bar."""
    return "█" * round(_BAR_CHARACTERS * share)


def age(then: datetime) -> str:
    """Return how long ago something was, in one unit: 5s, 12m, 3h, 40d."""
    seconds = max(0, (datetime.now(UTC) - then).total_seconds())
    for unit, length in _AGE_UNITS:
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.0f}s"


def repo_name(owner: str | None, slug: str | None, repo_id: str) -> str:
    """Return how a repository is called: by its id where its row is gone."""
    return f"{owner}/{slug}" if owner else repo_id
