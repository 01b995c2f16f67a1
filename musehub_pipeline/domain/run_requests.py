"""How many runs a backlog needs: from what is pending and under way to the runs to request.

A run is given no work: it claims what is due when it starts (ADR 2). So a plan may be wrong, and
costs at most a run that finds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LANE_TAG = "musehub/lane"
"""The tag of a run that tells live pushes from backfills, which wait behind them."""

LIVE, BACKFILL = "live", "backfill"

MOST_COUNTED = 10_000
"""Pending jobs that are counted at the most, so that a look costs the same for any backlog."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DueJob:
    """A job that a claim would take now."""

    job_id: str
    repo_id: str
    attempt: int
    died_with: str | None = None  # the run that last died while it had the job, if one did
    together: int | None = None  # how many of that run's jobs one claim takes


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """The queue as it stands."""

    pending: int  # no more than MOST_COUNTED
    running: int
    oldest_seconds: float | None  # age of the oldest pending job
    next_seconds: float | None  # until a backoff or a lease ends
    paused: bool = False  # whether an operator holds back anything
    due: tuple[DueJob, ...]  # oldest first; as many as matter


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """A run to request."""

    run_key: str
    tags: dict[str, str]


def plan_runs(
    backlog: Backlog, *, in_flight: int, unclaimed: int, batch_jobs: int, max_runs: int, epoch: int
) -> list[PlannedRun]:
    """Return the runs that the backlog needs beside those that are under way.

    Args:
        backlog: the queue.
        in_flight: runs that have been requested and have not ended.
        unclaimed: those of them that have not claimed yet, and will take a batch each.
        batch_jobs: jobs that a run takes at the most.
        max_runs: runs that may be in flight.
        epoch: a number that changes every minute or so. Dagster forgets no run key, so a run that
            died before it claimed could not be requested again without it.
    """
    missing = min(runs_needed(backlog.due, batch_jobs) - unclaimed, max_runs - in_flight)
    if missing <= 0:
        return []
    oldest = backlog.due[0]
    more = "+" if backlog.pending == MOST_COUNTED else ""
    tags = {
        LANE_TAG: LIVE,
        "musehub/job": oldest.job_id,
        "musehub/queue_depth": f"{backlog.pending}{more}",
    }
    if len(backlog.due) == 1:
        tags["musehub/repo"] = oldest.repo_id
    return [
        PlannedRun(
            run_key=f"{oldest.job_id}:{oldest.attempt}:{epoch}:{unclaimed + number}", tags=tags
        )
        for number in range(missing)
    ]


def runs_needed(due: Sequence[DueJob], batch_jobs: int) -> int:
    """Return how many runs could work at once: a repo's jobs go to one run at a time."""
    alike: dict[str | None, list[DueJob]] = {}
    for job in due:
        alike.setdefault(job.died_with, []).append(job)
    others = alike.pop(None, [])
    of_the_dead = sum(-(-len(jobs) // (jobs[0].together or 1)) for jobs in alike.values())
    return of_the_dead + min(-(-len(others) // batch_jobs), len({job.repo_id for job in others}))
