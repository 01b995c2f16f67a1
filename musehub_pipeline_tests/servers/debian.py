"""Programs of Debian packages that some tests need: where one is missing, CI fails."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from musehub_pipeline_tests.servers.postgres import UNPRIVILEGED_USER


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


def start(command: Sequence[str], *, folder: Path) -> subprocess.Popen[bytes]:
    """Start a server, which gets a folder with its files and ends with the thread that starts it.

    Root starts it as somebody else, for some refuse to be root.
    """
    options: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam(UNPRIVILEGED_USER)
        options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, UNPRIVILEGED_USER)
    if setpriv := shutil.which("setpriv"):
        command = [setpriv, "--pdeathsig", "KILL", *command]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
