"""The command line as people and scripts call it, and git repositories to call it on."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musehub_pipeline.cli.main import main

PROGRAM = str(Path(sys.executable).with_name("musehub-pipeline"))
SECONDS = 300

_GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit code and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the JSON that is the whole of stdout."""
        assert self.code in {0, 3}, self
        return json.loads(self.out)


def call(*arguments: object) -> Finished:
    """Run the command line in this process, stdout and stderr apart, as in two pipes."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    sys.argv = [PROGRAM, *map(str, arguments)]
    code: object = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code or 0
    except Exception:
        code = 1
        traceback.print_exc(file=err)
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert isinstance(code, int)
    return Finished(code, out.getvalue(), err.getvalue())


def start(
    *arguments: object, home: Path | None = None, through: Sequence[str] = (), **options: Any
) -> subprocess.Popen[str]:
    """Start the command in a process of its own, `through` another one where that is given."""
    environment = dict(os.environ) | ({"MUSEHUB_HOME": str(home)} if home else {})
    return subprocess.Popen(
        [*through, PROGRAM, *map(str, arguments)],
        env=environment,
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        | options,
        text=True,
    )


def run(*arguments: object, **options: Any) -> Finished:
    """Run the command in a process of its own until it ends; the options are those of `start`."""
    return finish(start(*arguments, **options))


def finish(process: subprocess.Popen[str]) -> Finished:
    """Wait until a process that was started ends; it gets no more than `SECONDS`."""
    with process:
        try:
            out, err = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Finished(process.returncode, out, err)


def on_terminal(*arguments: object, columns: int) -> str:
    """Run the command where stdout is a terminal, and return what it shows there, uncoloured."""
    ours, theirs = pty.openpty()
    process = start(
        *arguments,
        through=["env", "TERM=xterm", f"COLUMNS={columns}"],
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with process, suppress(OSError):  # its end is one, where nobody has the other side open
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    return re.sub(r"\x1b\[[\d;]*m", "", shown.decode().replace("\r\n", "\n"))


def wait_until(process: subprocess.Popen[str], is_so: Callable[[], bool]) -> None:
    """Wait for something that a process that was started brings about, no longer than `SECONDS`."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def processes_of(home: Path) -> dict[int, str]:
    """Return the command lines of the processes that live on `home`, by their ids."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
            about = line + (folder / "environ").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if line and os.fsencode(home) in about:
            found[int(folder.name)] = line.replace(b"\0", b" ").decode(errors="replace")
    return found


class Git:
    """A git repository, written by the git command, on the branch main."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self("init", "--quiet", "--initial-branch=main")

    def __call__(self, *arguments: str, stdin: bytes = b"", **environment: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            input=stdin,
            stdout=subprocess.PIPE,
            env={**os.environ, **_GIT, **environment},
            check=True,
        )
        return done.stdout.decode().strip()

    def commit(self, message: str, files: Mapping[str, bytes], *more: str) -> str:
        """Commit files and return git's id of the commit; each has a time of its own."""
        for path, content in files.items():
            (self.path / path).parent.mkdir(parents=True, exist_ok=True)
            (self.path / path).write_bytes(content)
        self("add", "--all")
        self("commit", "--quiet", "--allow-empty", "--message", message, *more)
        return self("rev-parse", "HEAD")

    def add_odd_path(self, path: bytes) -> None:
        """Commit an empty file under a path that no other way lets in, quoted as git does."""
        lines = [
            b"commit refs/heads/main",
            b"committer Ada <ada@example.org> 1714557600 +0200",
            b"data 3\nodd",
            b"from refs/heads/main^0",
            b'M 644 inline "' + path + b'"',
            b"data 0\n",
        ]
        self("fast-import", "--quiet", stdin=b"\n".join(lines))
