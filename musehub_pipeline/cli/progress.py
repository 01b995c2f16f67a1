"""How work shows on the terminal while it lasts: as a bar, and by what its log says."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from musehub_pipeline.cli.console import err

_SUMMARY = "musehub_pipeline.index"
_PHASES = "musehub_pipeline.progress"
_ENDED = {"job_done", "job_failed", "job_kept", "lease_lost"}


@contextmanager
def progress_bar(description: str, unit: str) -> Generator[Callable[[int, int | None], None]]:
    """Show a bar while the block runs; the function that it gives takes (done, total if known)."""
    with _progress(unit) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
        progress.update(task, total=progress.tasks[0].completed)  # so that it stands full


@contextmanager
def jobs_bar(total: int) -> Generator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """Show a bar of jobs, with the phase that is under way; gives functions to set each."""
    with _progress("jobs") as progress:
        task = progress.add_task("starting", total=total)
        yield (
            lambda phase: progress.update(task, description=phase),
            lambda jobs: progress.advance(task, jobs),
        )


def _progress(unit: str) -> Progress:
    columns: tuple[Any, ...] = (
        SpinnerColumn(),
        TextColumn("{task.description:<20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=err)


@contextmanager
def shown_log(
    *, on_phase: Callable[[str], None], on_job: Callable[[int], None] | None = None
) -> Generator[None]:
    """Show warnings and summary lines while the block runs; phases that begin go to `on_phase`.

    Where `on_job` counts what ends, the block is long, and only the summary lines of jobs that did
    not go well are shown: these are warnings.
    """
    handler = _Handler(on_phase, on_job)
    ours, phases = logging.getLogger("musehub_pipeline"), logging.getLogger(_PHASES)
    before = ours.level, phases.level, phases.propagate
    for logger, level in ((ours, logging.INFO), (phases, logging.DEBUG)):
        logger.addHandler(handler)
        logger.setLevel(level)
    phases.propagate = False
    try:
        yield
    finally:
        for logger, level in ((ours, before[0]), (phases, before[1])):
            logger.removeHandler(handler)
            logger.setLevel(level)
        phases.propagate = before[2]


class _Handler(logging.Handler):
    def __init__(
        self, on_phase: Callable[[str], None], on_job: Callable[[int], None] | None
    ) -> None:
        super().__init__()
        self._on_phase = on_phase
        self._on_job = on_job

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == _PHASES:
            self._on_phase(getattr(record, "phase", ""))
            return
        told = record.name == _SUMMARY and self._on_job is None
        if told or record.levelno >= logging.WARNING:
            err.print(record.getMessage())
        if self._on_job is not None and getattr(record, "action", None) in _ENDED:
            self._on_job(1)
