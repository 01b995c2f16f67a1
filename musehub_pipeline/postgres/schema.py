"""The tables of the index and of the queue, as SQLAlchemy metadata.

The hub owns some of these tables too: `reconcile` adds what is missing to a database that already
has them. Migrations have tables of their own: what changes here needs a new one. Statements live
in the `.sql` files beside their modules, migrations in `migrations/`.
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

from musehub_pipeline.domain.errors import MAX_MESSAGE_CHARACTERS
from musehub_pipeline.domain.ids import DIGEST_BYTES, PREFIX
from musehub_pipeline.domain.job import MAX_BRANCH_BYTES, Status

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
    }
)

# A column's `doc` is shown by Dagster, of the tables that are assets.

LONGEST = "longest"
"""In a column's `info`: how many characters the pipeline may write into it, whatever is pushed."""

_ID = {LONGEST: len(PREFIX) + 2 * DIGEST_BYTES}
_NAME = {LONGEST: MAX_BRANCH_BYTES}
_STATUS = {LONGEST: max(map(len, Status))}
_WORD = {LONGEST: 36}  # a code, or the id of a run

_now = text("now()")


def _time(name: str, *, nullable: bool = True, doc: str | None = None) -> Column[object]:
    default = None if nullable else _now
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default, doc=doc)


repos = Table(
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

branches = Table(
    "musehub_branches",
    metadata,
    Column("repo_id", Text, primary_key=True, doc="Whose branch it is."),
    Column("name", Text, primary_key=True, info=_NAME),
    Column("head_commit_id", Text, info=_ID, doc="The commit at which it stands."),
)

background_jobs = Table(
    "musehub_background_jobs",
    metadata,
    # What the hub writes.
    Column("job_id", Text, primary_key=True),
    Column("repo_id", Text, nullable=False),
    Column("job_type", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("status", Text, nullable=False, server_default="pending", info=_STATUS),
    _time("created_at", nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    # What the pipeline needs to own the truth.
    Column("run_id", Text, info=_WORD),
    _time("lease_expires_at"),
    _time("not_before"),
    _time("started_at"),
    _time("finished_at"),
    Column("error_code", Text, info=_WORD),
    Column("error", Text, info={LONGEST: MAX_MESSAGE_CHARACTERS}),
    Column("result", JSONB),
    Column("index_version", Integer),
    # How each attempt ended: attempt, run_id, started_at, ended_at, code, message.
    Column("attempts", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    # Attempts before an operator tried the job again: they count no more.
    Column("attempts_forgiven", Integer, nullable=False, server_default="0"),
    # The queue, oldest first; the queue of one repo; what of it waits for another attempt; what is
    # under way; what ended lately; the same by day of the push; what of it is indexed again;
    # which mpacks were judged.
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

# Runs that are alive: whether they have claimed yet, and when they were last heard of.
runs = Table(
    "musehub_pipeline_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    _time("started_at", nullable=False),
    _time("claimed_at"),
    _time("alive_until", nullable=False),
)

# Runs of which nothing is lost: PostgreSQL empties the table when it has crashed, or is another's
# successor, for then it may lack rows that were written lazily.
witnesses = Table(
    "musehub_pipeline_witnesses",
    metadata,
    Column("run_id", Text, primary_key=True),
    prefixes=["UNLOGGED"],
)

# What no claim takes jobs of: repos, or '*' for the whole queue.
pauses = Table(
    "musehub_pipeline_pauses",
    metadata,
    Column("repo_id", Text, primary_key=True),
    _time("paused_at", nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
)

objects = Table(
    "musehub_objects",
    metadata,
    Column("object_id", Text, primary_key=True, info=_ID, doc="The sha256 of its bytes."),
    Column("size_bytes", BigInteger, nullable=False),
    Column("storage_uri", Text, nullable=False, doc="Where its bytes lie."),
    _time("created_at", nullable=False, doc="When a run wrote the row."),
)

object_refs = Table(
    "musehub_object_refs",
    metadata,
    Column("repo_id", Text, primary_key=True, doc="Who holds the object."),
    Column("object_id", Text, primary_key=True, info=_ID),
    _time("created_at", nullable=False, doc="When a run wrote the row."),
)

snapshots = Table(
    "musehub_snapshots",
    metadata,
    Column("repo_id", Text, primary_key=True, doc="Who holds the snapshot."),
    Column("snapshot_id", Text, primary_key=True, info=_ID),
    Column("manifest", JSONB, nullable=False, doc="The object of each path."),
    _time("created_at", nullable=False, doc="When it was made, or else indexed."),
)

commits = Table(
    "musehub_commits",
    metadata,
    Column("repo_id", Text, primary_key=True, doc="Who holds the commit."),
    Column("commit_id", Text, primary_key=True, info=_ID),
    Column("branch", Text, nullable=False, info=_NAME, doc="The branch that it was made on."),
    Column("parent_ids", JSONB, nullable=False, doc="The commits before it."),
    Column("message", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("timestamp", DateTime(timezone=True), nullable=False, doc="When it was made."),
    Column("snapshot_id", Text, nullable=False, info=_ID, doc="All files as they were then."),
    Column("commit_meta", JSONB, nullable=False, doc="All else that the client said of it."),
    _time("created_at", nullable=False, doc="When a run wrote the row."),
)
