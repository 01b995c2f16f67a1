"""Pushes as the hub writes them: the command line plays the hub's part."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec

from musehub_pipeline.domain.errors import RepoNotFound
from musehub_pipeline.domain.ids import hex_of
from musehub_pipeline.postgres.database import Database, Transaction


class Pushes:
    """Rows for pushed mpacks, before any run has seen them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enqueue(self, repo_id: str, payload: dict[str, Any]) -> str:
        """Insert a pending job for a pushed mpack and return its id."""
        with self._database.transaction() as transaction:
            return _enqueue(transaction, repo_id, payload)

    def enqueue_unnamed(
        self, repo_id: str, payloads: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Insert a pending job for each mpack that no job of the repo names, all or none of them.

        Returns the ids of the new jobs, and those of the jobs that were there, by the mpack's key.
        Its spelling in the payloads is the stored one.

        Raises:
            RepoNotFound: the repo has been deleted meanwhile.
        """
        keys = [payload["mpack_key"] for payload in payloads]
        spellings = [*keys, *map(hex_of, keys)]
        with self._database.transaction() as transaction:
            if transaction.row("lock_repo", {"repo_id": repo_id}) is None:
                raise RepoNotFound(f"the repository {repo_id!r} has been deleted")
            named = {"repo_id": repo_id, "spellings": spellings}
            present: dict[str, str] = dict(transaction.tuples("jobs_of_mpacks", named))
            enqueued = {
                payload["mpack_key"]: _enqueue(transaction, repo_id, payload)
                for payload in payloads
                if payload["mpack_key"] not in present
            }
        return enqueued, present


def _enqueue(transaction: Transaction, repo_id: str, payload: dict[str, Any]) -> str:
    job_id = f"job_{uuid4().hex}"
    parameters = {
        "job_id": job_id,
        "repo_id": repo_id,
        "payload": msgspec.json.encode(payload).decode(),
    }
    transaction.write("enqueue", parameters)
    return job_id
