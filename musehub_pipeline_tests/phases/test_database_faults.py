"""Faults of the database under a drain: backends that die, a server that restarts, a deadlock."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.phases.claim_jobs import claim_jobs
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.services import open_services
from musehub_pipeline.phases.summarize import summarize
from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.audit.checking import check
from musehub_pipeline_tests.conftest import settings_of
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub, disconnect
from musehub_pipeline_tests.indexing import index_batch
from musehub_pipeline_tests.servers.postgres import Postgres
from musehub_pipeline_tests.waiting import wait_for

REPOS, EACH = 40, 4
IMPATIENT = {
    "batch_jobs": 2,  # so that it takes some seconds
    "lease_seconds": 5.0,
    "retry_base_seconds": 0.05,
    "retry_cap_seconds": 0.1,
}
KILLED_EVERY_SECONDS = 0.25
LEAST_KILLED = 3
UNFINISHED = "SELECT count(*) FROM musehub_background_jobs WHERE status IN ('pending', 'running')"


def impatient(settings: Settings) -> Hub:
    return Hub(settings.model_copy(update=IMPATIENT))


def drain(hub: Hub) -> None:
    """Index batch after batch, in runs that may die of the database, until nothing is left."""

    def is_drained() -> bool:
        with suppress(Transient):
            index_batch(hub, run_id=str(uuid4()))
        with (
            suppress(psycopg.OperationalError),
            psycopg.connect(str(hub.settings.database_url), connect_timeout=5) as connection,
        ):
            return connection.execute(UNFINISHED).fetchone() == (0,)
        return False

    wait_for(is_drained)


def assert_all_done(hub: Hub, jobs: list[str]) -> None:
    rows = hub.sql("SELECT job_id, status FROM musehub_background_jobs ORDER BY job_id")
    assert rows == [{"job_id": job_id, "status": "done"} for job_id in sorted(jobs)]
    assert publications(hub) == sorted(jobs)
    breaches, checked = check(hub)
    assert (breaches, checked["jobs_done"]) == ([], len(jobs))


@pytest.mark.slow
def test_backends_that_are_terminated_lose_no_push(settings: Settings) -> None:
    hub = impatient(settings)
    jobs = push_many(hub, repos=REPOS, each=EACH)
    count_publications(hub)
    killed = 0
    with (
        psycopg.connect(str(settings.database_url), autocommit=True) as killer,
        ThreadPoolExecutor() as beside,
    ):
        drained = beside.submit(drain, hub)
        while not drained.done():
            [(found,)] = killer.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchall()
            killed += found
            wait([drained], timeout=KILLED_EVERY_SECONDS)
        drained.result()

    assert killed > LEAST_KILLED
    assert_all_done(hub, jobs)


@pytest.mark.slow
def test_a_server_that_restarts_loses_no_push(tmp_path: Path) -> None:
    with Postgres(durable=True) as server, ThreadPoolExecutor() as beside:
        url = server.create_database("musehub")
        with Database(url) as database:
            migrate.upgrade(database)
        hub = impatient(settings_of(url, tmp_path))
        jobs = push_many(hub, repos=REPOS, each=EACH)
        count_publications(hub)

        drained = beside.submit(drain, hub)
        wait_for(lambda: publications(hub))
        server.restart()
        assert not drained.done()
        drained.result()

        assert_all_done(hub, jobs)
        disconnect(url)


@pytest.fixture(scope="module")
def mortal() -> Iterator[Postgres]:
    """A server that nobody else uses."""
    with Postgres(durable=True) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("after", [phase.__name__ for phase in PHASES[1:]])
def test_what_a_run_wrote_before_the_server_crashed_is_not_published(
    mortal: Postgres, tmp_path: Path, after: str
) -> None:
    url = mortal.create_database(f"crash_after_{after}")
    with Database(url) as database:
        migrate.upgrade(database)
    hub = Hub(settings_of(url, tmp_path))
    repo_id = hub.create_repo()
    jobs = [hub.push(repo_id, small_history().mpack()), push_many(hub, repos=1, each=1)[0]]
    count_publications(hub)

    with open_services(hub.settings) as services:
        batch = claim_jobs(services, run_id="run")
        for phase in PHASES:
            batch = phase(batch, services)
            if phase.__name__ == after:
                crash(hub)
        [error, _] = [item.error for item in summarize(batch, services).items]

    assert str(error) == (
        "LEASE_LOST: the database may have lost what run run wrote: it has crashed, or failed over"
    )
    breaches, _ = check(hub)
    assert breaches == []
    rows = [hub.job(job) for job in jobs]
    assert [(row["status"], row["attempt"]) for row in rows] == [("pending", 0)] * 2
    index_batch(hub, run_id="next")
    assert_all_done(hub, jobs)
    assert hub.counts() == {
        "objects": 15, "object_refs": 15, "snapshots": 5, "commits": 5, "branches": 1
    }  # fmt: skip
    disconnect(url)


def crash(hub: Hub) -> None:
    """Kill a process of the server: it drops what is not on its disk, and begins anew."""
    url = str(hub.settings.database_url)
    [victim] = hub.sql("SELECT pg_backend_pid() AS pid")
    os.kill(victim["pid"], signal.SIGKILL)
    disconnect(url)

    def is_back() -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(url) as connection:
            return connection.execute("SELECT FROM musehub_repos").rowcount > 0
        return False

    wait_for(is_back)


@pytest.mark.slow
def test_a_deadlock_with_another_program_costs_no_attempt(settings: Settings) -> None:
    hub = impatient(settings)
    repo_id = hub.create_repo()
    job_id = hub.push(repo_id, small_history().mpack())
    with (
        psycopg.connect(str(settings.database_url)) as other,
        ThreadPoolExecutor() as beside,
    ):
        other.execute("SET deadlock_timeout = '1h'")  # it is the run that finds the deadlock
        other.execute("UPDATE musehub_repos SET name = 'renamed'")
        indexing = beside.submit(index_batch, hub)
        wait_for(
            lambda: hub.sql(
                "SELECT FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )

        other.execute("UPDATE musehub_background_jobs SET created_at = created_at")
        other.commit()

        indexing.result()
    row = hub.job(job_id)
    assert (row["status"], row["attempt"], row["attempts"][0]["code"]) == ("done", 1, None)
