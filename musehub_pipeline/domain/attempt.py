"""Attempts: how often a job was tried, and what became of it each time, as its row tells it.

The history in a row is JSON, and others may write it too: what cannot be read of it is left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from typing import Any, cast

from musehub_pipeline.domain.job import Status

_NONE = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One time that a run had the job."""

    number: object
    run_id: str | None
    outcome: str | None  # done, running, or the code of what befell it
    due: datetime | None = None  # when the waiting for it began
    began: datetime | None
    ended: datetime | None  # so far, while it is running

    @property
    def waited(self) -> timedelta | None:
        """How long the job waited for it."""
        return _between(self.due, self.began)

    @property
    def took(self) -> timedelta | None:
        """How long it went on."""
        return _between(self.began, self.ended)


def attempts_of(row: Mapping[str, Any], *, now: datetime) -> list[Attempt]:
    """Return the attempts of a job in order, the one that is under way too."""
    attempts: list[Attempt] = []
    due: datetime | None = row["created_at"]
    for attempt in _each(row, now):
        attempts.append(replace(attempt, due=due))
        # What is done waits for nothing; a backfill may take it again some day.
        due = None if attempt.outcome == Status.DONE else attempt.ended
    return attempts


def moment(value: object) -> datetime | None:
    """Return the time that a value of JSON is; None where it is none that every zone can show."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if time is None or not MINYEAR < time.year < MAXYEAR:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def history(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return how the attempts ended, of those that a row tells of in our form."""
    entries: Any = row["attempts"]
    if not isinstance(entries, list):
        return []
    return [entry for entry in cast("list[Any]", entries) if isinstance(entry, dict)]


def _each(row: Mapping[str, Any], now: datetime) -> Iterator[Attempt]:
    ended = history(row)
    for entry in ended:
        run_id, code = entry.get("run_id"), entry.get("code", "")
        yield Attempt(
            number=entry.get("attempt"),
            run_id=run_id if isinstance(run_id, str) else None,
            outcome=str(Status.DONE) if code is None else str(code) or None,
            began=moment(entry.get("started_at")),
            ended=moment(entry.get("ended_at")),
        )
    latest = Attempt(
        number=row["attempt"],
        run_id=row["run_id"],
        outcome=str(Status.RUNNING),
        began=row["started_at"],
        ended=now,
    )
    if row["lease_expires_at"] is not None:
        yield latest
    elif not ended and row["finished_at"] is not None:  # it ended before there was a history
        outcome = row["error_code"] or row["status"]
        yield replace(latest, outcome=outcome, ended=row["finished_at"])


def _between(first: datetime | None, last: datetime | None) -> timedelta | None:
    if first is None or last is None:
        return None
    return time if (time := last - first) >= _NONE else None
