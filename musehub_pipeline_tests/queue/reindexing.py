"""Short words for what tests do to jobs that have ended."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from musehub_pipeline.domain.backfill import PastJob, Select, Selection
from musehub_pipeline.queue.lease import PastLease
from musehub_pipeline.queue.reindex import Archive
from musehub_pipeline_tests.hub import Hub

DAY = datetime(2026, 3, 2, tzinfo=UTC)
NEXT_DAY = DAY + timedelta(days=1)
NOON = DAY + timedelta(hours=12)

RESULT = {"mpack_size_bytes": 70, "head": "sha256:old", "head_moved": True, "run_id": "first"}
ENDED = {
    "attempt": 1,
    "run_id": "first",
    "started_at": "2026-03-02T12:00:01+00:00",
    "ended_at": "2026-03-02T12:00:02+00:00",
    "code": None,
    "message": None,
}


def chosen(select: Select = Select.OUTDATED, **more: Any) -> Selection:
    """Return a selection of the jobs of the day."""
    return Selection(**{"since": DAY, "before": NEXT_DAY, "select": select} | more)


def ended_job(hub: Hub, repo_id: str, **columns: Any) -> str:
    """Insert a job that an older version has done at noon, but for some columns."""
    job_id = hub.enqueue(repo_id, mpack_key="key")
    values = {
        "status": "done",
        "created_at": NOON,
        "attempt": 1,
        "run_id": "first",
        "started_at": ENDED["started_at"],
        "finished_at": ENDED["ended_at"],
        "result": json.dumps(RESULT),
        "index_version": 0,
        "attempts": json.dumps([ENDED]),
    } | columns
    assignments = ", ".join(f"{name} = %({name})s" for name in values)
    hub.sql(
        f"UPDATE musehub_background_jobs SET {assignments} WHERE job_id = %(job_id)s",
        values | {"job_id": job_id},
    )
    return job_id


def failed_job(hub: Hub, repo_id: str, code: str = "BAD_ID", **columns: Any) -> str:
    """Insert a job that failed at noon, but for some columns."""
    attempts = json.dumps([ENDED | {"code": code, "message": "why"}])
    failure = {"status": "failed", "error_code": code, "error": "why", "attempts": attempts}
    return ended_job(hub, repo_id, **{"result": None, "index_version": None} | failure | columns)


def past(hub: Hub, *job_ids: str) -> list[PastJob]:
    """Return jobs as a plan made now would have them."""
    attempts = [hub.job(job_id)["attempt"] for job_id in job_ids]
    return [PastJob(job_id, attempt, 0) for job_id, attempt in zip(job_ids, attempts, strict=True)]


def claim_again(
    archive: Archive, hub: Hub, *job_ids: str, run_id: str = "again"
) -> list[PastLease]:
    """Have a run lease those jobs that it can."""
    return archive.claim(past(hub, *job_ids), run_id=run_id)
