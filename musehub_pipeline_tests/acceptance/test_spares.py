"""Runs that begin in processes which wait for them: what dies, and what is loaded anew."""

import socket
from typing import Any
from uuid import uuid4

import psutil

from musehub_pipeline.orchestration.instance import PROCESS_TAG
from musehub_pipeline_tests.acceptance.dev import RUN, Dev
from musehub_pipeline_tests.acceptance.gate import Gate
from musehub_pipeline_tests.factories import small_history

SPARE = "musehub-pipeline spare"
FORK_SERVER = "musehub-pipeline forkserver"
_RELOAD = """
    mutation { reloadRepositoryLocation(repositoryLocationName: "musehub_pipeline") { __typename } }
"""
_LAST_WORDS = """
    SELECT event::jsonb -> 'dagster_event' ->> 'message' AS message FROM event_logs
    WHERE run_id = %(run_id)s AND dagster_event_type = 'PIPELINE_FAILURE'
"""


def stands(dev: Dev, *, beside: tuple[int, ...] = ()) -> psutil.Process:
    """Return a spare that stands, and is none of the others; push until the first one does."""

    def found() -> list[psutil.Process]:
        return [spare for spare in dev.processes(SPARE) if spare.pid not in beside]

    if not dev.processes(FORK_SERVER):
        push_alone(dev)
    dev.wait(lambda: bool(found()), seconds=180)
    return found()[0]


def push(dev: Dev) -> str:
    """Push to a new repository; return the job."""
    history = small_history()
    repo_id = dev.hub.create_repo(uuid4().hex)
    return dev.hub.push(repo_id, history.mpack(), head=list(history.commits)[-1])


def push_alone(dev: Dev) -> dict[str, Any]:
    """Push, wait until that is done, and return its run."""
    job_id = push(dev)
    dev.wait(lambda: dev.hub.job(job_id)["status"] == "done", seconds=180)
    dev.settle()
    run_id = dev.hub.job(job_id)["run_id"]
    [run] = [run for run in dev.runs() if run["run_id"] == run_id]
    return run


def test_a_run_has_a_process_that_waited_for_it_and_ends_with_it(warm: Dev) -> None:
    spare = stands(warm)

    run = push_alone(warm)

    host, pid, _ = run["tags"][PROCESS_TAG].rsplit(" ", 2)
    assert (host, int(pid)) == (socket.gethostname(), spare.pid)
    warm.wait(lambda: not spare.is_running(), seconds=30)
    assert stands(warm).pid != spare.pid


def test_a_spare_that_dies_is_replaced(warm: Dev) -> None:
    spare = stands(warm)
    spare.kill()
    after = stands(warm, beside=(spare.pid,))

    run = push_alone(warm)

    assert run["tags"][PROCESS_TAG].split(" ")[1] == str(after.pid)


def test_runs_outlive_what_has_forked_them_and_more_is_forked(warm: Dev) -> None:
    stands(warm)
    with Gate(str(warm.hub.settings.database_url)) as gate:
        gate.stand_behind_rows(["musehub_commits"])
        job_id = push(warm)
        warm.wait(lambda: gate.waiting() == 1, seconds=180)
        warm.kill(FORK_SERVER)
    warm.wait(lambda: warm.hub.job(job_id)["status"] == "done", seconds=180)
    warm.settle()

    assert warm.hub.job(job_id)["attempt"] == 1
    assert PROCESS_TAG not in push_alone(warm)["tags"]  # it began as Dagster begins runs
    stands(warm)
    assert PROCESS_TAG in push_alone(warm)["tags"]


def test_a_run_that_is_killed_is_known_to_have_ended(warm: Dev) -> None:
    stands(warm)
    with Gate(str(warm.hub.settings.database_url)) as gate:
        gate.stand_behind_rows(["musehub_commits"])
        job_id = push(warm)
        warm.wait(lambda: gate.waiting() == 1, seconds=180)
        run_id = warm.hub.job(job_id)["run_id"]
        warm.kill(RUN)
        warm.wait(lambda: warm.records(_LAST_WORDS, run_id=run_id) != [], seconds=180)
    warm.wait(lambda: warm.hub.job(job_id)["status"] == "done", seconds=180)

    assert warm.records(_LAST_WORDS, run_id=run_id) == [
        {"message": "The run's process has ended with signal SIGKILL."}
    ]


def test_what_is_loaded_anew_is_what_runs(warm: Dev) -> None:
    spare = stands(warm)
    [fork_server] = warm.processes(FORK_SERVER)

    assert warm.ask(_RELOAD)["reloadRepositoryLocation"]["__typename"] == "WorkspaceLocationEntry"
    warm.wait(lambda: (push_alone(warm), fork_server.is_running())[1] is False, seconds=180)

    stands(warm, beside=(spare.pid,))
    assert not spare.is_running()
    assert PROCESS_TAG in push_alone(warm)["tags"]
