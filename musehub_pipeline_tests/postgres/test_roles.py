"""Roles that a hub made for the pipeline: with defaults of their own, and with few rights."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.orchestration.instance import dagster_instance, use_dagster_home
from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all
from musehub_pipeline_tests.servers.pgbouncer import PgBouncer
from musehub_pipeline_tests.servers.postgres import Postgres

ODD = {
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Pacific/Chatham",
    "statement_timeout": "10min",
    "idle_session_timeout": "1s",
    "transaction_timeout": "10s",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
}
ASKED = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
}


@dataclass(frozen=True)
class Role:
    """A role that may change the rows of one database, and nothing else."""

    name: str
    server: Postgres
    database: str

    def url(self, url: str) -> str:
        return make_url(url).set(username=self.name).render_as_string(hide_password=False)

    def hub(self, hub: Hub) -> Hub:
        """Return the hub as the role sees it."""
        url = self.url(str(hub.settings.database_url))
        return Hub(hub.settings.model_copy(update={"database_url": url}))

    def alter(self, statement: LiteralString, *names: str) -> None:
        """Change something as the owner of all; `{}` is the role first, then the names."""
        identifiers = map(sql.Identifier, (self.name, *names))
        with psycopg.connect(self.server.url(self.database), autocommit=True) as owner:
            owner.execute(sql.SQL(statement).format(*identifiers))

    def has_by_default(self, settings: dict[str, str]) -> None:
        for name, value in settings.items():
            self.alter("ALTER ROLE {} SET {} = " + _literal(value), name)


def _literal(value: str) -> LiteralString:
    return f"'{value}'"  # pyright: ignore[reportReturnType]


@pytest.fixture
def role(postgres: Postgres, database_url: str) -> Iterator[Role]:
    role = Role(f"role_{uuid4().hex}", postgres, str(make_url(database_url).database))
    role.alter("CREATE ROLE {} LOGIN")
    role.alter("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}")
    yield role
    role.alter("DROP OWNED BY {}")
    role.alter("DROP ROLE {}")


@pytest.fixture(params=["direct", "pooled"])
def role_url(
    request: pytest.FixtureRequest, role: Role, database_url: str, postgres: Postgres
) -> Iterator[str]:
    """The URL of the database for the role: of PostgreSQL itself, then of a pooler."""
    role.has_by_default(ODD)
    if request.param == "direct":
        yield role.url(database_url)
        return
    with PgBouncer(postgres, mode="transaction", users=("postgres", role.name)) as pooler:
        yield pooler.url(role.url(database_url))


def test_a_push_is_indexed_whatever_the_role_has_by_default(hub: Hub, role_url: str) -> None:
    job_id = hub.push(hub.create_repo(), small_history().mpack())

    index_all(Hub(hub.settings.model_copy(update={"database_url": role_url})))

    assert hub.job(job_id)["status"] == "done"
    with Database(role_url) as database:
        for begun in (database.transaction, database.autocommit):
            with begun() as transaction:
                rows = [transaction._connection.execute(f"SHOW {name}".encode()) for name in ASKED]
                shown = [row for [(row,)] in (cursor.fetchall() for cursor in rows)]
                assert dict(zip(ASKED, shown, strict=True)) == ASKED
        assert isinstance(database.now(), datetime)


@pytest.mark.slow
def test_dagsters_records_are_kept_whatever_the_role_has_by_default(
    hub: Hub, role: Role, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("MUSEHUB_DAGSTER_DATABASE_URL", "")
    role.alter("ALTER DATABASE {1} OWNER TO {0}", str(make_url(empty_database_url).database))
    role.has_by_default(ODD)
    given = {"dagster_database_url": role.url(empty_database_url)}
    pushed = role.hub(hub)
    settings = pushed.settings.model_copy(update=given)
    use_dagster_home(settings)

    Hub(settings).index(hub.push(hub.create_repo(), small_history().mpack()))

    with dagster_instance() as instance:
        assert [run.status.value for run in instance.get_runs()] == ["SUCCESS"]


def test_defaults_that_would_break_dagster_behind_a_pooler_are_named(
    hub: Hub, role: Role, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    role.has_by_default({"default_transaction_read_only": "on"})
    with PgBouncer(postgres, mode="transaction", users=(role.name,)) as pooler:
        given = {"dagster_database_url": pooler.url(role.url(str(hub.settings.database_url)))}

        with pytest.raises(SettingsError) as caught:
            use_dagster_home(hub.settings.model_copy(update=given))

    message = str(caught.value)
    assert message.startswith("MUSEHUB_DAGSTER_DATABASE_URL: a pooler answers at ")
    assert "by default default_transaction_read_only is 'on' there, not 'off'" in message


def test_a_role_without_createdb_is_told_what_to_set(
    hub: Hub, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")

    with pytest.raises(SettingsError, match=r"^MUSEHUB_DAGSTER_DATABASE_URL: not set, .*denied"):
        use_dagster_home(role.hub(hub).settings)


def test_tables_are_found_where_the_search_path_leads(hub: Hub, role: Role) -> None:
    role.alter("CREATE SCHEMA hub AUTHORIZATION {}")
    role.alter("ALTER ROLE {} SET search_path = hub, public")
    job_id = hub.push(hub.create_repo(), small_history().mpack())
    url = str(role.hub(hub).settings.database_url)

    index_all(role.hub(hub))

    assert hub.job(job_id)["status"] == "done"
    with Database(url) as database:
        assert migrate.current(database) == migrate.latest()


@pytest.fixture
def commands(hub: Hub, role: Role, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub, as the commands find it: with the rights of the role."""
    settings = role.hub(hub).settings
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", str(settings.database_url))
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", str(settings.storage_url))
    monkeypatch.setenv("MUSEHUB_HOME", str(settings.home))
    return hub


@pytest.mark.parametrize(
    ("change", "command", "said"),
    [
        (
            "REVOKE TEMP ON DATABASE {1} FROM PUBLIC",
            ["fsck"],
            "the database refused: permission denied to create temporary tables in database",
        ),
        (
            "REVOKE SELECT ON musehub_background_jobs FROM {0}",
            ["status"],
            "the database refused: permission denied for table musehub_background_jobs",
        ),
        (
            "REVOKE SELECT ON musehub_pipeline_version FROM {0}",
            ["index"],
            "the database refused: permission denied for table musehub_pipeline_version",
        ),
        (
            "ALTER ROLE {0} SET search_path = elsewhere",
            ["status"],
            (
                "there are no tables of the pipeline where search_path leads ('elsewhere'):"
                " run `musehub-pipeline db upgrade`"
            ),
        ),
        (
            "ALTER ROLE {0} SET search_path = elsewhere",
            ["db", "upgrade"],
            (
                "the database refused the upgrade, and nothing was changed:"
                " - it: no schema has been selected to create in"
            ),
        ),
    ],
)
def test_what_a_role_may_not_do_is_one_line(
    commands: Hub, role: Role, change: LiteralString, command: list[str], said: str
) -> None:
    role.alter(change, role.database)

    finished = call(*command)

    assert (finished.code, finished.out) == (1, "")
    assert " ".join(finished.err.split()).startswith(f"error: {said}")
    assert finished.err.count("\n") <= 2
