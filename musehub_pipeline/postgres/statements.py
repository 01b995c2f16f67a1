"""The statements of the `.sql` files, each beside the module that runs it, by name."""

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def _all() -> dict[str, LiteralString]:
    found: dict[str, LiteralString] = {}
    for file in files():
        _, *parts = _NAME.split(file.read_text("utf-8"))
        # The files ship with the package: their statements are as literal as a module's.
        found |= {
            name: cast("LiteralString", body.strip())
            for name, body in zip(parts[::2], parts[1::2], strict=True)
        }
    return found


def files() -> list[Path]:
    """Return the `.sql` files of all rooms."""
    return sorted(Path(str(resources.files("musehub_pipeline"))).glob("*/*.sql"))


def statement(name: str) -> LiteralString:
    """Return the statement of that name.

    Raises:
        KeyError: there is none.
    """
    return _all()[name]
