"""Short words for what tests do to a queue."""

from datetime import timedelta
from typing import Any

from musehub_pipeline.domain.errors import Transient, Trouble
from musehub_pipeline.queue.backoff import Backoff
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.jobs import Jobs
from musehub_pipeline.queue.lease import Head, Lease, LiveLease, Publication, publish
from musehub_pipeline_tests.hub import Hub

LEASE = timedelta(minutes=1)
BACKOFF = Backoff(max_attempts=2, base_seconds=2, cap_seconds=600, read_again=timedelta(seconds=60))
NOW = timedelta(0)
TROUBLE = Transient(Trouble.STORAGE_UNAVAILABLE, "the disk is full")


def claimed(queue: Queue, run_id: str = "run", *, limit: int = 100) -> list[str]:
    """Claim as a run does, which first takes back what runs that died have left."""
    queue.rescue()
    return [lease.claim.job_id for lease in queue.claim(run_id=run_id, limit=limit)]


def named(queue: Queue, *job_ids: str) -> list[str]:
    return [lease.claim.job_id for lease in queue.claim(run_id="run", limit=1, job_ids=job_ids)]


def claim_one(queue: Queue, run_id: str = "run") -> LiveLease:
    [lease] = queue.claim(run_id=run_id, limit=1)
    return lease


def publish_one(lease: Lease, result: Any, *, head: Head | None) -> None:
    """Publish a job alone, with a result that need not be whole."""
    publish([Publication(lease=lease, result=result, head=head)])


def reason(jobs: Jobs, job_id: str) -> str:
    return jobs.explain(jobs.require(job_id))


def change(hub: Hub, job_id: str, assignment: str) -> None:
    hub.sql(
        f"UPDATE musehub_background_jobs SET {assignment} WHERE job_id = %(id)s", {"id": job_id}
    )


def expire(hub: Hub, job_id: str) -> None:
    change(hub, job_id, "lease_expires_at = now() - interval '1 second'")


def put_off(hub: Hub, job_id: str) -> None:
    change(hub, job_id, "not_before = now() + interval '1 hour'")


def seconds(hub: Hub, job_id: str, expression: str) -> float:
    [row] = hub.sql(
        f"SELECT extract(epoch FROM {expression})::float AS s"
        " FROM musehub_background_jobs WHERE job_id = %(id)s",
        {"id": job_id},
    )
    return row["s"]


def state(hub: Hub, job_id: str) -> dict[str, Any]:
    """Return what is left of a job's row without its times and what the hub wrote."""
    row = hub.job(job_id)
    return {name: row[name] for name in ("status", "attempt", "run_id", "error_code", "error")}
