"""Publish what is done, give back what is not, and say how each job fared."""

import logging
import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from time import monotonic

from musehub_pipeline.domain.budgets import Excess, over_budget
from musehub_pipeline.domain.errors import Deferral, JobError, Rejection, Trouble
from musehub_pipeline.domain.job import INDEX_VERSION, Claim, Status
from musehub_pipeline.domain.result import (
    COUNTS,
    TIMINGS,
    Outcome,
    Result,
    done_line,
    failed_line,
    kept_line,
    lost_line,
    over_budget_line,
    retry_line,
)
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.each_job import each_job, through_blips
from musehub_pipeline.phases.services import Services
from musehub_pipeline.queue.publishing import Head
from musehub_pipeline.settings import Settings

_DECIMALS = 3

_ENDS = {
    Outcome.FAILED: ("job_failed", logging.ERROR, failed_line),
    Outcome.PUT_BACK: ("job_put_back", logging.WARNING, retry_line),
    Outcome.LOST: ("lease_lost", logging.WARNING, lost_line),
    Outcome.KEPT: ("job_kept", logging.WARNING, kept_line),
}
"""How the log tells what became of a job that is not done: action, level and line."""

_log = logging.getLogger("musehub_pipeline.index")


def summarize(batch: Batch, services: Services) -> Batch:
    """End every job of the batch: head and `done` in one fenced transaction, or the reason why not.

    Raises:
        Transient: DATABASE_UNAVAILABLE; the leases of what could not be ended then expire.
    """
    # To give back the space of a large file takes longer than to publish what was in it.
    with ThreadPoolExecutor(1, thread_name_prefix="scratch") as pool:
        closed = pool.submit(_close_mpacks, batch)
        ended = _end(batch, services)
        closed.result()
    return ended


def _close_mpacks(batch: Batch) -> None:
    for item in batch.items:
        if item.mpack is not None:
            try:
                item.mpack.close()
            except OSError as error:  # the whole folder is removed with the run
                _log.warning("job %s: its scratch file stays: %s", item.claim.job_id, error)


def _end(batch: Batch, services: Services) -> Batch:
    results: list[Result] = []
    lines: list[tuple[int, str]] = []

    def publish(item: Item) -> Item:
        result = _result(item, batch)
        ledger = services.archive if item.again else services.queue
        ledger.publish(item.claim, result, head=_head(item))
        results.append(result)
        lines.append((logging.INFO, done_line(result)))
        _log.info("%s", done_line(result), extra={"action": "job_done", "result": result})
        return replace(item, outcome=Outcome.DONE)

    ended = each_job(batch, "summarize", publish)
    items: list[Item] = []
    for item in ended.items:
        if item.error is None:
            items.append(item)
        else:
            outcome, line = _give_up(item, item.error, services)
            items.append(replace(item, outcome=outcome))
            lines.append(line)
    excesses = over_budget(results, services.settings.phase_budgets)
    lines += _point_out(excesses)
    return replace(
        ended, items=tuple(items), results=tuple(results), lines=tuple(lines), excesses=excesses
    )


def _result(item: Item, batch: Batch) -> Result:
    job, _, contents = item.parts
    result: Result = {
        "job_id": item.claim.job_id,
        "repo_id": item.claim.repo_id,
        "mpack_key": job.mpack_key,
        "mpack_size_bytes": item.size_bytes,
        "elapsed_ms": 0.0,
        **{key: round(item.timings.get(key, 0.0), _DECIMALS) for key in TIMINGS},
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
    result["elapsed_ms"] = round((monotonic() - item.claimed_at) * 1e3, _DECIMALS)
    return result


def _head(item: Item) -> Head | None:
    job, _, contents = item.parts
    if job.head is None or job.branch is None:
        return None
    return Head(branch=job.branch, commit_id=job.head, expected=contents.old_head)


def _give_up(item: Item, error: JobError, services: Services) -> tuple[Outcome, tuple[int, str]]:
    """End or put back a job that did not go well; return the level and text of its line too."""
    claim = item.claim
    outcome = through_blips(partial(_settle, claim, error, services))
    action, level, line = _ENDS[outcome]
    code = str(error.code)
    text = line(job_id=claim.job_id, repo_id=claim.repo_id, code=code, message=error.message)
    job = {"job_id": claim.job_id, "repo_id": claim.repo_id, "code": code}
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


def _settle(claim: Claim, error: JobError, services: Services) -> Outcome:
    if claim.former is not None:
        return _leave(claim, error, services)
    settings, queue = services.settings, services.queue
    spent = not isinstance(error, Deferral)
    attempts = claim.attempt - claim.attempts_forgiven
    if error.code is not Trouble.LEASE_LOST:
        if isinstance(error, Rejection) or (spent and attempts >= settings.max_attempts):
            if queue.fail(claim, error):
                return Outcome.FAILED
        else:
            delay = backoff(attempts, settings) if spent else timedelta(0)
            if queue.release(claim, error, delay=delay, spent=spent):
                return Outcome.PUT_BACK
    return Outcome.LOST


def _leave(claim: Claim, error: JobError, services: Services) -> Outcome:
    """Leave a job that could not be indexed again as it was; a failed one may have a new reason."""
    if error.code is not Trouble.LEASE_LOST:
        if claim.former is Status.FAILED and isinstance(error, Rejection):
            if services.archive.fail(claim, error):
                return Outcome.FAILED
        elif services.archive.release(claim):
            return Outcome.KEPT
    return Outcome.LOST


def backoff(attempt: int, settings: Settings) -> timedelta:
    """Return how long a job waits after its `attempt`-th failure: exponential, with full jitter."""
    # In seconds: what has doubled thirty times may be more than a timedelta holds.
    doubled = settings.retry_base_seconds * 2 ** min(attempt - 1, 30)
    longest = min(settings.retry_cap_seconds, doubled)
    return timedelta(seconds=longest * random.random())  # noqa: S311  spreads load, guards nothing
