"""Backoff: how often a job is tried, and how long it waits in between."""

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Exponential, with full jitter."""

    max_attempts: int
    base_seconds: float
    cap_seconds: float

    def pause(self, attempt: int) -> timedelta:
        """Return how long a job waits after its `attempt`-th failure."""
        # In seconds: what has doubled thirty times may be more than a timedelta holds.
        longest = min(self.cap_seconds, self.base_seconds * 2 ** min(attempt - 1, 30))
        return timedelta(seconds=longest * random.random())  # noqa: S311  spreads load, guards nothing
