"""The three roles of `deploy/postgres`: each does all that it is for, and nothing else."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import errors, sql
from sqlalchemy import make_url

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.orchestration.instance import code_locations
from musehub_pipeline.orchestration.resources import fixed_resource
from musehub_pipeline.orchestration.sensor import watch
from musehub_pipeline.phases.services import open_services
from musehub_pipeline.postgres.migrate import latest
from musehub_pipeline.postgres.schema import metadata
from musehub_pipeline_tests.cli.terminal import Finished, call
from musehub_pipeline_tests.conftest import settings_of
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all
from musehub_pipeline_tests.servers.postgres import Postgres

ROLES = Path(__file__).parents[2] / "deploy/postgres/roles.sql"
OWNER, WORKER, READER = names = ("musehub_owner", "musehub_worker", "musehub_reader")

As = Callable[[str], Hub]


def grant(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as superuser:
        superuser.execute(ROLES.read_bytes())


@pytest.fixture
def hub(postgres: Postgres, empty_database_url: str, tmp_path: Path) -> Iterator[Hub]:
    """The hub, in a database in which nobody has made anything yet but the roles."""
    try:
        grant(empty_database_url)
        yield Hub(settings_of(empty_database_url, tmp_path))
    finally:
        with psycopg.connect(empty_database_url, autocommit=True) as superuser:
            for name in map(sql.Identifier, names):
                superuser.execute(sql.SQL("DROP OWNED BY {}").format(name))
                superuser.execute(sql.SQL("DROP ROLE {}").format(name))


@pytest.fixture
def as_(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> As:
    """Be a role, with the tables made as the file says: the hub as the role sees it."""
    url = make_url(str(hub.settings.database_url))
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", str(hub.settings.storage_url))
    monkeypatch.setenv("MUSEHUB_HOME", str(hub.settings.home))

    def be(role: str) -> Hub:
        theirs = url.set(username=role).render_as_string(hide_password=False)
        monkeypatch.setenv("MUSEHUB_DATABASE_URL", theirs)
        return Hub(hub.settings.model_copy(update={"database_url": theirs}))

    be(OWNER)
    assert call("db", "upgrade") == Finished(0, f"the tables are at revision {latest()}\n", "")
    grant(str(hub.settings.database_url))
    return be


def denied(hub: Hub, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        hub.sql(statement)


def test_the_worker_indexes_what_the_sensor_has_seen_and_looks_after_it(
    hub: Hub, as_: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = hub.push(hub.create_repo(), small_history().mpack())
    worker = as_(WORKER)
    with dg.DagsterInstance.ephemeral() as instance:
        with open_services(worker.settings) as services:
            locations = code_locations(None)
            seen = watch(
                services, instance, job_name="index_mpacks", locations=locations, wait_seconds=0
            )
        definitions = build_defs(musehub=fixed_resource(worker.settings))
        pruning = definitions.resolve_job_def("prune_history")

        index_all(worker)

        assert len(seen.plan) == 1
        assert hub.job(job_id)["status"] == "done"
        assert pruning.execute_in_process(instance=instance).success
    assert call("fsck").code == 0
    assert call("jobs", "retry", "--all").code == 0
    monkeypatch.setenv("MUSEHUB_DAGSTER_DATABASE_URL", str(hub.settings.database_url))
    [rights] = [each for each in call("doctor", "--json").json if each["what"] == "rights"]
    assert rights["ok"], rights


def test_the_worker_forgets_done_jobs_only_where_that_is_granted(hub: Hub, as_: As) -> None:
    hub.push(hub.create_repo(), small_history().mpack())
    worker = as_(WORKER)
    index_all(worker)
    with open_services(worker.settings) as services:
        with pytest.raises(errors.InsufficientPrivilege):
            services.jobs.prune_done(older_than=timedelta(0))

        [grant] = [line for line in ROLES.read_text().splitlines() if "GRANT DELETE" in line]
        hub.sql(grant.removeprefix("--"))

        assert services.jobs.prune_done(older_than=timedelta(0)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id text)",
        "CREATE SCHEMA mine",
        "ALTER TABLE musehub_background_jobs ADD COLUMN mine text",
        "CREATE INDEX ON musehub_commits (author)",
        "DROP TABLE musehub_commits",
        "TRUNCATE musehub_objects",
        "DELETE FROM musehub_commits",
        "DELETE FROM musehub_background_jobs",
        "UPDATE musehub_background_jobs SET payload = '{}'",
        "UPDATE musehub_commits SET author = ''",
        "UPDATE musehub_repos SET owner = ''",
        "UPDATE musehub_pipeline_version SET version_num = ''",
        "CREATE ROLE mine",
    ],
)
def test_the_worker_changes_no_table_and_takes_nothing_away(as_: As, statement: str) -> None:
    denied(as_(WORKER), statement)


def test_the_reader_sees_all(hub: Hub, as_: As) -> None:
    hub.push(hub.create_repo(), small_history().mpack())
    index_all(hub)
    as_(READER)

    for command in (["fsck"], ["status"], ["stats"], ["metrics"], ["jobs", "list"]):
        assert call(*command).code == 0, command
    assert call("db", "query", "SELECT count(*) FROM musehub_mpack_timings").code == 0


def test_the_reader_writes_nothing(as_: As) -> None:
    reader = as_(READER)

    for table in metadata.tables:
        denied(reader, f"INSERT INTO {table} SELECT * FROM {table}")
        denied(reader, f"DELETE FROM {table}")
        denied(reader, f"TRUNCATE {table}")
        denied(reader, f"SELECT FROM {table} FOR UPDATE")
    denied(reader, "UPDATE musehub_background_jobs SET status = 'done'")
    denied(reader, "CREATE TABLE mine (id text)")
    assert call("index").code == 1
