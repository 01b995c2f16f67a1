"""The files of `deploy/`: Dagster loads them as they are written, and they say what runs here."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from celery import Celery
from dagster._cli.api import _execute_run_command_body
from dagster._core.instance import InstanceRef
from dagster._core.workspace.load import location_origins_from_yaml_paths

from musehub_pipeline.definitions import defs
from musehub_pipeline.orchestration.fleet import FleetRunLauncher
from musehub_pipeline.orchestration.launcher import LaneRunCoordinator, SpareRunLauncher
from musehub_pipeline_tests.cli.terminal import call, run
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.test_launcher import ORIGIN
from musehub_pipeline_tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
KINDS = {"dagster": [], "celery": ["--celery"]}
BOTH = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def written(kind: str, tmp_path: Path) -> Path:
    """The folder that `deploy init` has written."""
    folder = tmp_path / "made" / "pipeline"
    finished = call("deploy", "init", folder, *KINDS[kind])
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.splitlines() == sorted(map(str, folder.iterdir()))
    return folder


@pytest.fixture
def environment(written: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, with its environment set as systemd sets it, but for where services are."""
    for line in (written / "environment").read_text().splitlines():
        if line and not line.startswith("#"):
            monkeypatch.setenv(*line.split("=", 1))
    ours = empty_database_url.replace("postgresql", "postgresql+psycopg2", 1)
    monkeypatch.setenv("MUSEHUB_DAGSTER_DATABASE_URL", ours)
    monkeypatch.setenv("MUSEHUB_REDIS_URL", "redis://127.0.0.1:1/0")
    return written


def parsed(*path: str) -> dict[str, Any]:
    return yaml.safe_load(ROOT.joinpath(*path).read_text("utf-8"))


@BOTH
def test_dagster_loads_its_instance_from_what_is_written(kind: str, environment: Path) -> None:
    assert os.environ["DAGSTER_HOME"] == str(environment)

    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.run_coordinator, LaneRunCoordinator)
        assert instance.get_runs_count() == 0  # in the database that is named
        launcher = FleetRunLauncher if kind == "celery" else SpareRunLauncher
        assert isinstance(instance.run_launcher, launcher)


@BOTH
def test_dagster_finds_the_code_server_where_the_environment_says(environment: Path) -> None:
    [origin] = location_origins_from_yaml_paths([str(environment / "workspace.yaml")])

    assert origin.location_name == "musehub_pipeline"
    assert (origin.host, origin.port) == ("127.0.0.1", 4266)  # pyright: ignore[reportAttributeAccessIssue]


@BOTH
def test_only_its_owner_reads_the_environment(written: Path) -> None:
    assert (written / "environment").stat().st_mode & 0o777 == 0o600


@BOTH
def test_nothing_is_overwritten(written: Path, kind: str) -> None:
    before = {path: path.read_bytes() for path in written.iterdir()}

    finished = call("deploy", "init", written, *KINDS[kind])

    assert (finished.code, finished.out) == (1, "")
    assert "is not empty" in finished.err
    assert {path: path.read_bytes() for path in written.iterdir()} == before


def test_production_runs_as_the_pipeline_is_tried() -> None:
    package = "musehub_pipeline", "orchestration"
    plain, celery = (
        parsed("deploy", "dagster", "dagster.yaml"),
        parsed("deploy", "celery", "dagster.yaml"),
    )

    assert plain == parsed(*package, "dagster.yaml") | parsed(*package, "storage.yaml")
    assert {**celery, "run_launcher": plain["run_launcher"]} == plain


@pytest.mark.parametrize("kind", ["celery"])
def test_workers_are_where_the_launcher_puts_runs(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = parsed("deploy", "celery", "dagster.yaml")["run_monitoring"]
    ref = InstanceRef.from_dir(str(environment))
    code = (
        "from musehub_pipeline.orchestration.celery_worker import app\n"
        "print(app.conf.broker_url, app.conf.result_backend, *app.tasks)"
    )

    launcher = ref.run_launcher
    worker = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()

    assert isinstance(launcher, FleetRunLauncher)
    app: Celery = launcher.celery
    assert worker[:2] == [app.conf.broker_url, app.conf.result_backend]
    assert "execute_job" in worker
    assert not app.conf.task_acks_late
    assert app.conf.worker_disable_prefetch
    visible = app.conf.broker_transport_options["visibility_timeout"]
    assert visible < timeouts["start_timeout_seconds"]


@pytest.mark.parametrize("kind", ["celery"])
@pytest.mark.parametrize("status", ["STARTED", "SUCCESS"])
def test_a_run_that_is_delivered_again_is_not_executed(
    environment: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", str(hub.settings.database_url))
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", str(hub.settings.storage_url))
    job_id = hub.push(hub.create_repo(), small_history().mpack())
    with dg.DagsterInstance.get() as instance:
        run_id = instance.create_run_for_job(
            defs.get_job_def("index_mpacks"),
            status=dg.DagsterRunStatus(status),
            job_code_origin=ORIGIN,
        ).run_id

        _execute_run_command_body(run_id, instance, lambda _: None, set_exit_code_on_failure=True)

        def says_so() -> bool:
            return any(log.message.startswith("Ignoring a ") for log in instance.all_logs(run_id))

        wait_for(says_so)
    assert hub.job(job_id)["status"] == "pending"


@pytest.mark.parametrize("kind", ["dagster"])
def test_a_worker_of_another_launcher_says_so(environment: Path) -> None:
    module = "musehub_pipeline.orchestration.celery_worker"

    refused = subprocess.run(
        [sys.executable, "-m", module], stderr=subprocess.PIPE, text=True, check=False
    )

    assert "the launcher of its dagster.yaml is not Celery's" in refused.stderr


def test_help_says_what_it_does() -> None:
    assert "DAGSTER_HOME" in run("deploy", "init", "--help").out


@pytest.mark.slow
def test_the_wheel_has_the_files(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    subprocess.run([*build, str(wheels)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    [wheel] = wheels.iterdir()
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "installed")
    code = (
        "import musehub_pipeline, pathlib, sys\n"
        "from musehub_pipeline.cli import deploy\n"
        "assert pathlib.Path(musehub_pipeline.__file__).is_relative_to(sys.argv[1])\n"
        "deploy.write(pathlib.Path(sys.argv[2]), celery=True)"
    )
    arguments = [str(tmp_path / "installed"), str(tmp_path / "of-wheel")]
    environment = {**os.environ, "PYTHONPATH": arguments[0], "PYTHONDONTWRITEBYTECODE": "1"}

    subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, env=environment, check=True
    )

    call("deploy", "init", tmp_path / "of-clone", "--celery")
    assert files(tmp_path / "of-wheel") == files(tmp_path / "of-clone")


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text().replace(str(folder), "") for path in folder.iterdir()}
