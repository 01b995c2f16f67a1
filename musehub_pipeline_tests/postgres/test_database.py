"""The connection: transactions, and what its failures are called."""

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import make_url

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.servers.postgres import Postgres

REPO = {"repo_id": "r", "owner": "ada", "slug": "song", "default_branch": "main"}

HOLD = f"""
import sys
from datetime import timedelta
from musehub_pipeline.postgres.database import Database
with Database(sys.argv[1], idle=timedelta(seconds=0.5)) as database:
    with database.transaction() as transaction:
        transaction.write("create_repo", {REPO})
        transaction.query("SELECT pg_sleep(600)")
"""


def create_repo(database: Database) -> int:
    with database.transaction() as transaction:
        return transaction.write("create_repo", REPO)


def repos(database: Database) -> int:
    with database.transaction() as transaction:
        [[count]] = transaction.query("SELECT count(*) FROM musehub_repos")[1]
    return count


def sleepers(database: Database) -> int:
    asleep = "wait_event = 'PgSleep' AND datname = current_database()"
    with database.transaction() as transaction:
        return len(transaction.query(f"SELECT pid FROM pg_stat_activity WHERE {asleep}")[1])


def backend(database: Database) -> int:
    with database.transaction() as transaction:
        return transaction._connection.info.backend_pid


def terminate(server: Postgres, pid: int) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_what_a_transaction_wrote_is_there_afterwards(database_url: str) -> None:
    with Database(database_url) as database:
        assert (create_repo(database), create_repo(database)) == (1, 0)

        assert repos(database) == 1


def test_a_transaction_that_raises_leaves_nothing(database_url: str) -> None:
    def fail() -> None:
        with database.transaction() as transaction:
            transaction.write("create_repo", REPO)
            raise LookupError

    with Database(database_url) as database:
        with pytest.raises(LookupError):
            fail()

        assert repos(database) == 0


def test_rows_come_as_dicts_and_an_absent_one_as_none(database_url: str) -> None:
    with Database(database_url) as database:
        create_repo(database)
        name = {"owner": "ada", "slug": "song"}
        with database.transaction() as transaction:
            expected = {"repo_id": "r", "default_branch": "main", "deleted_at": None}
            assert transaction.rows("repo_by_slug", name) == [expected]
            assert transaction.row("repo_by_slug", name) == expected
            assert transaction.row("repo_by_slug", name | {"slug": "other"}) is None


def test_a_fault_of_our_own_is_no_trouble_of_the_server(database_url: str) -> None:
    with Database(database_url) as database:
        with pytest.raises(errors.NotNullViolation), database.transaction() as transaction:
            transaction.write("create_repo", REPO | {"repo_id": None})

        assert repos(database) == 0


@pytest.mark.parametrize("user", ["ada:hush-hush@", "ada@"])
def test_a_server_that_is_down_is_transient_and_named_without_the_password(
    closed_port: int, user: str
) -> None:
    secret = "" if ":" in user else "?password=hush-hush"
    with Database(f"postgresql://{user}127.0.0.1:{closed_port}/hub{secret}") as database:
        with pytest.raises(Transient) as asked, database.transaction():
            pass
        with pytest.raises(Transient) as upgraded:
            migrate.upgrade(database)
        with pytest.raises(Transient) as current:
            migrate.current(database)

    for caught in (asked, upgraded, current):
        assert caught.value.code.value == "DATABASE_UNAVAILABLE"
        assert f"127.0.0.1:{closed_port}/hub" in caught.value.message
        assert "refused" in caught.value.message
        assert "hush-hush" not in str(caught.value)
        assert "\n" not in caught.value.message


def test_a_database_that_does_not_exist_is_transient_and_named(postgres: Postgres) -> None:
    with Database(postgres.url("absent")) as database, pytest.raises(Transient) as caught:
        create_repo(database)

    assert caught.value.code.value == "DATABASE_UNAVAILABLE"
    assert 'database "absent" does not exist' in caught.value.message


def test_a_connection_that_is_killed_is_transient_and_the_next_one_works(
    postgres: Postgres, database_url: str
) -> None:
    def work() -> None:
        with database.transaction() as transaction:
            transaction.write("create_repo", REPO)
            terminate(postgres, transaction._connection.info.backend_pid)
            transaction.write("create_repo", REPO | {"repo_id": "s", "slug": "s"})

    with Database(database_url) as database:
        with pytest.raises(Transient) as caught:
            work()

        assert caught.value.code.value == "DATABASE_UNAVAILABLE"
        assert "terminating connection" in caught.value.message
        assert repos(database) == 0
        assert create_repo(database) == 1


def test_a_connection_that_is_killed_before_the_commit_is_transient(
    postgres: Postgres, database_url: str
) -> None:
    def work() -> None:
        with database.transaction() as transaction:
            transaction.write("create_repo", REPO)
            terminate(postgres, transaction._connection.info.backend_pid)

    with Database(database_url) as database:
        with pytest.raises(Transient, match=r"^DATABASE_UNAVAILABLE: "):
            work()

        assert repos(database) == 0


def test_a_connection_that_died_in_the_pool_is_replaced_unnoticed(
    postgres: Postgres, database_url: str
) -> None:
    with Database(database_url) as database:
        pid = backend(database)
        assert backend(database) == pid
        terminate(postgres, pid)

        assert create_repo(database) == 1
        assert backend(database) != pid


def test_a_transaction_that_falls_silent_lets_go_of_its_locks(database_url: str) -> None:
    def fall_silent() -> None:
        with frozen.transaction() as transaction:
            transaction.write("create_repo", REPO)
            assert create_repo(other) == 1  # waits until the server has ended the first
            transaction.write("create_repo", REPO | {"repo_id": "s", "slug": "s"})

    with (
        Database(database_url, idle=timedelta(seconds=0.5)) as frozen,
        Database(database_url) as other,
    ):
        with pytest.raises(Transient, match=r"^DATABASE_UNAVAILABLE: .*idle-in-transaction"):
            fall_silent()

        assert repos(other) == 1
        assert create_repo(frozen) == 0


def test_a_connection_on_which_a_signal_ended_the_wait_is_dropped_without_a_word(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Signalled(BaseException):
        pass

    def raise_it(*_: object) -> None:
        raise Signalled

    with Database(database_url) as database:
        pid = backend(database)
        os.kill(pid, signal.SIGSTOP)
        before = signal.signal(signal.SIGALRM, raise_it)
        try:
            signal.setitimer(signal.ITIMER_REAL, 1)
            with pytest.raises(Signalled):
                create_repo(database)  # of which not even the transaction begins
        finally:
            signal.signal(signal.SIGALRM, before)
            os.kill(pid, signal.SIGCONT)

        assert caplog.messages == []
        assert backend(database) != pid
        assert create_repo(database) == 1


@pytest.mark.slow
def test_a_process_that_is_killed_during_a_statement_lets_go_of_its_locks(
    database_url: str,
) -> None:
    patient = make_url(database_url).update_query_dict({"options": "-c lock_timeout=30s"})
    with (
        Database(patient.render_as_string(hide_password=False)) as other,
        subprocess.Popen([sys.executable, "-c", HOLD, database_url]) as child,
    ):
        for _ in range(600):
            if sleepers(other):
                break
            time.sleep(0.1)
        assert sleepers(other) == 1
        child.kill()

        assert create_repo(other) == 1  # waits until the server has ended the other's transaction
        assert repos(other) == 1
