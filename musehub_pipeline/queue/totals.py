"""What jobs came to, in totals that only grow: for monitors that look again and again.

A look reads what has ended since the last one, however many jobs there were before.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from musehub_pipeline.domain.job import Status
from musehub_pipeline.domain.result import TIMING_OF_PHASE
from musehub_pipeline.postgres.database import Database

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds, in seconds, of what a histogram tells apart."""

_MOST = 2_000  # jobs of a first look; what ended before the newest of these is not counted
_COMMIT_TIME = timedelta(seconds=10)  # that may lie between the end of a job and its commit
_COUNTED_BYTES = 16 << 20  # of the table of jobs: a larger one is estimated


@dataclass
class Histogram:
    """How often something took how long, in seconds; the last count is of what took longest."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count a time; what a clock that is ahead makes negative is none."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += max(0.0, seconds)


class _Ended(NamedTuple):
    """A row of `ended_since`."""

    job_id: str
    done: bool
    code: str | None
    attempt: int
    finished_at: datetime
    mpack_bytes: int
    milliseconds: list[float | None]  # waiting, elapsed, and of each phase
    at: datetime  # now


class Totals:
    """Totals over the jobs that have ended since some time."""

    def __init__(self, database: Database, *, since: datetime) -> None:
        self._database = database
        self._since = since
        self._counted: dict[str, datetime] = {}  # lately: when each ended
        self._most: int | None = _MOST
        self.done = 0
        self.failed: Counter[str] = Counter()  # by reason code
        self.attempts = 0
        self.mpack_bytes = 0
        self.wait = Histogram()  # from the row to the first claim
        self.elapsed = Histogram()
        self.phases = {phase: Histogram() for phase in TIMING_OF_PHASE}

    def look(self) -> None:
        """Count what has ended meanwhile.

        Raises:
            Transient: DATABASE_UNAVAILABLE.
        """
        parameters = {"since": self._since, "counted": list(self._counted), "most": self._most}
        with self._database.autocommit() as transaction:
            ended = [_Ended(*row) for row in transaction.tuples("ended_since", parameters)]
        for job in ended:
            self._count(job)
        if ended:
            newest, oldest = ended[0], ended[-1]
            begin = oldest.finished_at if len(ended) == self._most else self._since
            latest = min(newest.finished_at, newest.at)  # a clock may have been ahead
            self._since = max(self._since, begin, latest - _COMMIT_TIME)
            self._counted = {job: at for job, at in self._counted.items() if at > self._since}
        self._most = None

    def _count(self, job: "_Ended") -> None:
        self._counted[job.job_id] = job.finished_at
        self.attempts += job.attempt
        if job.done:
            self.done += 1
            self.mpack_bytes += job.mpack_bytes
        else:
            self.failed[job.code or "UNKNOWN"] += 1
        histograms = (self.wait, self.elapsed, *self.phases.values())
        for histogram, taken in zip(histograms, job.milliseconds, strict=True):
            if taken is not None:
                histogram.add(taken / 1e3)


def jobs_by_status(database: Database) -> dict[str, int]:
    """Return how many jobs there are of each status; of many, the catalogue's estimate.

    A status is left out where nothing is known of it.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    with database.autocommit() as transaction:
        if transaction.value("bytes_of_jobs") > _COUNTED_BYTES:
            return dict(transaction.tuples("estimate_by_status"))
        counted = dict(transaction.tuples("count_by_status"))
    return {status: counted.get(status, 0) for status in Status}
