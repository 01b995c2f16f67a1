"""The statements of the `.sql` files, each beside the module that runs it, by name.

A line ``-- name: NAME`` begins one. What several of them share is a fragment: a line ``-- fragment:
NAME`` begins it, and it takes the place of each line ``-- include: NAME``.
"""

import re
from functools import cache
from importlib import resources
from pathlib import Path
from textwrap import indent
from typing import LiteralString, cast

_HEADING = re.compile(r"^-- (name|fragment): (\w+)$", re.MULTILINE)
_INCLUDE = re.compile(r"^( *)-- include: (\w+)$", re.MULTILINE)


@cache
def _all() -> dict[str, LiteralString]:
    written: dict[str, dict[str, str]] = {"name": {}, "fragment": {}}
    for file in files():
        _, *parts = _HEADING.split(file.read_text("utf-8"))
        for kind, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            written[kind][name] = body.strip()

    def whole(text: str) -> str:
        return _INCLUDE.sub(lambda line: indent(whole(written["fragment"][line[2]]), line[1]), text)

    # The files ship with the package: their statements are as literal as a module's.
    return {name: cast("LiteralString", whole(body)) for name, body in written["name"].items()}


def files() -> list[Path]:
    """Return the `.sql` files of all rooms."""
    return sorted(Path(str(resources.files("musehub_pipeline"))).glob("*/*.sql"))


def statement(name: str) -> LiteralString:
    """Return the statement of that name.

    Raises:
        KeyError: there is none.
    """
    return _all()[name]
