"""Blips: the database is away for a moment, and what was asked of it is asked again."""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_chain,
    wait_fixed,
)

from musehub_pipeline.domain.errors import Transient, Trouble

Answer = TypeVar("Answer")
Asked = ParamSpec("Asked")

_PAUSES_SECONDS = (0.2, 1.0, 3.0)

_log = logging.getLogger("musehub_pipeline.database")


def through_blips(
    work: Callable[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs
) -> Answer:
    """Call `work`, again where the database was away for a moment: it costs no attempt.

    Raises:
        Transient: DATABASE_UNAVAILABLE, where it stays away.
    """
    return _through_blips(work, *args, **kwargs)


def when_back(work: Callable[[], Answer], *, within_seconds: float) -> Answer:
    """Do `work`, again every second for so long where the database is away.

    Raises:
        Transient: DATABASE_UNAVAILABLE, where it stays away.
    """

    def tell(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:  # once is enough
            error = state.outcome.exception()
            _log.warning("again every second for %.0f s: %s", within_seconds, error)

    stop = stop_after_delay(within_seconds)
    return _through_blips.copy(wait=wait_fixed(1), stop=stop, before_sleep=tell)(work)


def _is_away(error: BaseException) -> bool:
    return isinstance(error, Transient) and error.code is Trouble.DATABASE_UNAVAILABLE


def _tell(state: RetryCallState) -> None:
    if state.outcome is not None:
        _log.warning("again in %.1f s: %s", state.upcoming_sleep, state.outcome.exception())


_through_blips = Retrying(
    retry=retry_if_exception(_is_away),
    wait=wait_chain(*map(wait_fixed, _PAUSES_SECONDS)),
    stop=stop_after_attempt(1 + len(_PAUSES_SECONDS)),
    before_sleep=_tell,
    reraise=True,
)
