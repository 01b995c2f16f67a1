"""How long a job waits that did not go well."""

import random
from datetime import timedelta

import pytest

from musehub_pipeline.queue.backoff import Backoff

LONGEST = 10**7  # seconds that can be set


@pytest.mark.parametrize(
    ("attempt", "base", "cap", "longest"),
    [
        (1, 2, 600, 2),
        (2, 2, 600, 4),
        (9, 2, 600, 512),
        (10, 2, 600, 600),
        (1, LONGEST, 600, 600),
        (31, LONGEST, LONGEST, LONGEST),
        (100_000, LONGEST, LONGEST, LONGEST),
    ],
)
def test_pauses_double_up_to_the_longest_and_none_is_too_long_to_be_told(
    attempt: int, base: int, cap: int, longest: int
) -> None:
    backoff = Backoff(max_attempts=1, base_seconds=base, cap_seconds=cap, read_again=timedelta(0))

    random.seed(7)
    share = random.random()
    random.seed(7)
    assert backoff.pause(attempt) == timedelta(seconds=longest * share)
