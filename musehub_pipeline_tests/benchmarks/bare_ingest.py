"""What the pipeline is compared with on real shapes: an ingest in bulk, and one row by row.

Neither checks anything, but that the first hashes every object; neither can be repeated or resumed.
"""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import msgspec
import psycopg
from psycopg import sql

from musehub_pipeline.domain.ids import hex_of, stored

_META = (
    "metadata", "structured_delta", "sem_ver_bump", "breaking_changes", "agent_id", "model_id",
    "toolchain_id", "prompt_hash", "signature", "signer_key_id", "format_version", "reviewed_by",
    "test_runs",
)  # fmt: skip


class _Table(NamedTuple):
    name: str
    columns: tuple[str, ...]
    rows: Iterable[tuple[Any, ...]]


def in_bulk(
    connection: psycopg.Connection, mpack: Path, *, store: Path, repo_id: str, branch: str
) -> None:
    """Ingest an mpack in one transaction, with a COPY for each table."""
    unpacked = msgpack.unpackb(mpack.read_bytes())
    for each in unpacked["objects"]:
        if sha256(each["content"]).hexdigest() != hex_of(each["object_id"]):
            raise ValueError("an object does not hash to its id")
        _write(store, each)
    with connection.transaction(), connection.cursor() as cursor:
        for name, columns, rows in _tables(unpacked, store=store, repo_id=repo_id, branch=branch):
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            with cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)


def row_by_row(
    connection: psycopg.Connection, mpack: Path, *, store: Path, repo_id: str, branch: str
) -> None:
    """Ingest an mpack with two statements for each row: one asks, one inserts."""
    unpacked = msgpack.unpackb(mpack.read_bytes())
    for each in unpacked["objects"]:
        _write(store, each)
    for name, columns, rows in _tables(unpacked, store=store, repo_id=repo_id, branch=branch):
        asks, inserts = _statements(name, columns)
        with connection.transaction():
            for row in rows:
                fields = dict(zip(columns, row, strict=True))
                if connection.execute(asks, fields).fetchone() is None:
                    connection.execute(inserts, fields)


def _write(store: Path, packed: dict[str, Any]) -> None:
    hex_digest = hex_of(packed["object_id"])
    folder = store / "objects" / hex_digest[:2]
    part = folder / f"{hex_digest}.part"
    try:
        part.write_bytes(packed["content"])
    except FileNotFoundError:
        folder.mkdir(parents=True)
        part.write_bytes(packed["content"])
    os.link(part, folder / hex_digest)
    part.unlink()


def _statements(name: str, columns: tuple[str, ...]) -> tuple[sql.Composed, sql.Composed]:
    """Return what asks for a row by its key, and what inserts it."""
    key = columns[: 1 + (columns[0] == "repo_id")]
    table, names = sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, columns))
    where = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder(column)) for column in key
    )
    values = sql.SQL(", ").join(map(sql.Placeholder, columns))
    return (
        sql.SQL("SELECT 1 FROM {} WHERE {}").format(table, where),
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(table, names, values),
    )


def _tables(unpacked: Any, *, store: Path, repo_id: str, branch: str) -> tuple[_Table, ...]:
    """Return the rows of each table, leaves before roots."""
    now = datetime.now(UTC)
    objects = {stored(each["object_id"]): len(each["content"]) for each in unpacked["objects"]}
    uri = f"{store.as_uri()}/objects"
    head = stored(unpacked["branch_heads"][branch])
    return (
        _Table(
            "musehub_objects",
            ("object_id", "size_bytes", "storage_uri", "created_at"),
            ((i, size, f"{uri}/{hex_of(i)[:2]}/{hex_of(i)}", now) for i, size in objects.items()),
        ),
        _Table(
            "musehub_object_refs",
            ("repo_id", "object_id", "created_at"),
            ((repo_id, object_id, now) for object_id in objects),
        ),
        _Table(
            "musehub_snapshots",
            ("repo_id", "snapshot_id", "manifest", "created_at"),
            ((repo_id, *_snapshot(packed)) for packed in unpacked["snapshots"]),
        ),
        _Table(
            "musehub_commits",
            ("repo_id", "commit_id", "branch", "parent_ids", "message", "author", "timestamp",
             "snapshot_id", "commit_meta", "created_at"),
            ((repo_id, *_commit(packed), now) for packed in unpacked["commits"]),
        ),
        _Table(
            "musehub_branches",
            ("repo_id", "name", "head_commit_id"),
            [(repo_id, branch, head)],
        ),
    )  # fmt: skip


def _snapshot(packed: dict[str, Any]) -> tuple[Any, ...]:
    manifest = {path: stored(object_id) for path, object_id in packed["manifest"].items()}
    return stored(packed["snapshot_id"]), _json(manifest), packed["created_at"]


def _commit(packed: dict[str, Any]) -> tuple[Any, ...]:
    parents = (packed["parent_commit_id"], packed["parent2_commit_id"])
    return (
        stored(packed["commit_id"]),
        packed["branch"],
        _json([stored(parent) for parent in parents if parent]),
        packed["message"],
        packed["author"],
        packed["committed_at"],
        stored(packed["snapshot_id"]),
        _json({name: packed[name] for name in _META}),
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
