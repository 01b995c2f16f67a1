"""How the log of a run shows on the terminal."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

from musehub_pipeline.cli.console import err, plain

_SUMMARY = "musehub_pipeline.index"
_PROGRESS = "musehub_pipeline.progress"
_ENDED = {"job_done", "job_failed", "job_kept", "lease_lost"}


@contextmanager
def logs_as_output(*, on_phase: Callable[[str], None]) -> Generator[None]:
    """Show summary lines and warnings while the block runs; phases that begin go to `on_phase`."""
    with _handled(_Lines(), on_phase):
        yield


@contextmanager
def logs_as_progress(
    *, on_phase: Callable[[str], None], on_job: Callable[[int], None]
) -> Generator[None]:
    """Show warnings while the block runs, which is long; what ends is counted by `on_job`.

    A job that did not go well has a summary line that is a warning.
    """
    with _handled(_Jobs(on_job), on_phase):
        yield


@contextmanager
def _handled(lines: logging.Handler, on_phase: Callable[[str], None]) -> Generator[None]:
    ours = logging.getLogger("musehub_pipeline")
    progress = logging.getLogger(_PROGRESS)
    phases = _Phases(on_phase)
    before = ours.level, progress.level, progress.propagate
    ours.addHandler(lines)
    progress.addHandler(phases)
    ours.setLevel(logging.INFO)
    progress.setLevel(logging.DEBUG)
    progress.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(lines)
        progress.removeHandler(phases)
        ours.setLevel(before[0])
        progress.setLevel(before[1])
        progress.propagate = before[2]


class _Lines(logging.Handler):
    """Prints the summary lines, and whatever else is a warning or worse."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == _SUMMARY or record.levelno >= logging.WARNING:
            err.print(plain(record.getMessage()))


class _Jobs(logging.Handler):
    """Prints whatever is a warning or worse, and counts the jobs that end."""

    def __init__(self, on_job: Callable[[int], None]) -> None:
        super().__init__()
        self._on_job = on_job

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            err.print(plain(record.getMessage()))
        if getattr(record, "action", None) in _ENDED:
            self._on_job(1)


class _Phases(logging.Handler):
    """Hands on the name of each phase that begins."""

    def __init__(self, on_phase: Callable[[str], None]) -> None:
        super().__init__()
        self._on_phase = on_phase

    def emit(self, record: logging.LogRecord) -> None:
        self._on_phase(getattr(record, "phase", ""))
