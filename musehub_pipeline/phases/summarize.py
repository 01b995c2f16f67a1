"""Publish what is done, give back what is not, and say how each job fared."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic
from typing import cast

from musehub_pipeline.domain.budgets import Budgets, Excess, over_budget
from musehub_pipeline.domain.errors import JobError
from musehub_pipeline.domain.job import INDEX_VERSION
from musehub_pipeline.domain.result import (
    COUNTS,
    TIMINGS,
    Outcome,
    Result,
    done_line,
    ending_line,
    over_budget_line,
)
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_group
from musehub_pipeline.phases.services import WorkServices
from musehub_pipeline.postgres.blips import through_blips
from musehub_pipeline.queue.lease import Head, Publication, publish

_DECIMALS = 3

_ENDS = {
    Outcome.FAILED: ("job_failed", logging.ERROR),
    Outcome.PUT_BACK: ("job_put_back", logging.WARNING),
    Outcome.LOST: ("lease_lost", logging.WARNING),
    Outcome.KEPT: ("job_kept", logging.WARNING),
}
"""How the log tells what became of a job that is not done: action and level."""

_log = logging.getLogger("musehub_pipeline.index")


def summarize(batch: Batch, services: WorkServices) -> Batch:
    """End every job of the batch: head and `done` in one fenced transaction, or the reason why not.

    Raises:
        Transient: DATABASE_UNAVAILABLE; the leases of what could not be ended then expire.
    """
    # To give back the space of a large file takes longer than to publish what was in it.
    with ThreadPoolExecutor(1, thread_name_prefix="scratch") as pool:
        closed = pool.submit(_close_mpacks, batch)
        ended = _end(batch, services.settings.phase_budgets)
        closed.result()
    return ended


def _close_mpacks(batch: Batch) -> None:
    for item in batch.items:
        if item.mpack is not None:
            try:
                item.mpack.close()
            except OSError as error:  # the whole folder is removed with the run
                _log.warning("job %s: its scratch file stays: %s", item.claim.job_id, error)


def _end(batch: Batch, budgets: Budgets) -> Batch:
    results: list[Result] = []
    lines: list[tuple[int, str]] = []
    overhead = _overhead(batch)

    def publish_group(items: Sequence[Item]) -> Sequence[Item]:
        done = [
            Publication(
                lease=item.lease,
                result=_result(item, batch, overhead=overhead),
                head=_head(item),
            )
            for item in items
        ]
        publish(done)
        for publication in done:
            result = publication.result
            line = done_line(result)
            results.append(result)
            lines.append((logging.INFO, line))
            _log.info("%s", line, extra={"action": "job_done", "result": result})
        return [replace(item, outcome=Outcome.DONE) for item in items]

    ended = each_group(batch, "summarize", publish_group)
    items: list[Item] = []
    for item in ended.items:
        if item.error is None:
            items.append(item)
        else:
            outcome, line = _give_up(item, item.error)
            items.append(replace(item, outcome=outcome))
            lines.append(line)
    excesses = over_budget(results, budgets)
    lines += _point_out(excesses)
    return replace(
        ended, items=tuple(items), results=tuple(results), lines=tuple(lines), excesses=excesses
    )


def _overhead(batch: Batch) -> float:
    """Return each job's part of what went by between claim and publication, but in no phase."""
    if not batch.items:
        return 0.0
    clock = (monotonic() - batch.items[0].claimed_at) * 1e3
    phases = sum(sum(item.timings.values()) for item in batch.items) + batch.put_back_ms
    return max(0.0, clock - phases) / len(batch.items)


def _result(item: Item, batch: Batch, *, overhead: float) -> Result:
    job, mpack, contents = item.unpacked
    timings = {key: round(item.timings.get(key, 0.0), _DECIMALS) for key in TIMINGS}
    result = {
        "job_id": item.claim.job_id,
        "repo_id": item.claim.repo_id,
        "mpack_key": job.mpack_key,
        "mpack_size_bytes": mpack.size,
        "elapsed_ms": round(sum(timings.values()) + overhead, _DECIMALS),
        "batch_elapsed_ms": 0.0,
        **timings,
        **{key: item.counts.get(key, 0) for key in COUNTS},
        "objects_total": contents.objects_total,
        "branch": job.branch,
        "head": job.head,
        "head_moved": job.head is not None and job.head != contents.old_head,
        "attempt": item.claim.attempt,
        "batch_jobs": len(batch.items),
        "run_id": batch.run_id,
        "index_version": INDEX_VERSION,
    }
    if contents.unverified_ids:
        result["unverified_ids"] = contents.unverified_ids
    result["batch_elapsed_ms"] = round((monotonic() - item.claimed_at) * 1e3, _DECIMALS)
    return cast("Result", result)


def _head(item: Item) -> Head | None:
    job, _, contents = item.unpacked
    if job.head is None or job.branch is None:
        return None
    return Head(branch=job.branch, commit_id=job.head, expected=contents.old_head)


def _give_up(item: Item, error: JobError) -> tuple[Outcome, tuple[int, str]]:
    """End or put back a job that did not go well; return the level and text of its line too."""
    claim = item.claim
    outcome = through_blips(item.lease.settle, error)
    action, level = _ENDS[outcome]
    job = {"job_id": claim.job_id, "repo_id": claim.repo_id, "code": str(error.code)}
    text = ending_line(outcome, **job, message=error.message)
    _log.log(level, "%s", text, extra={"action": action, "job": job})
    return outcome, (level, text)


def _point_out(excesses: tuple[Excess, ...]) -> list[tuple[int, str]]:
    """Log one line for each job that is over a budget; return the level and text of each."""
    by_job: defaultdict[tuple[str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    for excess in excesses:
        by_job[excess.job_id, excess.repo_id][excess.key] = (excess.taken, excess.budget)
    lines: list[tuple[int, str]] = []
    for (job_id, repo_id), times in by_job.items():
        text = over_budget_line(job_id=job_id, repo_id=repo_id, times=times)
        job = {"job_id": job_id, "repo_id": repo_id, "times": times}
        _log.warning("%s", text, extra={"action": "job_over_budget", "job": job})
        lines.append((logging.WARNING, text))
    return lines
