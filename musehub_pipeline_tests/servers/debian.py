"""Programs of Debian packages that some tests need: where one is missing, CI fails."""

import os
import shutil
from collections.abc import Sequence

import pytest


def require(packages: Sequence[str]) -> None:
    """Skip the test where packages are missing, or fail it under ``CI=true``."""
    if packages:
        reason = f"Debian packages are missing: {', '.join(packages)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def program(name: str) -> str:
    """Return the path of a program whose package is called like it; as `require` without it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")  # where servers are
    require([] if path else [name])
    return str(path)
