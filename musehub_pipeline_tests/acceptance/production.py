"""Production on one machine: what the units of `deploy/dagster` start, on ports of the test."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from string import Template

from musehub_pipeline.cli import deploy
from musehub_pipeline_tests.hub import Hub

Services = dict[str, subprocess.Popen[bytes]]


@contextmanager
def started(
    units: Sequence[str], *, folder: Path, hub: Hub, dagster_database_url: str
) -> Iterator[Services]:
    """Write the files to a folder, and run the processes of units while the `with` block lasts."""
    deploy.write(folder, celery=False)
    variables = dict(
        line.split("=", 1)
        for line in (folder / "environment").read_text().splitlines()
        if line and not line.startswith("#")
    )
    environment = {**os.environ, **variables} | {
        "MUSEHUB_DATABASE_URL": str(hub.settings.database_url),
        "MUSEHUB_DAGSTER_DATABASE_URL": dagster_database_url.replace("sql", "sql+psycopg2", 1),
        "MUSEHUB_STORAGE_URL": str(hub.settings.storage_url),
        "MUSEHUB_CODE_PORT": str(free_port()),
        "PYTHONWARNINGS": "ignore",
    }
    processes: Services = {}
    with ExitStack() as stack:
        for unit in units:
            [command] = re.findall(
                r"^ExecStart=(.*)$", (folder / f"{unit}.service").read_text(), re.M
            )
            command = re.sub(r"--port 300\d$", f"--port {free_port()}", command)
            processes[unit] = subprocess.Popen(
                Template(command).substitute(environment).split(),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            stack.callback(_end, processes[unit])
        yield processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def port_of(service: subprocess.Popen[bytes]) -> int:
    """Return the port of a UI."""
    [*_, port] = service.args  # pyright: ignore[reportGeneralTypeIssues]
    return int(port)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
