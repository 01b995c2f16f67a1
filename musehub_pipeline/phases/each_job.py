"""How a phase goes through the jobs of a batch.

A job's trouble stays with the job; the others go on.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from time import monotonic

from musehub_pipeline.domain.errors import Deferral, JobError, Transient, Trouble
from musehub_pipeline.domain.result import TIMING_OF_PHASE
from musehub_pipeline.parallel import in_threads
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.postgres.blips import through_blips

Work = Callable[[Sequence[Item]], Sequence[Item]]
Worked = tuple[Item, float]  # and how many seconds its own work took

_THREADS = 8
_GROUP_BYTES = 1 << 20
_JOB_BYTES = 1 << 10  # a job's fixed cost, in mpack bytes that take equally long
_GROUP_JOBS = 100  # a killed run leaves at most so many jobs almost done

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

    The jobs' times add up to the wall time of the phase, also where they ran `together`, in
    threads: it is shared out by the time that each job's own work took.
    """

    def work_on(items: Sequence[Item]) -> Sequence[Item]:
        return [work(item) for item in items]

    def run(live: Sequence[Item]) -> list[Worked]:
        # A single job uses a thread too, so that signals need not wait for storage.
        alone = [(item,) for item in live]
        worked = _in_threads(alone, work_on) if together else list(_in_order(alone, work_on))
        return worked if at_end is None else _conclude(worked, at_end)

    return _phase(batch, phase, run)


def each_group(
    batch: Batch,
    phase: str,
    work: Callable[[Sequence[Item]], Sequence[Item]],
    *,
    alone: Callable[[Item], Item] | None = None,
) -> Batch:
    """As `each_job`, but do `work` for groups of jobs: small ones that follow each other.

    A statement for fifty tiny pushes takes little longer than for one. A group succeeds or fails
    as a whole. If it fails, its jobs run one by one, and only the faulty ones stop. `alone`, if
    given, does the work for a job that runs by itself. The time of a group is shared out by the
    sizes of its mpacks.
    """

    def work_on(items: Sequence[Item]) -> Sequence[Item]:
        return work(items) if alone is None or len(items) > 1 else [alone(items[0])]

    return _phase(batch, phase, lambda live: list(_in_order(_groups(live), work_on)))


def _phase(batch: Batch, phase: str, run: Callable[[Sequence[Item]], list[Worked]]) -> Batch:
    started = monotonic()
    live = batch.live
    _progress.debug("%s: %d jobs", phase, len(live), extra={"phase": phase})
    worked = run(live) if live else []
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


def _groups(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    group: list[Item] = []
    room = _GROUP_BYTES
    for item in items:
        size = item.mpack.size if item.mpack is not None else 0
        if len(group) == _GROUP_JOBS or (group and size > room):
            yield group
            group, room = [], _GROUP_BYTES
        group.append(item)
        room -= size
    if group:
        yield group


def _in_threads(groups: Sequence[Sequence[Item]], work: Work) -> list[Worked]:
    threads = min(_THREADS, len(groups))
    pool = ThreadPoolExecutor(threads, thread_name_prefix="jobs")
    try:
        attempt = partial(_attempt, work=work)
        return list(chain.from_iterable(in_threads(attempt, groups, pool=pool, threads=threads)))
    finally:
        # A run that is told to stop gives its leases back before a long transfer has ended.
        pool.shutdown(wait=False, cancel_futures=True)


def _in_order(groups: Iterable[Sequence[Item]], work: Work) -> Iterator[Worked]:
    stopped: set[str] = set()
    away: JobError | None = None  # set once the database stays unavailable; it is not asked again
    waiting = deque(groups)
    while waiting:
        group = waiting.popleft()
        yield from ((item, 0.0) for item in group if item.claim.repo_id in stopped)
        group = [item for item in group if item.claim.repo_id not in stopped]
        if not group:
            continue
        if away is not None:
            yield from ((replace(item, error=away), 0.0) for item in group)
            continue
        worked = _attempt(group, work)
        for item, _ in worked:
            if item.error is not None and item.error.code is Trouble.DATABASE_UNAVAILABLE:
                away = item.error
        if len(group) > 1 and away is None and any(item.error for item, _ in worked):
            waiting.extendleft([item] for item in reversed(group))
            continue
        stopped.update(item.claim.repo_id for item, _ in worked if item.holds_up)
        yield from worked


def _attempt(group: Sequence[Item], work: Work) -> list[Worked]:
    started = monotonic()
    try:
        group = through_blips(work, group)
    except JobError as error:
        if len(group) > 1:
            _log.info("%d jobs together: %s: each goes by itself", len(group), error)
        group = [replace(item, error=error) for item in group]
    except Exception as error:
        # One mpack that the pipeline stumbles over must not take its neighbours along.
        if len(group) > 1:
            _log.warning("%d jobs together: each goes by itself", len(group), exc_info=True)
        else:
            _log.exception("job %s: unexpected error", group[0].claim.job_id)
        message = f"{type(error).__name__}: {error}"
        unexpected = Transient(Trouble.INTERNAL_ERROR, message)
        group = [replace(item, error=unexpected) for item in group]
    seconds = monotonic() - started
    sizes = [_JOB_BYTES + (item.mpack.size if item.mpack is not None else 0) for item in group]
    return [(item, seconds * size / sum(sizes)) for item, size in zip(group, sizes, strict=True)]


def _conclude(worked: list[Worked], at_end: Callable[[], None]) -> list[Worked]:
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
    """Release the jobs that did not fit into the batch; return the rest.

    No attempt is spent. The deferred jobs of their repositories are released with them, the newest
    first. Jobs that are indexed again stay until the end of the batch, as nobody waits for them.

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
