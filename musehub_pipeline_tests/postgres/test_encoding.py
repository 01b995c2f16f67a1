"""Texts reach the database as they were pushed, whatever encoding its surroundings prefer."""

import json
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from musehub_pipeline.domain.errors import SchemaMismatch
from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_one
from musehub_pipeline_tests.servers.postgres import Postgres

MESSAGE = "la première version, 第一版, und \N{MUSICAL SYMBOL G CLEF}"
PATH = "œuvre/première.mid"


def indexed_texts(hub: Hub) -> tuple[str, list[str], str]:
    """Index a commit and return its message, paths and metadata, as a UTF-8 client reads them."""
    history = History()
    head = history.commit({PATH: b"x"}, message=MESSAGE, metadata={"été": MESSAGE})
    index_one(hub, hub.push(hub.create_repo(), history.mpack(), head=head))
    with psycopg.connect(str(hub.settings.database_url), client_encoding="utf-8") as connection:
        [(message, meta)] = connection.execute(
            "SELECT message, commit_meta::text FROM musehub_commits"
        ).fetchall()
        [(manifest,)] = connection.execute("SELECT manifest FROM musehub_snapshots").fetchall()
    return message, list(manifest), json.loads(meta)["metadata"]["été"]


def test_the_environment_does_not_change_what_is_stored(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")

    assert indexed_texts(hub) == (MESSAGE, [PATH], MESSAGE)


def test_a_setting_of_the_database_does_not_change_what_is_stored(hub: Hub) -> None:
    name = sql.Identifier(str(make_url(str(hub.settings.database_url)).database))
    with psycopg.connect(str(hub.settings.database_url), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET client_encoding = LATIN1").format(name))

    assert indexed_texts(hub) == (MESSAGE, [PATH], MESSAGE)


def test_the_url_does_not_change_what_is_stored(hub: Hub) -> None:
    url = f"{hub.settings.database_url}&client_encoding=LATIN1"

    texts = indexed_texts(Hub(hub.settings.model_copy(update={"database_url": url})))

    assert texts == (MESSAGE, [PATH], MESSAGE)


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def narrow_database(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[Database]:
    """A database that cannot hold every text."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 LOCALE 'C' ENCODING {}").format(
                sql.Identifier(name), sql.Literal(request.param)
            )
        )
    with Database(postgres.url(name)) as database:
        yield database
    postgres.drop_database(name)


def test_a_database_that_cannot_hold_every_text_gets_no_tables(narrow_database: Database) -> None:
    with pytest.raises(SchemaMismatch, match=r"texts in (LATIN1|SQL_ASCII).* ENCODING 'UTF8'"):
        migrate.upgrade(narrow_database)

    assert migrate.current(narrow_database) is None
