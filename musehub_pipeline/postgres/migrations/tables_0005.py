"""The tables as they were at revision 0005, which 0001 to 0005 make: they never change.

What these tables get later, a later revision adds, whatever `schema.py` says by then.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from musehub_pipeline.postgres.schema import LONGEST

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
    }
)

_ID = {LONGEST: 71}
_NAME = {LONGEST: 255}
_STATUS = {LONGEST: 7}
_WORD = {LONGEST: 36}

_now = text("now()")


def _time(name: str, *, nullable: bool = True) -> Column[object]:
    default = None if nullable else _now
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


Table(
    "musehub_repos",
    metadata,
    Column("repo_id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("slug", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("default_branch", Text, nullable=False, server_default="main"),
    _time("pushed_at"),
    _time("deleted_at"),
    UniqueConstraint("owner", "slug"),
)

Table(
    "musehub_branches",
    metadata,
    Column("repo_id", Text, primary_key=True),
    Column("name", Text, primary_key=True, info=_NAME),
    Column("head_commit_id", Text, info=_ID),
)

Table(
    "musehub_background_jobs",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("repo_id", Text, nullable=False),
    Column("job_type", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("status", Text, nullable=False, server_default="pending", info=_STATUS),
    _time("created_at", nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("run_id", Text, info=_WORD),
    _time("lease_expires_at"),
    _time("not_before"),
    _time("started_at"),
    _time("finished_at"),
    Column("error_code", Text, info=_WORD),
    Column("error", Text, info={LONGEST: 2_000}),
    Column("result", JSONB),
    Column("index_version", Integer),
    Column("attempts", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("attempts_forgiven", Integer, nullable=False, server_default="0"),
    Index(
        "musehub_background_jobs_pending",
        "created_at",
        "job_id",
        postgresql_where=text("job_type = 'mpack.index' AND status = 'pending'"),
    ),
    Index(
        "musehub_background_jobs_unfinished",
        "repo_id",
        "created_at",
        "job_id",
        postgresql_where=text("job_type = 'mpack.index' AND status IN ('pending', 'running')"),
    ),
    Index(
        "musehub_background_jobs_backoff",
        "repo_id",
        "created_at",
        "job_id",
        postgresql_where=text(
            "job_type = 'mpack.index' AND status = 'pending' AND not_before IS NOT NULL"
        ),
    ),
    Index(
        "musehub_background_jobs_running",
        "lease_expires_at",
        postgresql_where=text("job_type = 'mpack.index' AND status = 'running'"),
    ),
    Index(
        "musehub_background_jobs_ended",
        "finished_at",
        postgresql_where=text("job_type = 'mpack.index' AND status IN ('done', 'failed')"),
    ),
    Index(
        "musehub_background_jobs_past",
        "created_at",
        "job_id",
        postgresql_where=text("job_type = 'mpack.index' AND status IN ('done', 'failed')"),
    ),
    Index(
        "musehub_background_jobs_again",
        "run_id",
        postgresql_where=text(
            "job_type = 'mpack.index' AND status IN ('done', 'failed')"
            " AND lease_expires_at IS NOT NULL"
        ),
    ),
    Index(
        "musehub_background_jobs_verified",
        text("(payload ->> 'mpack_key')"),
        postgresql_where=text("job_type = 'mpack.index' AND status = 'done'"),
    ),
)

Table(
    "musehub_pipeline_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    _time("started_at", nullable=False),
    _time("claimed_at"),
    _time("alive_until", nullable=False),
)

Table(
    "musehub_objects",
    metadata,
    Column("object_id", Text, primary_key=True, info=_ID),
    Column("size_bytes", BigInteger, nullable=False),
    Column("storage_uri", Text, nullable=False),
    _time("created_at", nullable=False),
)

Table(
    "musehub_object_refs",
    metadata,
    Column("repo_id", Text, primary_key=True),
    Column("object_id", Text, primary_key=True, info=_ID),
    _time("created_at", nullable=False),
)

Table(
    "musehub_snapshots",
    metadata,
    Column("repo_id", Text, primary_key=True),
    Column("snapshot_id", Text, primary_key=True, info=_ID),
    Column("manifest", JSONB, nullable=False),
    _time("created_at", nullable=False),
)

Table(
    "musehub_commits",
    metadata,
    Column("repo_id", Text, primary_key=True),
    Column("commit_id", Text, primary_key=True, info=_ID),
    Column("branch", Text, nullable=False, info=_NAME),
    Column("parent_ids", JSONB, nullable=False),
    Column("message", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("timestamp", DateTime(timezone=True), nullable=False),
    Column("snapshot_id", Text, nullable=False, info=_ID),
    Column("commit_meta", JSONB, nullable=False),
    _time("created_at", nullable=False),
)
