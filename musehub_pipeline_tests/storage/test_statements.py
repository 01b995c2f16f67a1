"""The statements of queries.sql: every one has a name of its own and suits the tables."""

import re
from importlib import resources

import psycopg
import pytest

from musehub_pipeline.storage.statements import statement

FILE = resources.files("musehub_pipeline.storage").joinpath("queries.sql").read_text("utf-8")
NAMES = re.findall(r"^-- name: *(.*)$", FILE, re.MULTILINE)


def test_no_two_statements_share_a_name() -> None:
    assert sorted(NAMES) == sorted(set(NAMES))
    assert all(re.fullmatch(r"\w+", name) for name in NAMES)


def test_a_statement_is_what_stands_under_its_name() -> None:
    assert statement("touch_repo") == (
        "-- Note the time of the push.\n"
        "UPDATE musehub_repos SET pushed_at = clock_timestamp() WHERE repo_id = %(repo_id)s;"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_statement_says_what_for(name: str) -> None:
    assert re.match(r"-- [A-Z](.*\n-- )*.*\.\n[A-Z]", statement(name))


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError, match="no_such"):
        statement("no_such")


def test_postgresql_can_plan_every_statement(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for name in NAMES:
            parameters: dict[str, str] = {}

            def numbered(found: re.Match[str], known: dict[str, str] = parameters) -> str:
                return known.setdefault(found[1], f"${len(known) + 1}")

            text = re.sub(r"%\((\w+)\)[sbt]", numbered, statement(name))
            connection.execute(f"PREPARE {name} AS {text}".encode())

        [count] = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchall()
    assert count == (len(NAMES),)
