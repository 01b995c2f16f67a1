"""How a phase goes through the jobs of a batch.

A job's trouble stays with the job; the others go on.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from time import monotonic

from musehub_pipeline.domain.errors import Deferral, JobError, Transient, Trouble
from musehub_pipeline.domain.result import TIMING_OF_PHASE
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.postgres.blips import through_blips

_THREADS = 8

_log = logging.getLogger("musehub_pipeline.phases")
_progress = logging.getLogger("musehub_pipeline.progress")


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
    # One job goes to a thread as well: there a signal does not wait until the storage answers.
    worked = _together(live, work) if together and live else list(_in_order(live, work))
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
    away: JobError | None = None  # the database, after all patience: it is not asked again
    for item in items:
        if item.claim.repo_id in stopped:
            yield item, 0.0
        elif away is not None:
            yield replace(item, error=away), 0.0
        else:
            worked, seconds = _attempt(item, work)
            if worked.holds_up:
                stopped.add(item.claim.repo_id)
            if worked.error is not None and worked.error.code is Trouble.DATABASE_UNAVAILABLE:
                away = worked.error
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
        if item.holds_up:
            stopped.setdefault(repo_id, job_id)
        checked.append(item)
    return tuple(checked)


def put_back_late(batch: Batch) -> Batch:
    """Put back, unspent, the pushes that came too late for the batch; return the rest.

    With them go those that wait behind them: their repositories are free again. The latest goes
    first. What is indexed again keeps nobody waiting, and is left for the end of the batch.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    late = {
        item.claim.repo_id
        for item in batch.items
        if item.lease.holds_repo and item.error and item.error.code is Trouble.OVER_BATCH
    }
    kept: list[Item] = []
    put_back_ms = batch.put_back_ms
    for item in reversed(batch.items):
        if item.claim.repo_id in late and isinstance(item.error, Deferral):
            if item.mpack is not None:
                item.mpack.close()
            through_blips(item.lease.give_back)
            put_back_ms += sum(item.timings.values())
        else:
            kept.append(item)
    return replace(batch, items=tuple(reversed(kept)), put_back_ms=put_back_ms)
