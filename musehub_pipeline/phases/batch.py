"""What passes from phase to phase: the jobs of a run, and how each of them fares.

A batch is small whatever its mpacks hold: paths, places in files, ids and counts. A job's trouble
stays with the job; the others go on.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Literal, TypeVar

from musehub_pipeline.domain.budgets import Budgets, Excess
from musehub_pipeline.domain.errors import Deferral, JobError, Transient, Trouble
from musehub_pipeline.domain.job import Claim, Job
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.result import TIMING_OF_PHASE, Outcome, Result
from musehub_pipeline.domain.slices import Slices
from musehub_pipeline.storage.heartbeat import Heartbeat
from musehub_pipeline.storage.index import Index
from musehub_pipeline.storage.object_storage import ObjectStorage
from musehub_pipeline.storage.queue import Queue
from musehub_pipeline.storage.runs import Runs
from musehub_pipeline.storage.scratch import ScratchFile

Answer = TypeVar("Answer")

_THREADS = 8
_BLIP_SECONDS = (0.2, 1.0, 3.0)

_log = logging.getLogger("musehub_pipeline.phases")
_progress = logging.getLogger("musehub_pipeline.progress")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a run behaves; see `Settings` for each field."""

    batch_jobs: int
    batch_bytes: int
    max_runs: int
    max_attempts: int
    keep_runs: timedelta  # of none, for ever; likewise ...
    keep_done: timedelta  # ... this
    retry_base: timedelta
    retry_cap: timedelta
    id_policy: Literal["verify", "record"]
    phase_budgets: Budgets
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the phases work with."""

    queue: Queue
    runs: Runs
    heartbeat: Heartbeat
    index: Index
    objects: ObjectStorage
    scratch: Path
    policy: Policy


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What `unpack` found in an mpack: where all that is new lies, and how it was judged."""

    # What is new, sorted by id, each once.
    missing_objects: Slices  # that storage lacks
    unclaimed_objects: Slices  # that the repo does not hold yet, whoever else does
    snapshots: Slices
    commits: Slices
    objects_total: int
    unverified_ids: int  # recorded under MUSEHUB_ID_POLICY=record
    old_head: str | None  # where the branch stood when the push was judged


@dataclass(frozen=True, kw_only=True)
class Item:
    """One job on its way through the phases."""

    claim: Claim
    claimed_at: float  # monotonic seconds
    job: Job | None = None  # None where its payload cannot be read
    size_bytes: int | None = None  # of the mpack; None where storage has none
    mpack: ScratchFile | None = None
    contents: Contents | None = None
    timings: dict[str, float] = field(default_factory=dict)  # milliseconds by timing key
    counts: dict[str, int] = field(default_factory=dict)
    error: JobError | None = None
    outcome: Outcome | None = None  # what `summarize` made of it

    @property
    def sound(self) -> tuple[Job, ScratchFile, Contents]:
        """What an item has once it has been unpacked."""
        if self.job is None or self.mpack is None or self.contents is None:
            raise RuntimeError(f"job {self.claim.job_id} has not been unpacked")
        return self.job, self.mpack, self.contents

    def counted(self, **counts: int) -> "Item":
        """Return the item with more counts."""
        return replace(self, counts=self.counts | counts)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The jobs of one run, oldest first."""

    run_id: str
    items: tuple[Item, ...] = ()
    results: tuple[Result, ...] = ()  # of `summarize`: of every job that is done, ...
    lines: tuple[tuple[int, str], ...] = ()  # ... the level and summary line of every job, ...
    excesses: tuple[Excess, ...] = ()  # ... and the times over their budgets, the worst first

    @property
    def live(self) -> tuple[Item, ...]:
        """The items that nothing has stopped yet."""
        return tuple(item for item in self.items if item.error is None)


def each_job(
    batch: Batch,
    phase: str,
    work: Callable[[Item], Item],
    *,
    together: bool = False,
    at_end: Callable[[], None] | None = None,
) -> Batch:
    """Do `work` for every live job of the batch, and note what `phase` took.

    The wall time of the phase is shared out by the time that each job's own work took, so that the
    jobs' times add up to it, also where they ran `together`, in threads.
    """
    started = monotonic()
    live = batch.live
    _progress.debug("%s: %d jobs", phase, len(live), extra={"phase": phase})
    beside = together and len(live) > 1
    worked = _together(live, work) if beside else list(_in_order(live, work))
    if at_end is not None:
        worked = _conclude(worked, at_end)
    timing_key = TIMING_OF_PHASE.get(phase)
    wall = monotonic() - started
    own = sum(seconds for _, seconds in worked)
    done: dict[str, Item] = {}
    for item, seconds in worked:
        share = wall * seconds / own if own else 0.0
        timings = item.timings | {timing_key: share * 1e3} if timing_key else item.timings
        done[item.claim.job_id] = replace(item, timings=timings)
    items = tuple(done.get(item.claim.job_id, item) for item in batch.items)
    return replace(batch, items=_hold_back(items))


def _together(items: tuple[Item, ...], work: Callable[[Item], Item]) -> list[tuple[Item, float]]:
    pool = ThreadPoolExecutor(min(_THREADS, len(items)), thread_name_prefix="jobs")
    try:
        return list(pool.map(partial(_attempt, work=work), items))
    finally:
        # A run that is told to stop gives its leases back before a long transfer has ended.
        pool.shutdown(wait=False, cancel_futures=True)


def _in_order(
    items: tuple[Item, ...], work: Callable[[Item], Item]
) -> Iterator[tuple[Item, float]]:
    stopped: set[str] = set()
    for item in items:
        if item.claim.repo_id in stopped:
            yield item, 0.0
        else:
            worked, seconds = _attempt(item, work)
            if worked.error is not None:
                stopped.add(item.claim.repo_id)
            yield worked, seconds


def _attempt(item: Item, work: Callable[[Item], Item]) -> tuple[Item, float]:
    started = monotonic()
    try:
        item = through_blips(partial(work, item))
    except JobError as error:
        item = replace(item, error=error)
    except Exception as error:
        # One mpack that the pipeline stumbles over must not take its neighbours along.
        _log.exception("job %s: unexpected error", item.claim.job_id)
        message = f"{type(error).__name__}: {error}"
        item = replace(item, error=Transient(Trouble.INTERNAL_ERROR, message))
    return item, monotonic() - started


def through_blips(work: Callable[[], Answer]) -> Answer:
    """Do `work`, again where the database was away for a moment: it costs no attempt.

    Raises:
        Transient: DATABASE_UNAVAILABLE, where it stays away.
    """
    for pause in _BLIP_SECONDS:
        try:
            return work()
        except Transient as error:
            if error.code is not Trouble.DATABASE_UNAVAILABLE:
                raise
            sleep(pause)
    return work()


def _conclude(
    worked: list[tuple[Item, float]], at_end: Callable[[], None]
) -> list[tuple[Item, float]]:
    try:
        at_end()
    except JobError as error:
        return [(replace(item, error=item.error or error), seconds) for item, seconds in worked]
    return worked


def _hold_back(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Put off the jobs whose repo has an earlier one in the batch that did not go well.

    They were judged with what the earlier one supplies, and a repo's jobs go in order.
    """
    stopped: dict[str, str] = {}
    checked: list[Item] = []
    for item in items:
        repo_id, job_id = item.claim.repo_id, item.claim.job_id
        if repo_id in stopped and not isinstance(item.error, Deferral):
            message = f"job {stopped[repo_id]} of the same repository goes first"
            item = replace(item, error=Deferral(Trouble.EARLIER_JOB_UNFINISHED, message))  # noqa: PLW2901
        if item.error is not None:
            stopped.setdefault(repo_id, job_id)
        checked.append(item)
    return tuple(checked)
