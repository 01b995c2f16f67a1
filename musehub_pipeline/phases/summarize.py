"""Publish what is done, give back what is not, and say how each job fared."""

import logging
import random
from dataclasses import replace
from datetime import timedelta
from time import monotonic

from musehub_pipeline.domain.errors import Deferral, JobError, Rejection, Trouble
from musehub_pipeline.domain.job import INDEX_VERSION
from musehub_pipeline.domain.result import (
    COUNTS,
    TIMINGS,
    Result,
    done_line,
    failed_line,
    retry_line,
)
from musehub_pipeline.phases.batch import Batch, Item, Policy, Services, each_job
from musehub_pipeline.storage.queue import Head

_DECIMALS = 3

_log = logging.getLogger("musehub_pipeline.index")


def summarize(batch: Batch, services: Services) -> Batch:
    """End every job of the batch: head and `done` in one fenced transaction, or the reason why not.

    Raises:
        Transient: DATABASE_UNAVAILABLE; the leases of what could not be ended then expire.
    """
    for item in batch.items:
        if item.mpack is not None:
            item.mpack.close()
    results: list[Result] = []

    def publish(item: Item) -> Item:
        result = _result(item, batch)
        services.queue.publish(item.claim, result, head=_head(item))
        results.append(result)
        _log.info("%s", done_line(result), extra={"action": "job_done", "result": result})
        return item

    ended = each_job(batch, "summarize", publish)
    for item in ended.items:
        if item.error is not None:
            _give_up(item, item.error, services)
    return replace(ended, results=tuple(results))


def _result(item: Item, batch: Batch) -> Result:
    job, _, contents = item.sound
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
    job, _, contents = item.sound
    if job.head is None or job.branch is None:
        return None
    return Head(branch=job.branch, commit_id=job.head, expected=contents.old_head, force=job.force)


def _give_up(item: Item, error: JobError, services: Services) -> None:
    claim, policy = item.claim, services.policy
    names = {
        "job_id": claim.job_id,
        "repo_id": claim.repo_id,
        "code": str(error.code),
        "message": error.message,
    }
    if error.code is Trouble.LEASE_LOST:
        _log.warning("%s", retry_line(**names), extra=_extra("lease_lost", names))
    elif isinstance(error, Deferral):
        services.queue.release(claim, error, delay=timedelta(0), spent=False)
    elif isinstance(error, Rejection) or claim.attempt >= policy.max_attempts:
        services.queue.fail(claim, error)
        _log.error("%s", failed_line(**names), extra=_extra("job_failed", names))
    else:
        delay = backoff(claim.attempt, policy)
        services.queue.release(claim, error, delay=delay, spent=True)
        _log.warning("%s", retry_line(**names), extra=_extra("job_retried", names))


def _extra(action: str, names: dict[str, str]) -> dict[str, object]:
    # `message` is the log record's own.
    return {"action": action, "job": {key: names[key] for key in ("job_id", "repo_id", "code")}}


def backoff(attempt: int, policy: Policy) -> timedelta:
    """Return how long a job waits after its `attempt`-th failure: exponential, with full jitter."""
    longest = min(policy.retry_cap, policy.retry_base * 2 ** min(attempt - 1, 30))
    return longest * random.random()  # noqa: S311  spreads load, guards nothing
