"""docs/cli.md, the reference of the command line, made from the Typer app.

`make docs` writes it: `python -m musehub_pipeline_tests.cli_reference`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import typer.main

from musehub_pipeline.cli.main import app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"

_INTRODUCTION = """# The command line

All commands and options, as `--help` explains them. `make docs` writes this page from the code.
Every command also takes `--help`, or `-h`.
"""


def reference() -> str:
    """Return the page."""
    sections = _sections(typer.main.get_command(app), "musehub-pipeline", None)
    return "\n".join([_INTRODUCTION, *sections])


def _sections(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
    inner = getattr(command, "commands", {})
    yield f"## `{name}`\n"
    yield f"{command.help.strip()}\n"
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield f"    {usage}\n"
    rows = [
        record
        for parameter in command.get_params(context)
        if "--help" not in parameter.opts and (record := parameter.get_help_record(context))
    ]
    if rows:
        yield _table(("argument or option", "does"), rows)
    if inner:
        yield _table(("command", "does"), ((each, _first(inner[each])) for each in inner))
    for each, one in inner.items():
        yield from _sections(one, f"{name} {each}", context)


def _first(command: Any) -> str:
    return " ".join(command.help.split("\n\n")[0].split())


def _table(heads: tuple[str, str], rows: Any) -> str:
    lines = (f"| `{_cell(name)}` | {_cell(text)} |" for name, text in rows)
    return "\n".join([f"| {' | '.join(heads)} |", "|---|---|", *lines, ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), "utf-8")
