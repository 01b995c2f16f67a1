"""`index --watch`: a worker that stays, until it is told to stop."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator

import psycopg
import pytest

from musehub_pipeline_tests.cli.terminal import call, finish, start, wait_until
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub

NOT_MSGPACK = b"\xc1 is never msgpack"


@pytest.fixture
def worker(hub: Hub) -> Iterator[subprocess.Popen[str]]:
    """One that waits for pushes to the hub."""
    with start("index", "--watch", "--json") as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "waiting for pushes\n"
            yield process
        finally:
            process.kill()


def push(hub: Hub, slug: str, mpack: bytes | None = None) -> str:
    history = small_history()
    head = None if mpack else list(history.commits)[-1]
    return hub.push(hub.create_repo(slug), mpack or history.mpack(), head=head)


def runs(hub: Hub) -> int:
    """Return how many runs have said that they are alive."""
    [row] = hub.sql("SELECT count(*) AS number FROM musehub_pipeline_runs")
    return row["number"]


def told(worker: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait until a job has ended; return it, and how."""
    assert worker.stdout is not None
    row = json.loads(worker.stdout.readline())
    return row["job_id"], row["status"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_what_is_pushed_is_indexed_until_it_is_told_to_stop(
    hub: Hub, worker: subprocess.Popen[str], number: signal.Signals
) -> None:
    good = push(hub, "song")
    assert told(worker) == (good, "done")
    bad = push(hub, "tune", NOT_MSGPACK)
    assert told(worker) == (bad, "failed")
    worker.send_signal(number)
    finished = finish(worker)

    assert (finished.code, finished.out) == (0, "")
    assert [line[:21] for line in finished.err.splitlines()] == [
        "✅ [mpack.index] done ",
        "❌ [mpack.index] faile",
    ]


def test_it_stops_in_the_background_of_a_shell_where_ctrl_c_is_ignored(hub: Hub) -> None:
    shell = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
    with start("index", "--watch", "--json", through=shell) as worker:
        try:
            job_id = push(hub, "song")
            assert told(worker) == (job_id, "done")

            worker.terminate()

            assert finish(worker).code == 0
        finally:
            worker.kill()


def test_it_forgets_runs_that_ended_long_ago(hub: Hub) -> None:
    hub.sql(
        "INSERT INTO musehub_pipeline_runs (run_id, alive_until)"
        " VALUES ('old', now() - interval '2 hours'), ('new', now() - interval '1 minute')"
    )
    with start("index", "--watch") as worker:
        try:
            wait_until(worker, lambda: runs(hub) == 1)
        finally:
            worker.kill()

    assert hub.sql("SELECT run_id FROM musehub_pipeline_runs") == [{"run_id": "new"}]


def test_told_to_stop_in_a_run_it_gives_the_jobs_back(
    hub: Hub, worker: subprocess.Popen[str]
) -> None:
    with psycopg.connect(str(hub.settings.database_url)) as held:
        held.execute("LOCK TABLE musehub_objects")
        job_id = push(hub, "song")
        wait_until(worker, lambda: hub.job(job_id)["status"] == "running")

        worker.terminate()
        finished = finish(worker)

        row = hub.job(job_id)
    assert (finished.code, finished.err.count("Traceback")) == (0, 0), finished.err
    assert (row["status"], row["attempt"], row["lease_expires_at"]) == ("pending", 0, None)


def test_it_goes_on_when_the_database_is_back(hub: Hub, worker: subprocess.Popen[str]) -> None:
    hub.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert worker.stderr is not None
    assert worker.stderr.readline().startswith("waiting: DATABASE_UNAVAILABLE")

    job_id = push(hub, "tune")

    assert told(worker) == (job_id, "done")


def test_what_is_due_and_cannot_be_had_is_not_asked_for_without_a_pause(hub: Hub) -> None:
    job_id = push(hub, "song")
    with (
        psycopg.connect(str(hub.settings.database_url)) as hold,
        start("index", "--watch", "--json") as worker,
    ):
        try:
            hold.execute("SELECT FROM musehub_background_jobs FOR UPDATE")
            wait_until(worker, lambda: runs(hub) > 0)
            time.sleep(3)  # in which a run after the other would have come to more
            assert runs(hub) <= 2

            hold.rollback()

            assert told(worker) == (job_id, "done")
        finally:
            worker.kill()


def test_several_share_the_queue(hub: Hub, worker: subprocess.Popen[str]) -> None:
    other = start("index", "--watch")
    try:
        jobs = [push(hub, f"song-{number}") for number in range(20)]
        wait_until(worker, lambda: all(hub.job(job_id)["status"] == "done" for job_id in jobs))
    finally:
        other.terminate()
        finish(other)

    assert {hub.job(job_id)["attempt"] for job_id in jobs} == {1}


def test_of_several_one_begins_a_run_for_a_push(hub: Hub, worker: subprocess.Popen[str]) -> None:
    """A notice wakes all of them, and a run that finds nothing is one more to keep and to show."""
    others = [start("index", "--watch") for _ in range(2)]
    try:
        for other in others:
            assert other.stderr is not None
            assert other.stderr.readline() == "waiting for pushes\n"
        for number in range(5):
            job_id = push(hub, f"song-{number}")
            wait_until(worker, lambda job_id=job_id: hub.job(job_id)["status"] == "done")
            time.sleep(0.5)  # in which the others would have begun theirs
    finally:
        for other in others:
            other.terminate()
            finish(other)

    assert runs(hub) == 5


@pytest.mark.parametrize("more", [["a-job"], ["--strict"], ["--workers", "2"]])
def test_it_stands_alone(hub: Hub, more: list[str]) -> None:
    finished = call("index", "--watch", *more)

    assert finished.code == 2
    assert "--watch goes with no jobs, no --strict and no --workers" in finished.err
