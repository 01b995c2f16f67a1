"""The server: what its URL may be, and what its failures mean."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import make_url

from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.postgres.server import database_url as parse
from musehub_pipeline.postgres.server import ensure_database, is_transient
from musehub_pipeline.postgres.session import connect
from musehub_pipeline_tests.servers.postgres import Postgres


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (errors.AdminShutdown, True),
        (errors.CannotConnectNow, True),
        (errors.TooManyConnections, True),
        (errors.DiskFull, True),
        (errors.DeadlockDetected, True),
        (errors.SerializationFailure, True),
        (errors.LockNotAvailable, True),
        (errors.ConnectionFailure, True),
        (errors.IoError, True),
        (psycopg.OperationalError, True),
        (psycopg.InterfaceError, True),
        (errors.IdleInTransactionSessionTimeout, True),
        (errors.UniqueViolation, False),
        (errors.UndefinedTable, False),
        (errors.InsufficientPrivilege, False),
        (psycopg.ProgrammingError, False),
    ],
)
def test_what_the_server_may_recover_from_is_transient(
    error: type[psycopg.Error], transient: bool
) -> None:
    assert is_transient(error()) is transient


def test_of_those_who_make_a_database_at_the_same_time_one_does(postgres: Postgres) -> None:
    name = f"test_{uuid4().hex}"
    url = parse(postgres.url("postgres"))
    try:
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda _: ensure_database(url, name), range(4)))
        assert sorted(made) == [False, False, False, True]
    finally:
        postgres.drop_database(name)


@pytest.mark.parametrize("said", [{}, {"keepalives_idle": "77", "connect_timeout": "3"}], ids=str)
def test_each_connection_gives_up_a_server_that_cannot_be_heard(
    database_url: str, said: dict[str, str]
) -> None:
    url = make_url(database_url).update_query_dict(said)
    expected = {"keepalives_idle": "10", "keepalives_count": "2", "tcp_user_timeout": "20000"}
    expected |= {"connect_timeout": "10"} | said
    with (
        Database(url.render_as_string(hide_password=False)) as database,
        database.transaction() as transaction,
        connect(database.url) as alone,
    ):
        pooled = transaction._connection
        for connection in (pooled, alone):
            told = connection.info.get_parameters()
            assert {name: told[name] for name in expected} == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hub",
        "mysql://ada:hush-hush@host/hub",
        "sqlite:///hub.db",
        "s3://bucket",
        "postgresql://ada:hush-hush@host:port/hub",
    ],
)
def test_a_bad_url_is_an_error_that_names_the_variable_and_no_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^MUSEHUB_DATABASE_URL: ") as caught:
        Database(url)

    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "hint"),
    [("ssl=require", "'ssl', which it calls sslmode"), ("pool_size=5", "'pool_size'")],
)
def test_a_parameter_that_the_client_does_not_know_is_a_mistake_in_the_settings(
    parameter: str, hint: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Database(f"postgresql://ada:hush-hush@host/hub?{parameter}")

    message = f"MUSEHUB_DATABASE_URL: PostgreSQL's client knows no parameter {hint}"
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    ["postgresql://a:b@h:1/d", "postgres://a:b@h:1/d", "postgresql+asyncpg://a:b@h:1/d"],
)
def test_the_url_of_another_driver_is_read_as_that_of_psycopg(text: str) -> None:
    rendered = parse(text).render_as_string(hide_password=False)

    assert rendered == "postgresql+psycopg://a:b@h:1/d"
