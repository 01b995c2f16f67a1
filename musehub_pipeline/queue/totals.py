"""What jobs came to, in totals that only grow: for monitors that look again and again.

A look reads what has ended since the last one, however many jobs there were before.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
            rows = transaction.tuples("ended_since", parameters)
        histograms = (self.wait, self.elapsed, *self.phases.values())
        for job_id, done, code, attempt, finished_at, mpack_bytes, milliseconds, _ in rows:
            self._counted[job_id] = finished_at
            self.attempts += attempt
            if done:
                self.done += 1
                self.mpack_bytes += mpack_bytes
            else:
                self.failed[code or "UNKNOWN"] += 1
            for histogram, taken in zip(histograms, milliseconds, strict=True):
                if taken is not None:
                    histogram.add(taken / 1e3)
        if rows:
            newest, oldest = (row[4] for row in (rows[0], rows[-1]))
            left_out = oldest if len(rows) == self._most else self._since
            newest = min(newest, rows[0][-1])  # a clock may have been ahead
            self._since = max(self._since, left_out, newest - _COMMIT_TIME)
            self._counted = {job: at for job, at in self._counted.items() if at > self._since}
        self._most = None


def jobs_by_status(database: Database) -> dict[str, int]:
    """Return how many jobs there are of each status; of many, the catalogue's estimate, if any.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    with database.autocommit() as transaction:
        large = transaction.value("bytes_of_jobs") > _COUNTED_BYTES
        return dict(transaction.tuples("estimate_by_status" if large else "count_by_status"))
