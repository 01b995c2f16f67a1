"""The statements of `queries.sql`, by name."""

import re
from functools import cache
from importlib import resources
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def _all() -> dict[str, LiteralString]:
    text = resources.files("musehub_pipeline.storage").joinpath("queries.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    # The file ships with the package, which makes its statements as literal as those of a module.
    return {
        name: cast("LiteralString", body.strip())
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def statement(name: str) -> LiteralString:
    """Return the statement of that name.

    Raises:
        KeyError: `queries.sql` has none.
    """
    return _all()[name]
