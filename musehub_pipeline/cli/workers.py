"""The worker processes of `index --workers`, as their parent sees them."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Self

from musehub_pipeline.cli.console import err, plain
from musehub_pipeline.cli.environment import environment_of
from musehub_pipeline.domain.errors import PipelineError
from musehub_pipeline.settings import Settings

_MODULE = "musehub_pipeline.cli.worker"
_POLL_SECONDS = 1
_STOP_SECONDS = 20


class WorkerDied(PipelineError):
    """A worker ended before the queue was drained."""


class Workers:
    """Processes that drain one queue, which they divide by its leases.

    However the `with` block ends, they end with it: one that is in a run gives its leases back.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare; `settings` are resolved, and what they name must be there."""
        self._settings = settings
        self._processes: list[subprocess.Popen[str]] = []
        self._threads: list[Thread] = []
        self._reports: SimpleQueue[tuple[int, list[str] | None]] = SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()  # one that has ended is left alone
        deadline = time.monotonic() + _STOP_SECONDS
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0, deadline - time.monotonic()))
            process.kill()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            with process:  # closes its pipes
                pass

    def start(self, number: int) -> None:
        """Start so many processes."""
        environment = environment_of(self._settings)
        for _ in range(number):
            process = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is this process's to pass on
            )
            self._processes.append(process)
            for read in (self._read_reports, _show_lines):
                thread = Thread(target=read, args=(process,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def reports(self) -> Iterator[list[str]]:
        """Yield the jobs of each batch as it ends, and none each second, until all is drained."""
        working = {process.pid for process in self._processes}
        idle: set[int] = set()
        while working:
            try:
                pid, ended = self._reports.get(timeout=_POLL_SECONDS)
            except Empty:
                yield []
                continue
            if ended is None:
                working.discard(pid)
            elif ended:
                idle.discard(pid)
                yield ended
            else:
                idle.add(pid)
            if working <= idle:
                self._let_end()

    def check(self) -> None:
        """Say of workers that did not end well what became of them.

        Raises:
            WorkerDied: there are such; leases that they held expire.
        """
        codes = [process.returncode for process in self._processes]
        if died := [_ending(code) for code in codes if code != 0]:
            raise WorkerDied(f"{len(died)} of {len(codes)} workers died: {', '.join(died)}")

    def _let_end(self) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()

    def _read_reports(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            with suppress(ValueError):  # the last line of one that was killed
                self._reports.put((process.pid, json.loads(line)))
        process.wait()
        self._reports.put((process.pid, None))


def _show_lines(process: subprocess.Popen[str]) -> None:
    for line in process.stderr or ():
        err.print(plain(line.rstrip("\n")))


def _ending(code: int) -> str:
    return f"exit code {code}" if code > 0 else signal.Signals(-code).name
