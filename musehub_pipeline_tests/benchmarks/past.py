"""Jobs that ended long ago, as many as one likes: rows of few mpacks, each named by many."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from musehub_pipeline.domain.backfill import Selection
from musehub_pipeline_tests.acceptance.pushes import make_past, push_many
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all

_FIRST_DAY = date(2025, 1, 1)
_REPOS = 100
_EACH = 5


def days_of(number: int) -> list[date]:
    """Return so many days, one after the other."""
    return [_FIRST_DAY + timedelta(days=day) for day in range(number)]


def selection_of(days: Sequence[date]) -> Selection:
    """Return what a backfill of these days takes."""
    first, last = (
        datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (days[0], days[-1])
    )
    return Selection(since=first, before=last + timedelta(days=1))


def fill(hub: Hub, *, jobs: int, days: Sequence[date]) -> None:
    """Have an older version index tiny mpacks of many repos; then copy the rows."""
    push_many(hub, repos=_REPOS, each=_EACH)
    index_all(hub)
    hub.sql(
        "INSERT INTO musehub_background_jobs (job_id, repo_id, job_type, payload, status,"
        "   created_at, attempt, run_id, started_at, finished_at, result, attempts)"
        " SELECT job_id || '-' || copy, repo_id, job_type, payload, status,"
        "   created_at + copy * interval '1 day', attempt, run_id, started_at, finished_at, result,"
        "   attempts"
        " FROM musehub_background_jobs, generate_series(2, %(copies)s) AS copy",
        {"copies": jobs // (_REPOS * _EACH)},
    )
    make_past(hub, days)
    hub.sql("VACUUM ANALYZE musehub_background_jobs")  # as autovacuum would


def outdated(hub: Hub) -> int:
    """Return how many jobs an older version has done."""
    [row] = hub.sql("SELECT count(*) FROM musehub_background_jobs WHERE index_version = 0")
    return row["count"]
