"""The statements of the .sql files: every one has a name of its own and suits the tables."""

import re

import psycopg
import pytest
import sqlalchemy as sa
from dagster._core.storage.runs.schema import RunStorageSqlMetadata

from musehub_pipeline.postgres.statements import files, statement

FILES = [file.read_text("utf-8") for file in files()]


def found(heading: str) -> list[str]:
    line = re.compile(rf"^ *-- {heading}: *(.*)$", re.MULTILINE)
    return [name for file in FILES for name in line.findall(file)]


NAMES = found("name")
# What cannot be planned: it is run, and makes the tables that the statements after it need.
DEFINITION = re.compile(r"(--.*\n)*(CREATE|ANALYZE) ")
SETTING = re.compile(r"(--.*\n)*SET ")


def make_tables_of_dagster(database_url: str) -> None:
    """Make those of runs: one statement reads what Dagster has recorded there."""
    engine = sa.create_engine(sa.make_url(database_url).set(drivername="postgresql+psycopg"))
    RunStorageSqlMetadata.create_all(engine)
    engine.dispose()


@pytest.mark.parametrize("heading", ["name", "fragment"])
def test_no_two_share_a_name(heading: str) -> None:
    names = found(heading)
    assert sorted(names) == sorted(set(names))
    assert all(re.fullmatch(r"\w+", name) for name in names)


def test_a_statement_is_what_stands_under_its_name() -> None:
    assert statement("held_commits") == (
        "-- Which of the commits the repo holds.\n"
        "SELECT commit_id FROM musehub_commits\n"
        "WHERE repo_id = %(repo_id)s AND commit_id = ANY(%(ids)b);"
    )


def test_a_fragment_stands_where_it_is_included_as_deep_as_that_line() -> None:
    assert statement("expired_leases") == (
        "-- Whether a run died, so that a claim would first take its jobs back.\n"
        "SELECT 1\n"
        "-- What a run has left that died, or a program before this one, which knew no leases.\n"
        "FROM musehub_background_jobs\n"
        "WHERE job_type = 'mpack.index' AND status = 'running'\n"
        "    AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())\n"
        "LIMIT 1;"
    )
    assert "\n            SELECT FROM musehub_background_jobs AS earlier\n" in statement("due")


def test_what_is_a_fragment_stands_in_several_places() -> None:
    included = found("include")
    assert {name for name in included if included.count(name) > 1} == set(found("fragment"))


@pytest.mark.parametrize("name", NAMES)
def test_every_statement_says_what_for(name: str) -> None:
    assert re.match(r"-- [A-Z](.*\n-- )*.*\.\n[A-Z]", statement(name))


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError, match="no_such"):
        statement("no_such")


def test_postgresql_can_plan_every_statement(database_url: str) -> None:
    planned = []
    make_tables_of_dagster(database_url)
    with psycopg.connect(database_url) as connection:
        for name in sorted(NAMES, key=lambda name: not DEFINITION.match(statement(name))):
            parameters: dict[str, str] = {}

            def numbered(found: re.Match[str], known: dict[str, str] = parameters) -> str:
                return known.setdefault(found[1], f"${len(known) + 1}")

            text = re.sub(r"%\((\w+)\)[sbt]", numbered, statement(name))
            if DEFINITION.match(text):
                connection.execute(text.encode())
            elif not SETTING.match(text):
                connection.execute(f"PREPARE {name} AS {text}".encode())
                planned.append(name)

        [count] = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchall()
    assert count == (len(planned),)
