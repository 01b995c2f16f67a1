"""A history that is larger than what packing it may hold."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from musehub_pipeline_tests.client.repository import SIGNATURE, Git

COMMITS = 10_000
BLOB_BYTES = 20_000
FILES = 10

# The command in a process of its own, which says in the end how large it became.
_PROGRAM = """
import atexit, sys
from musehub_pipeline.cli.main import main
from musehub_pipeline_tests.peak import peak_bytes
atexit.register(lambda: print(peak_bytes(), file=sys.stderr))
main()
"""


def history() -> Iterator[bytes]:
    """Yield, as `git fast-import` reads them, commits that each rewrite one file of some."""
    noise = random.Random(COMMITS)
    for number in range(COMMITS):
        yield b"commit refs/heads/main\ncommitter %s\n" % SIGNATURE
        yield b"data <<.\n%d\n.\n" % number
        yield b"M 644 inline %d\ndata %d\n" % (number % FILES, BLOB_BYTES)
        yield noise.randbytes(BLOB_BYTES)
        yield b"\n"


def test_ten_thousand_commits_are_packed_without_holding_all_blobs(git: Git, mpack: Path) -> None:
    git("-c", "pack.compression=0", "fast-import", "--quiet", stdin=b"".join(history()))

    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "pack", git.path, "-o", mpack, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )

    report = json.loads(done.stdout)
    counts = ("commits", "snapshots", "objects", "object_bytes")
    total_bytes = COMMITS * BLOB_BYTES
    assert [report[name] for name in counts] == [COMMITS, COMMITS, COMMITS, total_bytes]
    assert mpack.stat().st_size > total_bytes
    assert int(done.stderr.split()[-1]) < total_bytes  # with all of Python and its modules
