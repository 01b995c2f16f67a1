"""Databases of a hub that was there before the pipeline, and a look at all that is in them."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

# As a hub with an ORM of its own makes them: defaults live in its code, keys are shorter texts.
HUB = {
    "musehub_repos": """
        CREATE TABLE musehub_repos (
            repo_id varchar(36) PRIMARY KEY, name varchar(255) NOT NULL, owner text NOT NULL,
            slug text NOT NULL, visibility text NOT NULL DEFAULT 'public', stars bigserial,
            created_at timestamptz NOT NULL DEFAULT now(), UNIQUE (owner, slug)
        )""",
    "musehub_branches": """
        CREATE TABLE musehub_branches (
            name varchar(255), repo_id text, head_commit_id text, PRIMARY KEY (name, repo_id)
        )""",
    "musehub_background_jobs": """
        CREATE TABLE musehub_background_jobs (
            job_id text PRIMARY KEY, repo_id text NOT NULL, job_type text NOT NULL,
            payload jsonb NOT NULL, status text NOT NULL, created_at timestamptz NOT NULL,
            attempt bigint NOT NULL, priority integer
        )""",
    "musehub_objects": """
        CREATE TABLE musehub_objects (
            object_id text PRIMARY KEY, size_bytes numeric NOT NULL, storage_uri text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(), mime_type text
        )""",
    "musehub_snapshots": """
        CREATE TABLE musehub_snapshots (
            repo_id text, snapshot_id text, manifest jsonb NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (repo_id, snapshot_id)
        )""",
    "musehub_commits": """
        CREATE TABLE musehub_commits (
            repo_id text, commit_id text, branch text, parent_ids jsonb, message text, author text,
            timestamp timestamptz, snapshot_id text, commit_meta jsonb, sem_ver text,
            created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (repo_id, commit_id)
        )""",
}

ROWS = (
    "INSERT INTO musehub_repos (repo_id, name, owner, slug) VALUES ('r', 'Song', 'ada', 'song')",
    "INSERT INTO musehub_branches VALUES ('main', 'r', 'sha256:1')",
    """INSERT INTO musehub_background_jobs VALUES
        ('j', 'r', 'mpack.index', '{"mpack_key": "x"}', 'pending', '2026-03-01', 0, 7),
        ('k', 'r', 'mail.send', '{}', 'done', '2026-03-01', 1, NULL)""",
    "INSERT INTO musehub_objects VALUES ('sha256:1', 5, 's3://b/1', '2026-03-01', 'audio/midi')",
    "INSERT INTO musehub_snapshots VALUES ('r', 'sha256:1', '{\"a\": \"sha256:1\"}')",
    """INSERT INTO musehub_commits VALUES ('r', 'sha256:1', 'main', '[]', 'm', 'Ada', '2026-03-01',
        'sha256:1', '{}', 'major')""",
)


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def asked(url: str, statement: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(statement.encode()).fetchall()


def make_hub(url: str, **changed: str) -> None:
    """Make the tables of a hub, some of them otherwise, without any row."""
    run(url, *(HUB | {f"musehub_{name}": sql for name, sql in changed.items()}).values())


def structure(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return everything that a migration could change."""
    return {
        "columns": asked(
            url,
            "SELECT table_name, column_name, data_type, is_nullable, column_default,"
            " collation_name, attstorage, ordinal_position FROM information_schema.columns"
            " JOIN pg_attribute ON attrelid = ('public.' || table_name)::regclass"
            " AND attname = column_name WHERE table_schema = 'public' ORDER BY 1, 2",
        ),
        "indexes": asked(
            url, "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
        ),
        "constraints": asked(
            url,
            "SELECT conrelid::regclass::text AS of, conname, pg_get_constraintdef(oid) AS says"
            " FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
        ),
    }


def rows(url: str, table: str) -> list[dict[str, Any]]:
    return asked(url, f"SELECT * FROM {table} ORDER BY 1, 2")
