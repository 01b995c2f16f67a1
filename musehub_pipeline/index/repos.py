"""Repos by name, as the hub has them."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from musehub_pipeline.domain.errors import RepoNotFound
from musehub_pipeline.postgres.database import Database, Row

_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and no UTF-8


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

    def id_of(self, name: str | None) -> str | None:
        """Return the id of the repo called ``owner/slug``; None where no name is given.

        Raises:
            RepoNotFound: there is none, or it has been deleted.
        """
        return self.find(name).repo_id if name else None

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

    def heads(self, repo: Repo) -> dict[str, dict[str, Any]]:
        """Return for each branch its head's commit_id and commit_meta."""
        with self._database.transaction() as transaction:
            rows = transaction.rows("heads", {"repo_id": repo.repo_id})
        return {row.pop("name"): row for row in rows}


def _repo(row: Row | None, said: str) -> Repo:
    if row is None or row["deleted_at"] is not None:
        raise RepoNotFound(f"no repository {said}")
    return Repo(repo_id=row["repo_id"], default_branch=row["default_branch"])


def split_name(name: str) -> tuple[str, str]:
    """Split ``owner/slug``.

    Raises:
        RepoNotFound: `name` is not of that form.
    """
    owner, slash, slug = name.partition("/")
    if not (owner and slash and slug) or "/" in slug or _NO_TEXT.search(name):
        raise RepoNotFound(f"{name!r} is not of the form owner/slug")
    return owner, slug
