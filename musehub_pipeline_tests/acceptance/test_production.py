"""Production on one machine, as `deploy/dagster` has it: what the units start indexes a push."""

import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from string import Template

import pytest

from musehub_pipeline.cli import deploy
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.waiting import wait_for

UNITS = ("musehub-code", "musehub-daemon", "musehub-web")
STOP_SECONDS = 90  # as systemd gives; the tick of a sensor lasts for twenty


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def services(
    hub: Hub, empty_database_url: str, tmp_path: Path
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The processes of the units, which end when they are told to."""
    folder = tmp_path / "srv"
    deploy.write(folder, celery=False)
    variables = dict(
        line.split("=", 1)
        for line in (folder / "environment").read_text().splitlines()
        if line and not line.startswith("#")
    )
    environment = {**os.environ, **variables} | {
        "MUSEHUB_DATABASE_URL": str(hub.settings.database_url),
        "MUSEHUB_DAGSTER_DATABASE_URL": empty_database_url.replace("sql", "sql+psycopg2", 1),
        "MUSEHUB_STORAGE_URL": str(hub.settings.storage_url),
        "MUSEHUB_CODE_PORT": str(free_port()),
        "PYTHONWARNINGS": "ignore",
    }
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with ExitStack() as stack:
        for unit in UNITS:
            [command] = re.findall(
                r"^ExecStart=(.*)$", (folder / f"{unit}.service").read_text(), re.M
            )
            command = command.replace("--port 3000", f"--port {free_port()}")
            processes[unit] = subprocess.Popen(
                Template(command).substitute(environment).split(),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            stack.callback(end, processes[unit])
        yield processes


def end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_push_is_indexed_and_all_ends_when_told_to(
    hub: Hub, services: dict[str, subprocess.Popen[bytes]]
) -> None:
    jobs = [hub.push(hub.create_repo(name), small_history().mpack()) for name in ("one", "two")]
    [*_, port] = services["musehub-web"].args  # pyright: ignore[reportGeneralTypeIssues]

    wait_for(lambda: all(hub.job(job)["status"] == "done" for job in jobs))

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=60) as answer:
        assert answer.status == 200
    for process in reversed(services.values()):
        process.terminate()
    for unit, process in services.items():
        assert process.wait(STOP_SECONDS) in {0, -signal.SIGTERM}, unit
