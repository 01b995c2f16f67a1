"""A database that is away for a moment: who asks again, for how long, and what the log says."""

import logging
from collections.abc import Callable

import pytest

from musehub_pipeline.domain.errors import Transient, Trouble
from musehub_pipeline.postgres.blips import through_blips, when_back

AWAY = Transient(Trouble.DATABASE_UNAVAILABLE, "no answer")


def failing(*errors: BaseException) -> tuple[Callable[[], str], list[int]]:
    """Return work that raises these, one a try, before it succeeds; and its tries."""
    tries: list[int] = []

    def work() -> str:
        tries.append(len(tries))
        if len(tries) <= len(errors):
            raise errors[len(tries) - 1]
        return "done"

    return work, tries


@pytest.mark.slow
def test_it_is_asked_again_and_the_log_says_once_for_each_time_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work, tries = failing(AWAY, AWAY)

    with caplog.at_level(logging.WARNING, "musehub_pipeline.database"):
        assert through_blips(work) == "done"

    assert len(tries) == 3
    assert caplog.messages == [
        "again in 0.2 s: DATABASE_UNAVAILABLE: no answer",
        "again in 1.0 s: DATABASE_UNAVAILABLE: no answer",
    ]


@pytest.mark.parametrize(
    "error",
    [
        Transient(Trouble.STORAGE_UNAVAILABLE, "the disk is full"),
        ValueError("odd"),
        KeyboardInterrupt(),
        SystemExit(143),
    ],
)
def test_other_trouble_and_a_run_that_is_told_to_stop_end_it_at_once(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    work, tries = failing(error)

    with pytest.raises(type(error)) as caught:
        through_blips(work)

    assert caught.value is error
    assert (tries, caplog.messages) == ([0], [])


@pytest.mark.slow
def test_one_that_stays_away_is_the_trouble_itself_and_the_log_says_once_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work, tries = failing(AWAY, AWAY, AWAY)

    with (
        caplog.at_level(logging.WARNING, "musehub_pipeline.database"),
        pytest.raises(Transient) as caught,
    ):
        when_back(work, within_seconds=1.5)

    assert (caught.value, len(tries)) == (AWAY, 3)
    assert caplog.messages == ["again every second for 2 s: DATABASE_UNAVAILABLE: no answer"]
