"""How runs are launched, told to stop and looked after, wherever their processes are."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.run_coordinator import SubmitRunContext

from musehub_pipeline.domain.run_requests import LANE_TAG, LIVE
from musehub_pipeline.orchestration.index_mpacks import index_mpacks_job
from musehub_pipeline.orchestration.instance import PROCESS_TAG, use_dagster_home
from musehub_pipeline.orchestration.launcher import (
    LaneRunCoordinator,
    SpareRunLauncher,
)
from musehub_pipeline.orchestration.resources import MusehubResource
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.waiting import wait_for

SIGTERM = -15


def origin_of(module: str) -> JobPythonOrigin:
    pointer = ModuleCodePointer(module, "defs", working_directory=None)
    repository = RepositoryPythonOrigin(sys.executable, pointer)
    return JobPythonOrigin("index_mpacks", repository)


ORIGIN, OF_OTHERS = origin_of("musehub_pipeline.definitions"), origin_of("other.definitions")


@pytest.fixture
def instance(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance as the shipped dagster.yaml makes it."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("MUSEHUB_DAGSTER_DATABASE_URL", "")
    use_dagster_home(hub.settings)
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until it is ended."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


def began(process: subprocess.Popen[bytes]) -> float:
    return psutil.Process(process.pid).create_time()


def run_in(
    instance: dg.DagsterInstance,
    process: subprocess.Popen[bytes],
    *,
    host: str | None = None,
    began_at: float | None = None,
) -> dg.DagsterRun:
    """Return a run that is at work in a process, on this machine or on another one."""
    at = began_at or began(process)
    return create_run(
        instance,
        status=dg.DagsterRunStatus.STARTED,
        tags={PROCESS_TAG: f"{host or socket.gethostname()} {process.pid} {at:.0f}"},
    )


def create_run(
    instance: dg.DagsterInstance,
    *,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.NOT_STARTED,
    tags: dict[str, str] | None = None,
    origin: JobPythonOrigin | None = None,
) -> dg.DagsterRun:
    job = index_mpacks_job(MusehubResource())
    return instance.create_run_for_job(job, status=status, tags=tags, job_code_origin=origin)


def reloaded(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    stored = instance.get_run_by_id(run.run_id)
    assert stored is not None
    return stored


def fork_servers() -> list[psutil.Process]:
    """Return the processes of this one that fork spares, or are about to."""
    return [
        child
        for child in psutil.Process().children()
        if any(
            word in " ".join(child.cmdline())
            for word in ("orchestration.spares", "musehub-pipeline forkserver")
        )
    ]


def health(instance: dg.DagsterInstance, run: dg.DagsterRun) -> WorkerStatus:
    return instance.run_launcher.check_run_worker_health(run).status


def test_the_shipped_settings_name_the_launcher_and_the_coordinator(
    instance: dg.DagsterInstance,
) -> None:
    assert isinstance(instance.run_launcher, SpareRunLauncher)
    assert isinstance(instance.run_coordinator, LaneRunCoordinator)
    assert instance.run_launcher.supports_check_run_worker_health


def test_a_run_is_told_to_stop_by_whoever_knows_its_process(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run = run_in(instance, process)

    assert instance.run_launcher.terminate(run.run_id)

    assert process.wait(10) == SIGTERM
    assert reloaded(instance, run).status == dg.DagsterRunStatus.CANCELING


def test_what_runs_on_another_machine_is_not_told_to_stop_here(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run = run_in(instance, process, host="elsewhere")

    assert not instance.run_launcher.terminate(run.run_id)

    assert process.poll() is None


def test_a_process_that_began_at_another_time_is_another_one(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run = run_in(instance, process, began_at=began(process) - 100)

    assert not instance.run_launcher.terminate(run.run_id)

    assert process.poll() is None
    assert health(instance, run) == WorkerStatus.NOT_FOUND


def test_a_run_is_well_while_its_process_lives(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run = run_in(instance, process)
    elsewhere = run_in(instance, process, host="elsewhere")
    as_dagster_began_it = create_run(instance, status=dg.DagsterRunStatus.STARTED)

    assert health(instance, run) == WorkerStatus.RUNNING

    process.kill()  # and nobody has reaped it
    psutil.wait_procs([psutil.Process(process.pid)], timeout=1)

    assert health(instance, run) == WorkerStatus.NOT_FOUND
    assert health(instance, elsewhere) == WorkerStatus.RUNNING
    assert health(instance, as_dagster_began_it) == WorkerStatus.RUNNING


def test_a_run_that_repeats_another_one_does_not_have_its_process(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run = run_in(instance, process)  # Dagster copies the tags of the run that is repeated

    with pytest.raises(dg.DagsterInvariantViolationError, match="requires a workspace"):
        instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))

    assert not instance.run_launcher.terminate(run.run_id)
    assert process.poll() is None
    assert health(instance, reloaded(instance, run)) == WorkerStatus.RUNNING


def test_a_live_run_goes_to_workers_at_once(tmp_path: Path) -> None:
    celery = {"broker": "memory://", "backend": "cache+memory://"}
    overrides = {
        "run_launcher": {
            "module": "dagster_celery.launcher",
            "class": "CeleryRunLauncher",
            "config": celery,
        },
        "run_coordinator": {
            "module": "musehub_pipeline.orchestration.launcher",
            "class": "LaneRunCoordinator",
        },
    }
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
        run = create_run(instance, tags={LANE_TAG: LIVE}, origin=ORIGIN)
        context = SubmitRunContext(run, workspace=None)  # pyright: ignore[reportArgumentType]

        instance.run_coordinator.submit_run(context)

        assert reloaded(instance, run).status == dg.DagsterRunStatus.STARTING


@pytest.mark.parametrize(("value", "number"), [("1", 1), ("0", 0), ("many", 0)])
def test_spares_are_loaded_by_the_first_run_where_they_are_wanted(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, value: str, number: int
) -> None:
    monkeypatch.setenv("MUSEHUB_SPARE_RUNS", value)
    run = create_run(instance, origin=ORIGIN)

    with pytest.raises(dg.DagsterInvariantViolationError, match="requires a workspace"):
        instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))

    assert not instance.run_launcher.is_ready()
    found = fork_servers()
    assert len(found) == number
    wait_for(lambda: instance.run_launcher.is_ready() or not found)
    instance.run_launcher.dispose()
    wait_for(lambda: not any(fork_server.is_running() for fork_server in found))


def test_spares_are_not_for_what_needs_other_code(instance: dg.DagsterInstance) -> None:
    run = create_run(instance, origin=OF_OTHERS)

    with pytest.raises(dg.DagsterInvariantViolationError, match="requires a workspace"):
        instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))

    assert fork_servers() == []
