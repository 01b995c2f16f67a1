"""The hub's side of the contract, as the tests play it: storage, seven columns, and a look back."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from select import select
from threading import get_ident
from typing import Any
from uuid import uuid4

import obstore
import psycopg
from psycopg.rows import dict_row
from sqlalchemy import make_url

from musehub_pipeline import process_mpack_index_job
from musehub_pipeline.objects.storage_client import Store, open_store, parse_storage_url
from musehub_pipeline.settings import Settings

_connections: dict[tuple[str, int], psycopg.Connection[dict[str, Any]]] = {}
"""Those to each database, by the threads that use them: to connect takes longer than to ask."""


def _connection(database_url: str) -> psycopg.Connection[dict[str, Any]]:
    key = (database_url, get_ident())
    if key not in _connections or _is_gone(_connections[key]):
        _connections[key] = psycopg.connect(database_url, autocommit=True, row_factory=dict_row)
    return _connections[key]


def _is_gone(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether the server has closed it, as it does where a test ends all connections."""
    if not connection.closed:
        readable, _, _ = select([connection.fileno()], [], [], 0)
        if not readable:
            return False
        connection.close()
    return True


def disconnect(database_url: str) -> None:
    """Close all connections to a database, whoever they were made as."""
    database = make_url(database_url).database
    for key in [key for key in _connections if make_url(key[0]).database == database]:
        _connections.pop(key).close()


@dataclass
class Hub:
    """A database and a storage, spoken to without the pipeline's own code."""

    settings: Settings

    @property
    def store(self) -> Store:
        url = parse_storage_url(str(self.settings.storage_url))
        return open_store(url, self.settings.s3, connections=4)

    def sql(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        connection = _connection(str(self.settings.database_url))
        cursor = connection.execute(statement, parameters)  # pyright: ignore[reportArgumentType]
        return cursor.fetchall() if cursor.description is not None else []

    def create_repo(self, slug: str = "song", *, owner: str = "ada") -> str:
        repo_id = f"repo-{slug}"
        self.sql(
            "INSERT INTO musehub_repos (repo_id, owner, slug) VALUES (%(r)s, %(o)s, %(s)s)",
            {"r": repo_id, "o": owner, "s": slug},
        )
        return repo_id

    def upload(self, mpack: bytes) -> str:
        """Store an mpack as a client does and return its key."""
        hex_digest = sha256(mpack).hexdigest()
        obstore.put(self.store, f"mpacks/{hex_digest}", mpack)
        return f"sha256:{hex_digest}"

    def mpack_file(self, mpack_key: str) -> Path:
        """Return where an mpack lies, in a directory."""
        store = Path(str(self.settings.storage_url).removeprefix("file://"))
        return store / "mpacks" / mpack_key[-64:]

    def date_mpack(self, mpack_key: str, *, settled: bool) -> None:
        """Date an mpack in a directory long ago, where it is settled, else in an hour."""
        when = 0 if settled else time.time() + 3_600
        os.utime(self.mpack_file(mpack_key), (when, when))

    def enqueue(self, repo_id: str, **payload: Any) -> str:
        """Insert a job row with the hub's seven columns and return its id."""
        job_id = f"sha256:{uuid4().hex * 2}"
        self.sql(
            "INSERT INTO musehub_background_jobs"
            " (job_id, repo_id, job_type, payload, status, created_at, attempt)"
            " VALUES (%(job_id)s, %(repo_id)s, 'mpack.index', %(payload)s, 'pending',"
            " clock_timestamp(), 0)",
            {"job_id": job_id, "repo_id": repo_id, "payload": json.dumps(payload)},
        )
        return job_id

    def push(self, repo_id: str, mpack: bytes, *, head: str | None = None, **payload: Any) -> str:
        """Upload an mpack and enqueue its job."""
        return self.enqueue(
            repo_id,
            **{
                "mpack_key": self.upload(mpack),
                "pusher_id": "ada",
                "branch": "main",
                "head": head,
                "force": False,
                "declared_objects_count": None,
            }
            | payload,
        )

    def index(self, job_id: str) -> dict[str, Any]:
        """Index a job in this process and return its result."""
        return process_mpack_index_job(job_id, self.settings)

    def job(self, job_id: str) -> dict[str, Any]:
        [row] = self.sql(
            "SELECT * FROM musehub_background_jobs WHERE job_id = %(id)s", {"id": job_id}
        )
        return row

    def head(self, repo_id: str, branch: str = "main") -> str | None:
        rows = self.sql(
            "SELECT head_commit_id FROM musehub_branches WHERE repo_id = %(r)s AND name = %(b)s",
            {"r": repo_id, "b": branch},
        )
        return rows[0]["head_commit_id"] if rows else None

    def counts(self) -> dict[str, int]:
        """Return how many rows each table of the index has."""
        tables = ("objects", "object_refs", "snapshots", "commits", "branches")
        return {
            table: self.sql(f"SELECT count(*) FROM musehub_{table}")[0]["count"] for table in tables
        }

    def stored_objects(self) -> dict[str, bytes]:
        """Return every object in storage, by id."""
        found = {}
        for chunk in self.store.list("objects/"):
            for entry in chunk:
                key = entry["path"]
                hex_digest = key.rsplit("/", 1)[-1]
                assert key == f"objects/{hex_digest[:2]}/{hex_digest}"
                found[f"sha256:{hex_digest}"] = bytes(self.store.get(key).bytes())
        return found
