"""The tables: made where there are none, and completed, never damaged, where a hub has its own."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Table, Text

from musehub_pipeline.phases.claim_jobs import claim_jobs
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.services import open_services
from musehub_pipeline.phases.summarize import summarize
from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.postgres.schema import metadata
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.postgres.existing_hub import (
    HUB,
    ROWS,
    asked,
    make_hub,
    rows,
    run,
    structure,
)

_SCRIPTS = ScriptDirectory.from_config(migrate._config()).walk_revisions()
STEPS = [(each.down_revision, each.revision) for each in _SCRIPTS if each.down_revision]


@pytest.fixture
def database(empty_database_url: str) -> Iterator[Database]:
    with Database(empty_database_url) as database:
        yield database


def differences_from_schema(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        options = {
            "compare_server_default": True,
            "include_name": lambda name, _kind, _parents: name != migrate.VERSION_TABLE,
        }
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, metadata)


def upgrade_to(database: Database, revision: object) -> None:
    config = migrate._config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, str(revision))


def indexed(url: str, settings: Settings) -> dict[str, int]:
    """Push and index a history in that database, and return how many rows there are then."""
    hub = Hub(settings.model_copy(update={"database_url": url}))
    hub.sql("INSERT INTO musehub_repos (repo_id, owner, slug, name) VALUES ('n', 'n', 'n', 'n')")
    history = small_history()
    hub.push("n", history.mpack(), head=list(history.commits)[-1])
    with open_services(hub.settings) as services:
        batch = claim_jobs(services, run_id="run")
        for phase in PHASES:
            batch = phase(batch, services)
        assert [item.error for item in summarize(batch, services).items] == [None]
    return hub.counts()


def test_an_empty_database_gets_every_table(empty_database_url: str, database: Database) -> None:
    assert migrate.current(database) is None

    assert migrate.upgrade(database) == migrate.latest() == migrate.current(database)

    assert differences_from_schema(database) == []
    tables = asked(
        empty_database_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    assert {row["tablename"] for row in tables} == {*metadata.tables, "musehub_pipeline_version"}


def test_no_revision_makes_what_the_schema_has_only_since(
    empty_database_url: str, database: Database
) -> None:
    later = Table("musehub_later", metadata, Column("id", Text, primary_key=True))
    try:
        migrate.upgrade(database)
    finally:
        metadata.remove(later)

    assert asked(empty_database_url, "SELECT to_regclass('musehub_later')") == [
        {"to_regclass": None}
    ]


def test_manifests_and_messages_are_stored_uncompressed(
    empty_database_url: str, database: Database
) -> None:
    migrate.upgrade(database)

    found = asked(
        empty_database_url,
        "SELECT attrelid::regclass::text AS of, attname, attstorage FROM pg_attribute"
        " WHERE attrelid IN ('musehub_snapshots'::regclass, 'musehub_commits'::regclass)"
        " AND attname IN ('manifest', 'message') ORDER BY 1",
    )
    assert found == [
        {"of": "musehub_commits", "attname": "message", "attstorage": "e"},
        {"of": "musehub_snapshots", "attname": "manifest", "attstorage": "e"},
    ]


def test_the_queue_has_its_partial_indexes(empty_database_url: str, database: Database) -> None:
    migrate.upgrade(database)

    found = [
        re.split(" USING btree | WHERE ", index["indexdef"])
        for index in structure(empty_database_url)["indexes"]
    ]
    of_type = "(job_type = 'mpack.index'::text)"
    unfinished = "ARRAY['pending'::text, 'running'::text]"
    past = f"{of_type} AND (status = ANY (ARRAY['done'::text, 'failed'::text]))"
    pending = f"{of_type} AND (status = 'pending'::text)"
    assert {(columns, *condition) for _, columns, *condition in found if condition} == {
        ("(created_at, job_id)", f"({pending})"),
        ("(repo_id, created_at, job_id)", f"({of_type} AND (status = ANY ({unfinished})))"),
        ("(repo_id, created_at, job_id)", f"({pending} AND (not_before IS NOT NULL))"),
        ("(lease_expires_at)", f"({of_type} AND (status = 'running'::text))"),
        ("(finished_at)", f"({past})"),
        ("(created_at, job_id)", f"({past})"),
        ("(run_id)", f"({past} AND (lease_expires_at IS NOT NULL))"),
        ("(((payload ->> 'mpack_key'::text)))", f"({of_type} AND (status = 'done'::text))"),
    }


@pytest.mark.parametrize(("before", "after"), STEPS)
def test_a_revision_only_adds_to_the_one_before(
    empty_database_url: str, database: Database, before: str, after: str
) -> None:
    """So older versions work on with it: they miss nothing, and have nothing more to give."""
    upgrade_to(database, before)
    had = structure(empty_database_url)
    tables = {column["table_name"] for column in had["columns"]}

    upgrade_to(database, after)

    has = structure(empty_database_url)
    added = {kind: [each for each in has[kind] if each not in had[kind]] for kind in had}
    assert {kind: [each for each in had[kind] if each not in has[kind]] for kind in had} == {
        kind: [] for kind in had
    }
    assert [
        column
        for column in added["columns"]
        if column["table_name"] in tables
        and (column["is_nullable"], column["column_default"]) == ("NO", None)
    ] == []
    assert [each for each in added["constraints"] if each["of"] in tables] == []
    unique = [each["indexdef"] for each in added["indexes"] if " UNIQUE " in each["indexdef"]]
    assert [each for each in unique if each.split(" ON public.")[1].split()[0] in tables] == []


def test_a_second_upgrade_changes_nothing(empty_database_url: str, database: Database) -> None:
    migrate.upgrade(database)
    before = structure(empty_database_url)

    assert migrate.upgrade(database) == migrate.latest()

    assert structure(empty_database_url) == before


def test_upgrades_at_the_same_time_follow_each_other(empty_database_url: str) -> None:
    def upgrade(_: int) -> str:
        with Database(empty_database_url) as database:
            return migrate.upgrade(database)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(upgrade, range(3))) == [migrate.latest()] * 3


def test_a_hubs_own_version_table_is_left_alone(
    empty_database_url: str, database: Database
) -> None:
    run(empty_database_url, "CREATE TABLE alembic_version AS SELECT 'hub' AS version_num")

    migrate.upgrade(database)

    assert rows(empty_database_url, "(SELECT *, 1 FROM alembic_version)") == [
        {"version_num": "hub", "?column?": 1}
    ]


def test_a_hub_gets_what_it_lacks_and_loses_nothing(
    empty_database_url: str, database: Database
) -> None:
    make_hub(empty_database_url)
    run(empty_database_url, *ROWS)
    before = structure(empty_database_url)
    rows_before = {table: rows(empty_database_url, table) for table in HUB}

    assert migrate.upgrade(database) == migrate.latest()

    after = structure(empty_database_url)
    for kind, things in before.items():
        known = [thing | {"attstorage": None} for thing in after[kind]]
        assert [thing for thing in things if thing | {"attstorage": None} not in known] == []
    for table, expected in rows_before.items():
        found = rows(empty_database_url, table)
        assert [row | old for row, old in zip(found, expected, strict=True)] == found
    added = {
        (column["table_name"], column["column_name"])
        for column in after["columns"]
        if column["table_name"] in HUB
    } - {(column["table_name"], column["column_name"]) for column in before["columns"]}
    assert added == {
        *(("musehub_repos", name) for name in ("default_branch", "pushed_at", "deleted_at")),
        *(
            ("musehub_background_jobs", name)
            for name in (
                *("run_id", "lease_expires_at", "not_before", "started_at", "finished_at"),
                *("error_code", "error", "result", "index_version"),
                *("attempts", "attempts_forgiven"),
            )
        ),
    }


@pytest.mark.parametrize("kind", ["text", "varchar(4000)"])
def test_an_upgraded_hub_can_be_pushed_to(
    empty_database_url: str, database: Database, settings: Settings, kind: str
) -> None:
    tables = {name.removeprefix("musehub_"): sql for name, sql in HUB.items()}
    make_hub(
        empty_database_url, **{n: sql.replace(" text", f" {kind}") for n, sql in tables.items()}
    )

    migrate.upgrade(database)

    assert indexed(empty_database_url, settings) == {
        "objects": 14,
        "object_refs": 14,
        "snapshots": 4,
        "commits": 4,
        "branches": 1,
    }


@pytest.mark.parametrize("table", ["objects", "commits", "snapshots"])
def test_a_hub_whose_times_have_no_default_can_be_pushed_to_as_well(
    empty_database_url: str, database: Database, settings: Settings, table: str
) -> None:
    """An ORM fills in `created_at` by itself; the pipeline leaves it to the database."""
    sql = HUB[f"musehub_{table}"].replace("NOT NULL DEFAULT now()", "NOT NULL")
    make_hub(empty_database_url, **{table: sql})

    migrate.upgrade(database)

    assert indexed(empty_database_url, settings)[table] > 0


@pytest.mark.parametrize(
    "column",
    [
        """extra text COLLATE "C" NOT NULL DEFAULT ''""",
        "extra bigint GENERATED ALWAYS AS IDENTITY",
        "extra bigserial NOT NULL",
        "extra text GENERATED ALWAYS AS (slug || '!') STORED NOT NULL",
        "\"Extra Column\" text NOT NULL DEFAULT 'x'",
        "extra integer[]",
    ],
)
def test_a_column_of_the_hubs_that_fills_itself_is_no_trouble(
    empty_database_url: str, database: Database, column: str
) -> None:
    make_hub(empty_database_url)
    run(empty_database_url, f"ALTER TABLE musehub_repos ADD COLUMN {column}")

    assert migrate.upgrade(database) == migrate.latest()


@pytest.mark.parametrize(
    ("table", "column"), [("repos", 'owner text COLLATE "C"'), ("objects", "object_id text")]
)
def test_a_column_of_a_type_that_is_as_good_is_no_trouble(
    empty_database_url: str, database: Database, table: str, column: str
) -> None:
    name, _, kind = column.partition(" ")
    make_hub(empty_database_url)
    run(empty_database_url, f"ALTER TABLE musehub_{table} ALTER COLUMN {name} TYPE {kind}")

    assert migrate.upgrade(database) == migrate.latest()


def test_whole_numbers_stay_whole_where_the_hub_counts_in_numeric(
    empty_database_url: str, database: Database, settings: Settings
) -> None:
    jobs = HUB["musehub_background_jobs"].replace("attempt bigint", "attempt numeric")
    make_hub(empty_database_url, background_jobs=jobs)
    migrate.upgrade(database)

    indexed(empty_database_url, settings)

    [job] = asked(empty_database_url, "SELECT result FROM musehub_background_jobs")
    assert job["result"]["attempt"] == 1
