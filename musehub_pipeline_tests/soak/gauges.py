"""What long-lived processes hold: memory, descriptors and connections, seen again and again."""

import statistics
from collections import defaultdict
from dataclasses import dataclass

import psutil
import psycopg

_MEGABYTE = 1 << 20
_FEWEST = 8
_MORE_ALLOWED = {"MB": (0.10, 16.0), "descriptors": (0.10, 8.0), "connections": (0.25, 8.0)}
"""By unit: how much more there may be in the end, as a part of what was, and beside it."""


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """What was seen of one thing, in its unit: medians of the second quarter and of the last."""

    name: str
    unit: str
    before: float
    after: float

    @property
    def grew(self) -> bool:
        """Whether there is more of it in the end than chance explains."""
        part, beside = _MORE_ALLOWED[self.unit]
        return self.after > self.before * (1 + part) + beside


class Gauges:
    """Readings of some processes and of a server's databases; a process is called by its role."""

    def __init__(self) -> None:
        self._seen: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def read(self, processes: dict[str, psutil.Process], database_url: str) -> None:
        """Look once; a process that has just ended is looked at the next time."""
        for role, process in processes.items():
            try:
                memory, descriptors = process.memory_full_info().uss, process.num_fds()
            except psutil.Error:
                continue
            self._seen[role, "MB"].append(memory / _MEGABYTE)
            self._seen[role, "descriptors"].append(descriptors)
        with psycopg.connect(database_url) as connection:
            rows = connection.execute(
                "SELECT datname, count(*) FROM pg_stat_activity"
                " WHERE datname IS NOT NULL AND pid <> pg_backend_pid() GROUP BY datname"
            )
            for name, count in rows:
                self._seen[f"database {name}", "connections"].append(count)

    def all(self) -> list[Gauge]:
        """Return what has been seen, of all that was seen often enough."""
        return [
            Gauge(
                name=name,
                unit=unit,
                before=statistics.median(seen[len(seen) // 4 : len(seen) // 2]),
                after=statistics.median(seen[-(len(seen) // 4) :]),
            )
            for (name, unit), seen in sorted(self._seen.items())
            if len(seen) >= _FEWEST
        ]
