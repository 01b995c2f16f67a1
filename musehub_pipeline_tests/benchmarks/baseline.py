"""The ingest that one would write first, kept as the baseline of the pipeline.

The mpack is read as a whole, a row is looked up before it is added, objects are put one by one, and
each table is committed once. It is meant to be straightforward, not slow.
"""

from datetime import datetime
from hashlib import sha256
from typing import Any

import msgpack
from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase, Session

from musehub_pipeline.postgres import schema


class _Base(DeclarativeBase):
    metadata = schema.metadata


class _Object(_Base):
    __table__ = schema.objects


class _ObjectRef(_Base):
    __table__ = schema.object_refs


class _Snapshot(_Base):
    __table__ = schema.snapshots


class _Commit(_Base):
    __table__ = schema.commits


class _Branch(_Base):
    __table__ = schema.branches


_META = (
    "metadata", "structured_delta", "sem_ver_bump", "breaking_changes", "agent_id", "model_id",
    "toolchain_id", "prompt_hash", "signature", "signer_key_id", "format_version", "reviewed_by",
    "test_runs",
)  # fmt: skip


def ingest(
    *, engine: Engine, s3: Any, bucket: str, prefix: str, mpack_key: str, repo_id: str, branch: str
) -> None:
    """Index one mpack; `s3` is a boto3 client."""
    hex_digest = mpack_key.removeprefix("sha256:")
    body = s3.get_object(Bucket=bucket, Key=f"{prefix}/mpacks/{hex_digest}")["Body"].read()
    if sha256(body).hexdigest() != hex_digest:
        raise ValueError("the mpack does not hash to its key")
    mpack = msgpack.unpackb(body)
    with Session(engine) as session:
        for packed in mpack["objects"]:
            _put_object(session, s3, bucket, prefix, packed)
        session.commit()
        for packed in mpack["objects"]:
            object_id = _stored(packed["object_id"])
            if session.get(_ObjectRef, (repo_id, object_id)) is None:
                session.add(_ObjectRef(repo_id=repo_id, object_id=object_id))
        session.commit()
        for packed in mpack["snapshots"]:
            _add_snapshot(session, repo_id, packed)
        session.commit()
        for packed in mpack["commits"]:
            _add_commit(session, repo_id, packed)
        session.commit()
        head = _stored(mpack["branch_heads"][branch])
        session.merge(_Branch(repo_id=repo_id, name=branch, head_commit_id=head))
        session.commit()


def _put_object(
    session: Session, s3: Any, bucket: str, prefix: str, packed: dict[str, Any]
) -> None:
    hex_digest, content = packed["object_id"].removeprefix("sha256:"), packed["content"]
    if sha256(content).hexdigest() != hex_digest:
        raise ValueError("an object does not hash to its id")
    if session.get(_Object, _stored(hex_digest)) is not None:
        return
    key = f"objects/{hex_digest[:2]}/{hex_digest}"
    s3.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=content)
    session.add(
        _Object(
            object_id=_stored(hex_digest),
            size_bytes=len(content),
            storage_uri=f"s3://{bucket}/{prefix}/{key}",
        )
    )


def _add_snapshot(session: Session, repo_id: str, packed: dict[str, Any]) -> None:
    snapshot_id = _stored(packed["snapshot_id"])
    if session.get(_Snapshot, (repo_id, snapshot_id)) is None:
        session.add(
            _Snapshot(
                repo_id=repo_id,
                snapshot_id=snapshot_id,
                manifest={path: _stored(some_id) for path, some_id in packed["manifest"].items()},
                created_at=datetime.fromisoformat(packed["created_at"]),
            )
        )


def _add_commit(session: Session, repo_id: str, packed: dict[str, Any]) -> None:
    commit_id = _stored(packed["commit_id"])
    if session.get(_Commit, (repo_id, commit_id)) is None:
        parents = (packed["parent_commit_id"], packed["parent2_commit_id"])
        session.add(
            _Commit(
                repo_id=repo_id,
                commit_id=commit_id,
                branch=packed["branch"],
                parent_ids=[_stored(parent) for parent in parents if parent],
                message=packed["message"],
                author=packed["author"],
                timestamp=datetime.fromisoformat(packed["committed_at"]),
                snapshot_id=_stored(packed["snapshot_id"]),
                commit_meta={name: packed[name] for name in _META},
            )
        )


def _stored(some_id: str) -> str:
    return "sha256:" + some_id.removeprefix("sha256:")
