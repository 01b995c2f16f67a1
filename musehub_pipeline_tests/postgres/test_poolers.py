"""Behind a pooler, which may lend another session for each transaction: PgBouncer, in two modes."""

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import make_url

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.phases.services import open_services
from musehub_pipeline.postgres import database as module
from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.postgres.server import ensure_database
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all
from musehub_pipeline_tests.pooled import kept, through
from musehub_pipeline_tests.postgres.test_database import HOLD, create_repo, repos, sleepers
from musehub_pipeline_tests.servers.pgbouncer import PgBouncer
from musehub_pipeline_tests.servers.postgres import Postgres

IDLE = timedelta(seconds=0.5)


@pytest.fixture(params=["session", "transaction"])
def pooler(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[PgBouncer]:
    with PgBouncer(postgres, mode=request.param) as pooler:
        yield pooler


@pytest.fixture
def lender(postgres: Postgres) -> Iterator[PgBouncer]:
    """One that lends a session for a transaction, and says nothing of options that it drops."""
    dropped = {"ignore_startup_parameters": "options"}
    with PgBouncer(postgres, mode="transaction", **dropped) as pooler:
        yield pooler


@pytest.fixture
def pooled(hub: Hub, pooler: PgBouncer) -> Hub:
    """The pipeline's side of a hub: by way of the pooler."""
    return through(pooler, hub)


def test_pushes_are_indexed_and_nothing_is_left_in_sessions(hub: Hub, pooled: Hub) -> None:
    history = small_history()
    head = list(history.commits)[-1]
    job_id = hub.push(hub.create_repo(), history.mpack(), head=head)
    direct = str(hub.settings.database_url)

    index_all(pooled)
    with open_services(pooled.settings) as services, services.queue.notices() as wait:
        wait(0)

    assert hub.job(job_id)["status"] == "done"
    assert hub.head("repo-song") == head
    assert kept(direct, str(pooled.settings.database_url)) == []


def test_options_that_are_dropped_are_missed(hub: Hub, lender: PgBouncer) -> None:
    pooled = through(lender, hub)
    hub.push(hub.create_repo(), small_history().mpack())

    index_all(pooled)

    with Database(str(pooled.settings.database_url), idle=IDLE) as database:
        with database.transaction() as transaction:
            [(idle,)] = transaction.query("SHOW idle_in_transaction_session_timeout")[1]
        with database.autocommit() as transaction:
            [(time_zone,)] = transaction.query("SHOW timezone")[1]
    assert (idle, time_zone) == ("500ms", "UTC")
    assert kept(str(hub.settings.database_url), str(pooled.settings.database_url)) == []


@pytest.fixture
def tls(postgres: Postgres) -> Iterator[PgBouncer]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    with PgBouncer(postgres, mode="session", tls_port=port) as server:
        yield server


@pytest.mark.parametrize("sslmode", [None, "require", "verify-ca"])
def test_a_push_is_indexed_where_tls_is_required(
    hub: Hub, tls: PgBouncer, sslmode: str | None
) -> None:
    job_id = hub.push(hub.create_repo(), small_history().mpack())
    asked = {"sslmode": sslmode, "sslrootcert": str(tls.certificate)} if sslmode else {}
    url = tls.tls_url(str(hub.settings.database_url), **asked)

    Hub(hub.settings.model_copy(update={"database_url": url})).index(job_id)

    assert hub.job(job_id)["status"] == "done"


def test_who_does_without_tls_where_it_is_required_is_told_so(hub: Hub, tls: PgBouncer) -> None:
    url = tls.tls_url(str(hub.settings.database_url), sslmode="disable")

    with (
        Database(url) as database,
        pytest.raises(Transient, match=r"^DATABASE_UNAVAILABLE: .*SSL required"),
    ):
        database.now()


@pytest.mark.slow
def test_a_process_that_is_killed_lets_go_of_its_locks(hub: Hub, pooled: Hub) -> None:
    url = str(hub.settings.database_url)
    patient = make_url(url).update_query_dict({"options": "-c lock_timeout=30s"})
    command = [sys.executable, "-c", HOLD, str(pooled.settings.database_url)]
    with (
        Database(patient.render_as_string(hide_password=False)) as other,
        subprocess.Popen(command) as child,
    ):
        for _ in range(600):
            if sleepers(other):
                break
            time.sleep(0.1)
        assert sleepers(other) == 1
        child.kill()

        assert create_repo(other) == 1
        assert repos(other) == 1


@pytest.mark.slow
def test_it_is_said_once_that_nobody_can_listen_and_nobody_waits_for_long(
    hub: Hub, pooled: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    module._tell_of_pooler.cache_clear()
    with (
        caplog.at_level(logging.WARNING, "musehub_pipeline.database"),
        Database(str(pooled.settings.database_url)) as database,
    ):
        begun = time.monotonic()
        for seconds in (60, 0):
            with database.notices("anything") as wait:
                assert wait(seconds) is False
        assert time.monotonic() - begun < 30

    [message] = caplog.messages
    assert message.startswith("a pooler answers at postgresql+psycopg://postgres:***@/")


@pytest.mark.slow
def test_tables_and_databases_are_made(
    empty_database_url: str, pooler: PgBouncer, postgres: Postgres
) -> None:
    beside = f"{make_url(empty_database_url).database}_beside"
    url = pooler.url(empty_database_url)
    with Database(url) as database:
        assert migrate.current(database) is None
        assert migrate.upgrade(database) == migrate.latest()
        assert migrate.current(database) == migrate.latest()
        try:
            assert [ensure_database(database.url, beside) for _ in range(2)] == [True, False]
        finally:
            postgres.drop_database(beside)

    assert kept(empty_database_url, url) == []
