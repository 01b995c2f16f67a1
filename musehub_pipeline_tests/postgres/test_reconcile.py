"""Where a hub's tables cannot work: nothing is changed, and the SQL that would help is printed."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from musehub_pipeline.domain.errors import SchemaMismatch
from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.postgres.migrations.tables_0005 import metadata
from musehub_pipeline_tests.postgres.existing_hub import (
    HUB,
    ROWS,
    asked,
    make_hub,
    rows,
    run,
    structure,
)

WITHOUT_KEY = HUB["musehub_snapshots"].replace(", PRIMARY KEY (repo_id, snapshot_id)", "")
CASES = {
    "a shorter key": (
        "snapshots",
        ("PRIMARY KEY (repo_id, snapshot_id)", "PRIMARY KEY (snapshot_id)"),
        r"musehub_snapshots: .*\(snapshot_id\).*\(repo_id, snapshot_id\)",
    ),
    "no key": (
        "commits",
        (", PRIMARY KEY (repo_id, commit_id)", ""),
        r"musehub_commits: .*\(repo_id, commit_id\)",
    ),
    "a key of the hub's own": (
        "branches",
        ("PRIMARY KEY (name, repo_id)", "branch_id text PRIMARY KEY"),
        r"musehub_branches: .*\(branch_id\).*\(repo_id, name\)",
    ),
    "a manifest in json": (
        "snapshots",
        ("manifest jsonb", "manifest json"),
        "musehub_snapshots: .*manifest.* JSON.*JSONB",
    ),
    "a manifest in text": (
        "snapshots",
        ("manifest jsonb", "manifest text"),
        "musehub_snapshots: .*manifest.* TEXT.*JSONB",
    ),
    "parents in an array": (
        "commits",
        ("parent_ids jsonb", "parent_ids text[]"),
        "musehub_commits: .*parent_ids.*JSONB",
    ),
    "a time without a zone": (
        "commits",
        ("timestamp timestamptz", "timestamp timestamp"),
        "musehub_commits: .*timestamp.*WITHOUT TIME ZONE.*WITH TIME ZONE",
    ),
    "a time without a zone, with a default": (
        "objects",
        ("created_at timestamptz", "created_at timestamp"),
        "musehub_objects: .*created_at.*WITHOUT TIME ZONE.*WITH TIME ZONE",
    ),
    "ids as uuid": (
        "repos",
        ("repo_id varchar(36)", "repo_id uuid"),
        "musehub_repos: .*repo_id.*UUID.*TEXT",
    ),
    "sizes that are too small": (
        "objects",
        ("size_bytes numeric", "size_bytes integer"),
        "musehub_objects: .*size_bytes.*INTEGER.*BIGINT",
    ),
    "a status of an enum": (
        "background_jobs",
        ("status text", "status job_status"),
        "musehub_background_jobs: .*status.*TEXT",
    ),
    "ids without their prefix": (
        "commits",
        ("commit_id text", "commit_id varchar(64)"),
        "musehub_commits: .*commit_id has room for 64 characters.* up to 71",
    ),
    "heads without their prefix": (
        "branches",
        ("head_commit_id text", "head_commit_id varchar(64)"),
        "musehub_branches: .*head_commit_id has room for 64 characters.* up to 71",
    ),
    "short reasons": (
        "background_jobs",
        ("priority integer", "error varchar(255)"),
        "musehub_background_jobs: .*error has room for 255 characters.* up to 2000",
    ),
    "a column that has to be filled": (
        "repos",
        ("stars bigserial", "license text NOT NULL"),
        "musehub_repos: .*license",
    ),
    "a column that has to be filled, with a name in quotes": (
        "repos",
        ("stars bigserial", '"ownerName" text NOT NULL'),
        "musehub_repos: .*ownerName",
    ),
    "a column that is missing": (
        "objects",
        (" storage_uri text NOT NULL,", ""),
        "musehub_objects: .*storage_uri",
    ),
    "a column of the key that is missing": (
        "snapshots",
        ("repo_id text, snapshot_id text,", "snapshot_id text,"),
        "musehub_snapshots: .*repo_id",
    ),
}


@pytest.fixture
def database(empty_database_url: str) -> Iterator[Database]:
    run(empty_database_url, "CREATE TYPE job_status AS ENUM ('pending', 'done')")
    with Database(empty_database_url) as database:
        yield database


def make(url: str, table: str, change: tuple[str, str]) -> None:
    before = HUB[f"musehub_{table}"]
    sql = before.replace(*change)
    if "repo_id text, snapshot_id" in change[0]:
        sql = sql.replace("(repo_id, snapshot_id)", "(snapshot_id)")
    assert sql != before
    make_hub(url, **{table: sql})


def refusal(database: Database) -> str:
    with pytest.raises(SchemaMismatch) as caught:
        migrate.upgrade(database)
    return str(caught.value)


def printed_sql(message: str) -> list[str]:
    """Return the statements of a refusal; where a value is asked for, any will do."""
    return [line.strip().replace("…", "''") for line in re.findall(r"(?m)^ +(.*;)$", message)]


@pytest.mark.parametrize(("table", "change", "problem"), CASES.values(), ids=CASES)
def test_what_cannot_work_is_named_unchanged_and_mended_by_the_sql_that_is_printed(
    empty_database_url: str, database: Database, table: str, change: tuple[str, str], problem: str
) -> None:
    make(empty_database_url, table, change)
    before = structure(empty_database_url)

    message = refusal(database)

    assert re.search(problem, message)
    assert f"ALTER TABLE musehub_{table} " in message
    assert structure(empty_database_url) == before
    assert migrate.current(database) is None
    run(empty_database_url, *printed_sql(message))
    assert migrate.upgrade(database) == migrate.latest()


def test_all_that_cannot_work_is_listed_at_once(
    empty_database_url: str, database: Database
) -> None:
    make_hub(
        empty_database_url,
        snapshots=WITHOUT_KEY.replace("manifest jsonb", "manifest json"),
        objects=HUB["musehub_objects"].replace("numeric", "smallint"),
    )
    run(empty_database_url, *ROWS)
    rows_before = {table: rows(empty_database_url, table) for table in HUB}

    message = refusal(database)

    assert [line.split(":")[0] for line in message.splitlines() if line.startswith("- ")] == [
        "- musehub_objects",
        "- musehub_snapshots",
        "- musehub_snapshots",
    ]
    assert {table: rows(empty_database_url, table) for table in HUB} == rows_before
    run(empty_database_url, *printed_sql(message))
    migrate.upgrade(database)
    assert rows(empty_database_url, "musehub_snapshots")[0]["manifest"] == {"a": "sha256:1"}


def test_naive_times_are_taken_for_utc_whatever_the_server_thinks(
    empty_database_url: str, database: Database
) -> None:
    change = ("timestamp timestamptz", "timestamp timestamp")
    make(empty_database_url, "commits", change)
    name = str(database.url.database)
    run(
        empty_database_url,
        ROWS[-1].replace("'2026-03-01'", "'2026-03-01 12:00'"),
        f"ALTER DATABASE {name} SET timezone = 'America/New_York'",
    )

    run(empty_database_url, *printed_sql(refusal(database)))

    assert asked(empty_database_url, "SELECT timestamp AS t FROM musehub_commits") == [
        {"t": datetime(2026, 3, 1, 12, tzinfo=UTC)}
    ]


def test_rows_that_forbid_a_constraint_are_named_too(
    empty_database_url: str, database: Database
) -> None:
    """A hub that only marks repos as deleted may have two of one name."""
    make(empty_database_url, "repos", (", UNIQUE (owner, slug)", ""))
    run(
        empty_database_url,
        *(ROWS[0].replace("'r'", f"'{repo_id}'") for repo_id in ("old", "new")),
    )
    before = structure(empty_database_url)

    message = refusal(database)

    assert re.search(r"musehub_repos: .*owner, slug", message)
    assert structure(empty_database_url) == before


def test_a_constraint_that_one_database_lacked_is_made_with_the_table_in_the_next(
    empty_database_url: str, database: Database
) -> None:
    make(empty_database_url, "repos", (", UNIQUE (owner, slug)", ""))
    migrate.upgrade(database)
    run(empty_database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

    with database.engine.begin() as connection:
        metadata.create_all(connection)

    says = [each["says"] for each in structure(empty_database_url)["constraints"]]
    assert [each for each in says if each.startswith("UNIQUE")] == ["UNIQUE (owner, slug)"]
