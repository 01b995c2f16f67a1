"""`dev`: everything in the foreground, and nothing left of it afterwards."""

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline_tests.cli.conftest import Demo
from musehub_pipeline_tests.cli.terminal import (
    SECONDS,
    call,
    finish,
    processes_of,
    run,
    start,
)

OPS = ["claim_jobs", *(phase.__name__ for phase in PHASES), "summarize"]
ALL_STEPS = {"stepsSucceeded": len(OPS), "stepsFailed": 0}
QUESTION = """{
    runsOrError { ... on Runs { results {
        jobName status
        stats { ... on RunStatsSnapshot { stepsSucceeded stepsFailed } }
    } } }
    pipelineOrError(params: {
        repositoryName: "__repository__", repositoryLocationName: "musehub_pipeline",
        pipelineName: "index_mpacks"
    }) { ... on Pipeline {
        name runs { status } solids { name inputs { dependsOn { solid { name } } } }
    } }
}"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ignore_sigint() -> None:
    """As a shell does for what it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def ask(port: int, path: str, question: str | None = None) -> Any:
    data = None if question is None else json.dumps({"query": question}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as reply:
        return json.load(reply)


def wait_for_ui(process: "Popen[str]", port: int) -> Any:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return ask(port, "/server_info")
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, finish(process)
            assert time.monotonic() < deadline
            time.sleep(0.1)


def wait_for_file(process: "Popen[str]", path: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def follows(solids: list[Any]) -> dict[str | None, str]:
    """Return for each op the one that comes after it; None comes before the first."""
    after = {}
    for solid in solids:
        before = [source["solid"]["name"] for i in solid["inputs"] for source in i["dependsOn"]]
        assert len(before) <= 1
        after[before[0] if before else None] = solid["name"]
    return after


def can_connect(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_the_ui_shows_the_job_and_former_runs_and_sigterm_stops_all_of_it(
    demo: Demo, port: int
) -> None:
    home = demo.home
    process = start("dev", "--port", port, home=home, preexec_fn=ignore_sigint)
    try:
        served = wait_for_ui(process, port)
        shown = ask(port, "/graphql", QUESTION)["data"]
        running = " ".join(processes_of(home).values())
    finally:
        process.send_signal(signal.SIGTERM)
        finished = finish(process)

    assert "dagster_version" in served
    assert ["postgres" in running, "webserver" in running, "daemon" in running] == [True] * 3, (
        running
    )
    assert shown["pipelineOrError"]["name"] == "index_mpacks"
    assert follows(shown["pipelineOrError"]["solids"]) == dict(pairwise([None, *OPS]))
    runs = shown["runsOrError"]["results"]
    assert shown["pipelineOrError"]["runs"] == [{"status": "SUCCESS"}] * len(runs)
    ended_well = {"jobName": "index_mpacks", "status": "SUCCESS", "stats": ALL_STEPS}
    assert runs == [ended_well] * max(1, len(runs))
    assert finished.code == 0, finished
    assert f"http://127.0.0.1:{port}" in finished.out
    assert not can_connect(port)
    assert processes_of(home) == {}


def test_sigterm_while_the_services_start_leaves_nothing_either(demo: Demo, port: int) -> None:
    home = demo.home  # its database was there before: only the server has to start
    process = start("dev", "--port", port, home=home)
    wait_for_file(process, home / "postgres" / "postmaster.pid")

    process.send_signal(signal.SIGTERM)
    finish(process)

    deadline = time.monotonic() + SECONDS
    while processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.1)  # a server that is still starting may take a moment to stop
    try:
        assert processes_of(home) == {}
    finally:
        run("db", "current", home=home)  # stops what was left
    assert not can_connect(port)


def test_a_port_that_is_taken_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSEHUB_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        finished = call("dev", "--port", port)

    assert (finished.code, finished.out) == (1, "")
    assert finished.err == f"error: port {port} of 127.0.0.1: Address already in use; try --port\n"
    assert not (tmp_path / "home").exists()
