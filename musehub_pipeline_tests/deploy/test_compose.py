"""`deploy/compose`: it says what Compose knows, and what it starts indexes a push."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.deploy.container import HOME, ROOT, USER, Container, seen_in_there
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.servers.postgres import Postgres
from musehub_pipeline_tests.waiting import wait_for

FOLDER = ROOT / "deploy/compose"
FILE = FOLDER / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PORTS = {"code": 4266, "web": 3000, "metrics": 9464}
STOP_SECONDS = 90


def test_compose_knows_all_that_it_says() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]

    subprocess.run([*command, str(FILE)], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_do_little_and_write_little(service: str) -> None:
    said = SERVICES[service]

    assert said["read_only"]
    assert said["user"] == f"{USER}:{USER}"
    assert said["cap_drop"] == ["ALL"]
    assert said["security_opt"] == ["no-new-privileges:true"]
    assert said["volumes"] == [f"home:{HOME}"]
    assert "memory" in said["deploy"]["resources"]["limits"]
    assert all(port.startswith("127.0.0.1:") for port in said.get("ports", []))


def test_what_it_names_is_there() -> None:
    environment = (ROOT / "deploy/dagster/environment").read_text("utf-8")
    given = dict(line.split("=", 1) for line in re.findall(r"^\w+=.*$", environment, re.M))

    assert (given["MUSEHUB_HOME"], given["DAGSTER_HOME"]) == (HOME, HOME)
    assert given["MUSEHUB_SCRATCH_DIR"].startswith(HOME)
    assert given["MUSEHUB_CODE_PORT"] == str(PORTS["code"])
    assert (FOLDER / COMPOSE["services"]["code"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / SERVICES["code"]["build"]["dockerfile"]).exists()
    for config in COMPOSE["configs"].values():
        assert (FOLDER / config["file"]).exists()


def free_ports(text: str, ports: dict[str, int]) -> str:
    """Return what is said of ports with others in their place."""
    for name, port in PORTS.items():
        text = text.replace(str(port), str(ports[name]))
    return text


@pytest.fixture
def ports() -> dict[str, int]:
    """Ports that are free, by the names of services."""
    with ExitStack() as stack:
        probes = {name: stack.enter_context(socket.socket()) for name in PORTS}
        for probe in probes.values():
            probe.bind(("127.0.0.1", 0))
        return {name: probe.getsockname()[1] for name, probe in probes.items()}


@pytest.fixture
def placed(
    container: Container, postgres: Postgres, ports: dict[str, int], tmp_path: Path
) -> Iterator[Container]:
    """A container as the file has it, but that its network is this machine's."""
    hosts, name = tmp_path / "hosts", f"dagster_{uuid4().hex}"
    hosts.write_text("127.0.0.1 localhost code\n")
    container.files = {hosts: "/etc/hosts"} | {
        FOLDER / COMPOSE["configs"][each["source"]]["file"]: each["target"]
        for each in SERVICES["code"]["configs"]
    }
    records = postgres.create_database(name).replace("sql", "sql+psycopg2", 1)
    container.environment = {
        **container.environment,
        "DAGSTER_HOME": HOME,
        "MUSEHUB_CODE_PORT": str(ports["code"]),
        "MUSEHUB_DAGSTER_DATABASE_URL": seen_in_there(postgres, records),
    }
    yield container
    postgres.drop_database(name)


@pytest.fixture
def started(placed: Container, ports: dict[str, int]) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The processes of all services."""
    with ExitStack() as stack:
        processes: dict[str, subprocess.Popen[str]] = {}
        for name, service in SERVICES.items():
            command = shlex.split(free_ports(service["command"], ports))
            process = placed.start(command, environment=service.get("environment", {}))
            stack.callback(end, process)
            processes[name] = process
        yield processes


def end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_push_is_indexed_and_all_are_healthy_and_end_when_told_to(
    started: dict[str, subprocess.Popen[str]],
    placed: Container,
    ports: dict[str, int],
    database_url: str,
) -> None:
    (placed.folder / "home/song.mpack").write_bytes(small_history().mpack())
    push = ["push", f"{HOME}/song.mpack", "--repo", "ada/song", "--create"]
    placed.run("musehub-pipeline", *push)
    hub = Hub(Settings.load({"database_url": database_url}))

    def statuses() -> list[str]:
        return [job["status"] for job in hub.sql("SELECT status FROM musehub_background_jobs")]

    wait_for(lambda: statuses() == ["done"])
    checks = {
        name: placed.start(
            ["sh", "-c", free_ports(service["healthcheck"]["test"], ports)],
            environment=service.get("environment", {}),
        )
        for name, service in SERVICES.items()
    }
    assert {name: check.wait(120) for name, check in checks.items()} == dict.fromkeys(SERVICES, 0)
    for process in reversed(started.values()):
        process.terminate()
    for name, process in started.items():
        assert process.wait(STOP_SECONDS) in {0, 128 + signal.SIGTERM, -signal.SIGTERM}, name
