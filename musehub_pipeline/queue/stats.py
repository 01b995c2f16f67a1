"""What the jobs of a time came to: how long each phase takes, what was slow, and what failed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from musehub_pipeline.domain.budgets import BUDGET_KEYS, BudgetKey
from musehub_pipeline.postgres.database import Database

_ROWS = 10
_PARTS = 48
_POINTS = 2_000
_DECIMALS = 3


class Times(TypedDict):
    """Milliseconds of one timing over all jobs; `share` is its part of what they took."""

    p50: float
    p95: float
    p99: float
    max: float
    total_ms: float
    share: float


class SlowJob(TypedDict):
    """A job that took long."""

    job_id: str
    repo_id: str
    mpack_size_bytes: int | None
    elapsed_ms: float
    finished_at: datetime


class BusyRepo(TypedDict):
    """A repo whose jobs took long, taken together."""

    repo_id: str
    owner: str | None  # None where the repo is gone
    slug: str | None
    jobs: int
    mpack_bytes: int | None
    elapsed_ms: float | None


class _Timed(TypedDict):
    fetch_mpack_ms: float
    unpack_ms: float
    object_puts_ms: float
    object_insert_ms: float
    object_refs_ms: float
    snapshot_insert_ms: float
    commit_insert_ms: float


class TimedJob(_Timed):
    """A done job with all its times."""

    job_id: str
    repo: str  # owner/slug, or its id where the repo is gone
    finished_at: datetime
    mpack_size_bytes: int | None
    elapsed_ms: float


class Part(_Timed):
    """A part of a period: the average of each phase over the jobs that ended in it."""

    begins_at: datetime
    jobs: int
    mpack_bytes: int
    wait_p50_ms: float | None
    wait_p95_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Course:
    """A period as charts show it: how it went, and some of its jobs."""

    period: tuple[datetime, datetime]
    part_seconds: float
    parts: list[Part]
    newest: list[TimedJob]
    slowest: list[TimedJob]


class Stats(TypedDict):
    """What it is called, and in which order, is a contract, as of a result."""

    since: datetime | None  # None where no job was done
    at: datetime
    jobs: int
    mpack_bytes: int
    jobs_per_second: float
    bytes_per_second: float
    times: dict[BudgetKey, Times]  # of no job where none is done
    slowest_jobs: list[SlowJob]
    busiest_repos: list[BusyRepo]
    failed: dict[str, int]  # by reason


def stats_of_hours(database: Database, hours: float) -> Stats:
    """Return the statistics of what ended in the last hours.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    return _stats(database, since=database.now() - timedelta(hours=hours), most=None)


def stats_of_jobs(database: Database, jobs: int) -> Stats:
    """Return the statistics of the newest jobs that are done, and of what failed meanwhile.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    return _stats(database, since=None, most=jobs)


def course_of(database: Database, stats: Stats, *, jobs: int | None) -> Course:
    """Return how the period of some statistics went; `jobs` as they were made of the newest jobs.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    end = stats["at"]
    begin = stats["since"] or end - timedelta(seconds=1)
    period = _period(None if jobs else begin, jobs)
    parts = period | {"begin": begin, "end": end, "parts": _PARTS}
    with database.transaction() as transaction:
        return Course(
            period=(begin, end),
            part_seconds=(end - begin).total_seconds() / _PARTS,
            parts=transaction.rows("stats_course", parts, of=Part),
            newest=transaction.rows("stats_newest", period | {"rows": _POINTS}, of=TimedJob),
            slowest=transaction.rows(
                "stats_slowest_timed_jobs", period | {"rows": _ROWS}, of=TimedJob
            ),
        )


def _period(since: datetime | None, most: int | None) -> dict[str, Any]:
    return {"since": since or datetime(1, 1, 2, tzinfo=UTC), "most": most}


def _stats(database: Database, *, since: datetime | None, most: int | None) -> Stats:
    period = _period(since, most)
    with database.transaction() as transaction:
        totals = transaction.one("stats_totals", period)
        begin = since or totals["first_at"]
        seconds = (totals["at"] - begin).total_seconds() if begin else 0.0
        times = {row.pop("key"): row for row in transaction.rows("stats_times", period)}
        listed = period | {"rows": _ROWS}
        slowest = transaction.rows("stats_slowest_jobs", listed, of=SlowJob)
        busiest = transaction.rows("stats_busiest_repos", listed, of=BusyRepo)
        failed = transaction.tuples("failures", {"since": begin or totals["at"]})
    worked = times.get("elapsed_ms", {}).get("total_ms") or 0.0
    return Stats(
        since=begin,
        at=totals["at"],
        jobs=totals["jobs"],
        mpack_bytes=totals["mpack_bytes"],
        jobs_per_second=totals["jobs"] / seconds if seconds else 0.0,
        bytes_per_second=totals["mpack_bytes"] / seconds if seconds else 0.0,
        times={key: _times(times[key], worked) for key in BUDGET_KEYS if key in times},
        slowest_jobs=slowest,
        busiest_repos=busiest,
        failed=dict(failed),
    )


def _times(row: dict[str, float], worked: float) -> Times:
    share = row["total_ms"] / worked if worked else 0.0
    return Times(
        **{name: round(value, _DECIMALS) for name, value in (row | {"share": share}).items()}
    )
