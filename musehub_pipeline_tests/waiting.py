"""Waiting for what comes about: never for a time, and for no longer than the slowest machine."""

import time
from collections.abc import Callable

SECONDS = 120


def wait_for(is_so: Callable[[], object], *, seconds: float = SECONDS) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it does not come about.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)
