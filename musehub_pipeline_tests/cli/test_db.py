"""`db`: tables that appear, statements that only read."""

from pathlib import Path

import psycopg
import pytest

from musehub_pipeline.postgres.migrate import latest
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.servers.postgres import Postgres


@pytest.fixture
def empty(empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MUSEHUB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", empty_database_url)
    return empty_database_url


def test_upgrade_makes_the_tables_and_current_tells(empty: str) -> None:
    before = call("db", "current", "--json")
    made = call("db", "upgrade")
    after = call("db", "current", "--json")
    again = call("db", "upgrade")

    assert (before.code, before.json) == (3, {"revision": None, "latest": latest()})
    assert (made.code, made.out) == (0, f"the tables are at revision {latest()}\n")
    assert (after.code, after.json) == (0, {"revision": latest(), "latest": latest()})
    assert again == made
    assert call("db", "current").out == f"revision {latest()}, latest {latest()}\n"
    assert call("jobs", "list", "--json").json == []


def test_upgrade_stops_with_the_differences_and_changes_nothing(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("CREATE TABLE musehub_commits (commit_id uuid PRIMARY KEY)")

    finished = call("db", "upgrade")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err.startswith("error: ")
    assert "musehub_commits: its key is (commit_id)" in finished.err
    assert "ALTER TABLE musehub_commits" in finished.err
    with psycopg.connect(empty) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert found.fetchall() == [("musehub_commits",)]


def test_a_query_shows_its_rows(hub: Hub) -> None:
    statement = (
        "SELECT 1 AS number, 'ä [/x]' AS text, NULL AS nothing, '{\"a\": [1]}'::jsonb AS json,"
        " '2026-01-02 03:04:05+00'::timestamptz AT TIME ZONE 'UTC' AS time, 1.5::numeric AS exact"
    )

    shown = call("db", "query", statement)

    assert call("db", "query", statement, "--json").json == [
        {
            "number": 1,
            "text": "ä [/x]",
            "nothing": None,
            "json": {"a": [1]},
            "time": "2026-01-02T03:04:05",
            "exact": "1.5",
        }
    ]
    assert (shown.code, shown.err) == (0, "")
    assert "ä [/x]" in shown.out


def test_a_query_may_hold_a_percent_sign_and_find_nothing(hub: Hub) -> None:
    found = call("db", "query", "SELECT 'abc' LIKE '%b%' AS a", "--json")
    nothing = call("db", "query", "SELECT job_id FROM musehub_background_jobs", "--json")

    assert (found.json, nothing.json) == ([{"a": True}], [])


def test_a_query_cannot_write(hub: Hub) -> None:
    hub.create_repo()
    for statement in (
        "DELETE FROM musehub_repos",
        "COMMIT; DELETE FROM musehub_repos",
        "SET TRANSACTION READ WRITE; DELETE FROM musehub_repos",
        "DROP TABLE musehub_objects",
    ):
        finished = call("db", "query", statement)

        assert hub.sql("SELECT slug FROM musehub_repos") == [{"slug": "song"}], statement
        assert hub.counts()["objects"] == 0
        assert finished.code == 1
        assert finished.err.startswith("error: ")
        assert "UNAVAILABLE" not in finished.err


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("COPY (SELECT 1) TO '{file}'", "it gives no rows"),
        ("COPY (SELECT 1) TO PROGRAM 'cat > {file}'", "it gives no rows"),
        ("DO 'BEGIN RESET ROLE; COPY (SELECT 1) TO ''{file}''; END'", "it gives no rows"),
        ("RESET ROLE", "it gives no rows"),
        ("SET TRANSACTION READ WRITE", "it gives no rows"),
        ("CREATE TABLE written AS SELECT 1", "it gives no rows"),
        ("LOCK TABLE musehub_repos", "it gives no rows"),
        ("SELECT 1; COPY (SELECT 1) TO '{file}'", "cannot insert multiple commands"),
        ("INSERT INTO musehub_repos VALUES ('a', 'b', 'c') RETURNING 1", "cannot execute INSERT"),
        ("EXPLAIN ANALYZE DELETE FROM musehub_repos", "cannot execute DELETE"),
        ("SELECT lo_export(1, '{file}')", "permission denied for function lo_export"),
        ("SELECT pg_read_file('PG_VERSION')", "permission denied for function pg_read_file"),
    ],
)
def test_a_superusers_query_can_do_no_more_than_read_rows(
    hub: Hub, postgres: Postgres, statement: str, said: str
) -> None:
    written = postgres.folder / "written"  # where the server may write

    finished = call("db", "query", statement.format(file=written))

    assert (finished.code, finished.out) == (1, "")
    assert finished.err.startswith(f"error: {said}")
    assert not written.exists()
    assert hub.sql("SHOW is_superuser") == [{"is_superuser": "on"}]


def test_what_reads_is_shown_and_so_is_how(hub: Hub) -> None:
    assert call("db", "query", "SELECT current_user", "--json").json == [
        {"current_user": "pg_read_all_data"}
    ]
    assert call("db", "query", "EXPLAIN SELECT FROM musehub_repos", "--json").code == 0
    assert call("db", "query", "VALUES (1)", "--json").json == [{"column1": 1}]


def test_a_query_that_the_database_refuses_is_an_error_with_its_words(hub: Hub) -> None:
    finished = call("db", "query", "SELECT * FROM nowhere", "--json")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err.startswith('error: relation "nowhere" does not exist')
