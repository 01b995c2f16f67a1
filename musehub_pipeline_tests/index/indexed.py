"""Rows of the index, by number."""

import json
from datetime import UTC, datetime

from musehub_pipeline.domain.commit import CommitRow

URI = "s3://bucket/prefix/objects/"
TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)


def digest(number: int) -> bytes:
    return number.to_bytes(32)


def id_of(number: int) -> str:
    return f"sha256:{number:064x}"


def commit(number: int, *parents: int, **changed: object) -> CommitRow:
    row = CommitRow(
        commit_id=id_of(number),
        branch="main",
        parent_ids=json.dumps([id_of(parent) for parent in parents]).encode(),
        message="a change",
        author="Ada",
        timestamp=TIME,
        snapshot_id=id_of(0),
        commit_meta=b"{}",
    )
    return row._replace(**changed)
