"""The worker processes of `index --workers`, as their parent sees them, and as they see it.

A worker indexes batch after batch. It writes a line of JSON to stdout for each: the jobs that it
worked on, none where nothing was due. What is not due may become so, when another worker is done
with a job of its repository; so it looks again, until its stdin ends: no worker has anything to do,
or the parent is gone.
"""

import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Self

from musehub_pipeline import local
from musehub_pipeline.cli.console import err, print_json_line
from musehub_pipeline.cli.progress import shown_log
from musehub_pipeline.domain.errors import PipelineError
from musehub_pipeline.phases.services import open_database, open_queue
from musehub_pipeline.settings import Settings

_MODULE = "musehub_pipeline.cli.workers"
_POLL_SECONDS = 1
_STOP_SECONDS = 20
_PAUSE_SECONDS = 0.2  # of a worker


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
        self._last_lines: dict[int, str] = {}  # that a process has written to stderr, by its id
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
        environment = local.environment(self._settings)
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
            for read in (self._read_reports, self._show_lines):
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
        if died := [self._ending(process) for process in self._processes if process.returncode]:
            number = f"{len(died)} of {len(self._processes)}"
            raise WorkerDied(f"{number} workers died: {', '.join(died)}")

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

    def _show_lines(self, process: subprocess.Popen[str]) -> None:
        for line in process.stderr or ():
            err.print(line.rstrip("\n"))
            self._last_lines[process.pid] = line.strip()

    def _ending(self, process: subprocess.Popen[str]) -> str:
        if process.returncode < 0:
            return signal.Signals(-process.returncode).name
        why = self._last_lines.get(process.pid, "it said nothing")
        return f"exit code {process.returncode} ({why})"


def _work() -> None:
    """Be a worker: index what is due until nothing is, here or with the other workers."""
    from musehub_pipeline.orchestration.in_process import Runner
    from musehub_pipeline.orchestration.instance import dagster_instance

    settings = local.resolve(Settings.load())
    with (
        open_database(settings) as database,
        dagster_instance() as instance,
        shown_log(on_phase=lambda _: None),
    ):
        queue = open_queue(database, settings)
        runner = Runner(settings, instance)
        may_end = False
        while True:
            ended = runner.run() if queue.has_due() else []
            print_json_line(ended)
            if ended:
                continue
            if may_end:
                return
            may_end = _stdin_ends_within(_PAUSE_SECONDS)


def _stdin_ends_within(seconds: float) -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable)  # the parent writes nothing: all that can be read is the end


def _stoppable_work() -> None:
    try:
        _work()
    except KeyboardInterrupt:  # told to stop within a run, which has given its leases back
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    from musehub_pipeline.cli.main import report_errors

    report_errors(_stoppable_work)
