"""Pauses: no job of a repository, or none at all, is claimed until an operator lets them go on."""

from datetime import datetime
from typing import TypedDict

from musehub_pipeline.postgres.database import Database, Transaction

_QUEUE = "*"
"""What the whole queue is called where a repo_id stands."""


class Pause(TypedDict):
    """What is held back, since when, and why."""

    repo_id: str | None  # None: the whole queue
    owner: str | None  # None where the repo is gone, too
    slug: str | None
    paused_at: datetime
    reason: str
    jobs: int  # that are pending and held back


class Pauses:
    """The pauses of a queue: runs go on with what they have, and find nothing more of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, repo_id: str | None, *, reason: str = "") -> bool:
        """Hold back the jobs of a repo, or all; return False where they are held back already."""
        return self._change("pause", {"repo_id": repo_id or _QUEUE, "reason": reason})

    def end(self, repo_id: str | None) -> bool:
        """Let the jobs of a repo go on, or the queue; return False where nothing holds them back.

        What else is paused stays so: a repo, where the queue goes on, and the other way round.
        """
        return self._change("resume", {"repo_id": repo_id or _QUEUE})

    def end_all(self) -> bool:
        """Let all jobs go on, also those of repos that are gone; return False if all did."""
        return self._change("resume_all", {})

    def all(self) -> list[Pause]:
        """Return the pauses, the oldest first."""
        with self._database.transaction() as transaction:
            return pauses(transaction)

    def _change(self, name: str, parameters: dict[str, str]) -> bool:
        with self._database.transaction() as transaction:
            transaction.write("lock_claims")  # no claim is between its look and its lease
            changed = transaction.write(name, parameters)
            transaction.write("wake")
        return changed > 0


def pauses(transaction: Transaction) -> list[Pause]:
    """Return the pauses as a transaction sees them, the oldest first."""
    return transaction.rows("pauses", of=Pause)
