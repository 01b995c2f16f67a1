"""Mpacks in storage that no job names, and the command that finds them."""

import os
import time
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from musehub_pipeline_tests.cli.terminal import Finished, call
from musehub_pipeline_tests.hub import Hub

MPACKS = [b"eldest", b"middle one", b"youngest"]
KEYS = [f"sha256:{sha256(mpack).hexdigest()}" for mpack in MPACKS]
ABSENT = "f" * 64


def backdate(hub: Hub, key: str, age: timedelta) -> None:
    path = Path(urlsplit(str(hub.settings.storage_url)).path, "mpacks", key[-64:])
    then = time.time() - age.total_seconds()
    os.utime(path, (then, then))


def discover(*arguments: object) -> Finished:
    return call("backfill", "discover", *arguments)
