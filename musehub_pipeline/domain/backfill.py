"""Indexing again what ended long ago: which jobs, how fast, and what came of it. No I/O."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from musehub_pipeline.domain.mpack import LEAST_ITEM_BYTES
from musehub_pipeline.domain.result import COUNTS, TIMINGS, Result

MOST_WAITING = 100
"""A backfill counts at most so many live jobs that are due; more do not make it wait longer."""

_PAUSE_SECONDS_A_JOB = 0.1
_DECIMALS = 3


class Select(StrEnum):
    """Which of the jobs that have ended are indexed again."""

    OUTDATED = "outdated"  # done, by an older version of the pipeline
    FAILED = "failed"  # failed, with one of the codes that are given
    ALL = "all"  # done or failed, whatever the version


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The jobs that a backfill takes: of these days, of all repos or of one."""

    since: datetime  # by `created_at`
    before: datetime
    select: Select = Select.OUTDATED
    codes: tuple[str, ...] = ()  # for FAILED; none: any
    repo_id: str | None = None
    job_ids: tuple[str, ...] | None = None  # only these
    ended_before: datetime | None = None  # leaves out what this backfill has ended already


@dataclass(frozen=True, slots=True)
class PastJob:
    """A job that has ended; whoever claims it must find it at that attempt."""

    job_id: str
    attempt: int
    size_bytes: int  # of its mpack, 0 where that is not known
    suspect: bool = False  # it may be what killed a run
    unread_key: str | None = None  # of its mpack, where that has never been read


def split_into_batches(
    jobs: Iterable[PastJob], *, batch_jobs: int, batch_bytes: int, batch_rows: int
) -> Iterator[list[PastJob]]:
    """Yield the jobs in order, in batches of at most so many jobs, bytes and rows, but for one.

    The rows of an mpack are not known, but each takes at least LEAST_ITEM_BYTES. A suspect goes
    alone: if it kills its run again, it takes no other job along.
    """
    batch: list[PastJob] = []
    size = 0
    batch_bytes = min(batch_bytes, batch_rows * LEAST_ITEM_BYTES)
    for job in jobs:
        full = len(batch) == batch_jobs or size + job.size_bytes > batch_bytes
        if batch and (full or job.suspect or batch[-1].suspect):
            yield batch
            batch, size = [], 0
        batch.append(job)
        size += job.size_bytes
    if batch:
        yield batch


def given_up_line(jobs: int) -> str:
    """Return what there is to say of jobs that are planned no more, for they kill their runs."""
    return (
        f"{jobs:,} jobs are given up: over each, MUSEHUB_MAX_KILLS runs have died;"
        " raise it to try them again"
    )


def pause_seconds(waiting: int) -> float:
    """Return how long a backfill rests before a batch while so many live jobs are due."""
    return min(waiting, MOST_WAITING) * _PAUSE_SECONDS_A_JOB


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast jobs were indexed of late."""

    jobs: int
    mpack_bytes: int
    seconds: float

    def seconds_for(self, *, jobs: int, mpack_bytes: int) -> float:
        """Return how long so many more take: small mpacks cost by the job, large ones by size."""
        by_bytes = mpack_bytes / self.mpack_bytes if self.mpack_bytes else 0.0
        return self.seconds * max(jobs / self.jobs, by_bytes)

    def as_dict(self) -> dict[str, Any]:
        """Return it as rates, JSON-ready."""
        return {
            "jobs_measured": self.jobs,
            "jobs_per_second": round(self.jobs / self.seconds, _DECIMALS),
            "bytes_per_second": round(self.mpack_bytes / self.seconds, _DECIMALS),
        }


def estimate(pace: Pace | None, *, jobs: int, mpack_bytes: int) -> float | None:
    """Return how many seconds so many jobs take; None where that was never measured."""
    return pace and round(pace.seconds_for(jobs=jobs, mpack_bytes=mpack_bytes), 1)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a batch, or of many of them together."""

    indexed: int = 0
    failed: Counter[str] = field(default_factory=Counter)  # jobs by code; their rows say why
    kept: Counter[str] = field(default_factory=Counter)  # by code; left as they were before
    counts: Counter[str] = field(default_factory=Counter)  # what was added
    milliseconds: Counter[str] = field(default_factory=Counter)  # of each phase
    mpack_bytes: int = 0

    @classmethod
    def of(
        cls, results: Sequence[Result], *, failed: Iterable[str], kept: Iterable[str]
    ) -> "Report":
        """Return the report of one batch: its results, and the codes of the other jobs."""
        counts: Counter[str] = Counter()
        milliseconds: Counter[str] = Counter()
        for result in results:
            counts.update({name: result[name] for name in COUNTS})
            milliseconds.update({name: result[name] for name in TIMINGS})
        return cls(
            indexed=len(results),
            failed=Counter(failed),
            kept=Counter(kept),
            counts=counts,
            milliseconds=milliseconds,
            mpack_bytes=sum(result["mpack_size_bytes"] for result in results),
        )

    @classmethod
    def from_dict(cls, flat: Mapping[str, Any]) -> "Report":
        """Return the report that `as_dict` made flat."""
        return cls(
            indexed=flat["indexed"],
            failed=Counter(flat["failed"]),
            kept=Counter(flat["kept"]),
            counts=Counter({name: flat[name] for name in COUNTS}),
            milliseconds=Counter({name: flat[name] for name in TIMINGS}),
            mpack_bytes=flat["mpack_bytes"],
        )

    def __add__(self, other: "Report") -> "Report":
        """Return both together."""
        return Report(
            indexed=self.indexed + other.indexed,
            failed=self.failed + other.failed,
            kept=self.kept + other.kept,
            counts=self.counts + other.counts,
            milliseconds=self.milliseconds + other.milliseconds,
            mpack_bytes=self.mpack_bytes + other.mpack_bytes,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it flat, JSON-ready, and with all keys, in the order in which people read them."""
        return {
            "indexed": self.indexed,
            "failed": dict(self.failed),
            "kept": dict(self.kept),
            "mpack_bytes": self.mpack_bytes,
            **{name: self.counts[name] for name in COUNTS},
            **{name: round(self.milliseconds[name], _DECIMALS) for name in TIMINGS},
        }
