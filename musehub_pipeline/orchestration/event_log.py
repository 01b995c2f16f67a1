"""Dagster's event log: how many entries it gets does not depend on how many jobs there are."""

from collections import defaultdict
from collections.abc import Sequence

import dagster as dg

from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.queue.claim import Rescued


def log_lines(context: dg.OpExecutionContext, batch: Batch) -> None:
    """Log the line of each job of a batch."""
    for level, text in log_entries(batch.lines):
        context.log.log(level, text)


def note_rescued(instance: dg.DagsterInstance, rescued: Sequence[Rescued]) -> None:
    """Add to the log of each run that died what became of its jobs: one event a run."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for job in rescued:
        if job.run_id is not None:
            lines[job.run_id].append(job.line)
    for run_id in sorted(lines):
        # Dagster has no such run where its database was lost, or where it was pruned.
        if run := instance.get_run_by_id(run_id):
            instance.report_engine_event("\n".join(lines[run_id]), run)


def log_entries(lines: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return the lines as entries of Dagster's log: one a level, however many jobs there are.

    An entry is a write of Dagster's: one a job took a fifth of a run of tiny mpacks, on SQLite.
    """
    texts: defaultdict[int, list[str]] = defaultdict(list)
    for level, line in lines:
        texts[level].append(line)
    return [(level, "\n".join(texts[level])) for level in sorted(texts)]
