"""Jobs that ended long ago, for commands about backfills: real ones, and rows alone."""

import json
from datetime import UTC, date, datetime, timedelta

from musehub_pipeline.domain.job import INDEX_VERSION
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_one

START = date(2026, 1, 1)
"""The first day in `MUSEHUB_BACKFILL_START`."""

OUTDATED = INDEX_VERSION - 1


def day(number: int) -> str:
    """Return a day after the first one, as people write it."""
    return (START + timedelta(days=number)).isoformat()


def pushed(hub: Hub, job_id: str, number: int) -> str:
    """Date a push on the evening of a day, and return its job."""
    evening = datetime(START.year, START.month, START.day, 23, 59, tzinfo=UTC)
    hub.sql(
        "UPDATE musehub_background_jobs SET created_at = %(at)s WHERE job_id = %(id)s",
        {"at": evening + timedelta(days=number), "id": job_id},
    )
    return job_id


def indexed(hub: Hub, repo_id: str, number: int, *, version: int = OUTDATED) -> str:
    """Push a small history on a day, index it, and return its job, done by that version."""
    history = small_history()
    job_id = hub.push(repo_id, history.mpack(), head=list(history.commits)[-1])
    index_one(hub, job_id)
    hub.sql(
        "UPDATE musehub_background_jobs SET index_version = %(v)s WHERE job_id = %(id)s",
        {"v": version, "id": job_id},
    )
    return pushed(hub, job_id, number)


def failed(hub: Hub, repo_id: str, number: int, code: str) -> str:
    """Push what has long been mended on a day, and return its job, failed with a code."""
    job_id = hub.push(repo_id, small_history().mpack())
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'failed', attempt = 1, error_code = %(code)s,"
        " error = 'once', finished_at = clock_timestamp() WHERE job_id = %(id)s",
        {"code": code, "id": job_id},
    )
    return pushed(hub, job_id, number)


def killed(hub: Hub, job_id: str, *, kills: int) -> None:
    """Have so many runs died over a job that ended with its first attempt."""
    hub.sql(
        "UPDATE musehub_background_jobs SET attempt = attempt + %(k)s,"
        """ attempts = '[{"attempt": 1}]' WHERE job_id = %(id)s""",
        {"k": kills, "id": job_id},
    )


def row(
    hub: Hub,
    repo_id: str,
    number: int,
    *,
    version: int | None = OUTDATED,
    size: int | None = 1000,
    elapsed_ms: float | None = None,
    batch_jobs: int = 1,
) -> str:
    """Insert nothing but the row of a job that is done, pushed on a day, and return its job."""
    result = {"mpack_size_bytes": size, "elapsed_ms": elapsed_ms, "batch_jobs": batch_jobs}
    job_id = hub.enqueue(repo_id)
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'done', attempt = 1, index_version = %(v)s,"
        " finished_at = clock_timestamp(), result = %(r)s WHERE job_id = %(id)s",
        {"v": version, "r": json.dumps(result), "id": job_id},
    )
    return pushed(hub, job_id, number)


def standing(hub: Hub, *job_ids: str) -> list[tuple[str, int, int | None, str | None]]:
    """Return of some jobs: status, attempt, version and reason."""
    rows = [hub.job(job_id) for job_id in job_ids]
    return [(r["status"], r["attempt"], r["index_version"], r["error_code"]) for r in rows]
