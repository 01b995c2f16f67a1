"""Repos by name, and pushes as the hub writes them: the command line plays the hub's part."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec

from musehub_pipeline.domain.errors import PipelineError
from musehub_pipeline.domain.ids import hex_of
from musehub_pipeline.storage.database import Database, Row, Transaction

_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and no UTF-8


class RepoNotFound(PipelineError):
    """No repository has that name."""


@dataclass(frozen=True, kw_only=True)
class Repo:
    """A repository by its public name, ``owner/slug``."""

    repo_id: str
    default_branch: str


class Repos:
    """The repositories of the hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str) -> Repo:
        """Return the repo called ``owner/slug``.

        Raises:
            RepoNotFound: there is none, or it has been deleted.
        """
        owner, slug = split_name(name)
        with self._database.transaction() as transaction:
            row = transaction.row("repo_by_slug", {"owner": owner, "slug": slug})
        return _repo(row, f"is called {name!r}")

    def find_by_name_or_id(self, text: str) -> Repo:
        """Return the repo called ``owner/slug``, or, where there is no slash, that of an id.

        Raises:
            RepoNotFound: there is none, or it has been deleted.
        """
        if "/" in text:
            return self.find(text)
        with self._database.transaction() as transaction:
            row = transaction.row("repo_by_id", {"repo_id": text})
        return _repo(row, f"has the id {text!r}")

    def ensure(self, name: str, *, default_branch: str = "main") -> Repo:
        """Return the repo called ``owner/slug``, and make it where there is none."""
        owner, slug = split_name(name)
        with self._database.transaction() as transaction:
            transaction.write(
                "create_repo",
                {
                    "repo_id": f"repo_{uuid4().hex}",
                    "owner": owner,
                    "slug": slug,
                    "default_branch": default_branch,
                },
            )
        return self.find(name)

    def enqueue(self, repo: Repo, payload: dict[str, Any]) -> str:
        """Insert a pending job for a pushed mpack and return its id."""
        with self._database.transaction() as transaction:
            return _enqueue(transaction, repo, payload)

    def enqueue_unnamed(
        self, repo: Repo, payloads: Sequence[dict[str, Any]]
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
            if transaction.row("lock_repo", {"repo_id": repo.repo_id}) is None:
                raise RepoNotFound(f"the repository {repo.repo_id!r} has been deleted")
            rows = transaction.rows(
                "jobs_of_mpacks", {"repo_id": repo.repo_id, "spellings": spellings}
            )
            present = {row["mpack_key"]: row["job_id"] for row in rows}
            enqueued = {
                payload["mpack_key"]: _enqueue(transaction, repo, payload)
                for payload in payloads
                if payload["mpack_key"] not in present
            }
        return enqueued, present

    def heads(self, repo: Repo) -> dict[str, dict[str, Any]]:
        """Return for each branch its head's commit_id and commit_meta."""
        with self._database.transaction() as transaction:
            rows = transaction.rows("heads", {"repo_id": repo.repo_id})
        return {row.pop("name"): row for row in rows}


def _repo(row: Row | None, said: str) -> Repo:
    if row is None or row["deleted_at"] is not None:
        raise RepoNotFound(f"no repository {said}")
    return Repo(repo_id=row["repo_id"], default_branch=row["default_branch"])


def _enqueue(transaction: Transaction, repo: Repo, payload: dict[str, Any]) -> str:
    job_id = f"job_{uuid4().hex}"
    parameters = {
        "job_id": job_id,
        "repo_id": repo.repo_id,
        "payload": msgspec.json.encode(payload).decode(),
    }
    transaction.write("enqueue", parameters)
    return job_id


def split_name(name: str) -> tuple[str, str]:
    """Split ``owner/slug``.

    Raises:
        RepoNotFound: `name` is not of that form.
    """
    owner, slash, slug = name.partition("/")
    if not (owner and slash and slug) or "/" in slug or _NO_TEXT.search(name):
        raise RepoNotFound(f"{name!r} is not of the form owner/slug")
    return owner, slug
