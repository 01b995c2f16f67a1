"""Backoff: how often a job is tried, and how long it waits in between."""

import random
from dataclasses import dataclass
from datetime import timedelta

_READS = 3  # after the first one


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Exponential, with full jitter."""

    max_attempts: int
    base_seconds: float
    cap_seconds: float
    read_again: timedelta  # over which a missing or wrong mpack is read again

    @property
    def read_again_pause(self) -> timedelta:
        """How long a job waits before its mpack is read again."""
        return self.read_again / _READS

    def pause(self, attempt: int) -> timedelta:
        """Return how long a job waits after its `attempt`-th failure."""
        # In seconds: what has doubled thirty times may be more than a timedelta holds.
        longest = min(self.cap_seconds, self.base_seconds * 2 ** min(attempt - 1, 30))
        return timedelta(seconds=longest * random.random())  # noqa: S311  spreads load, guards nothing
