"""The example of an alert: a webhook is told of trouble, once it listens, and of nothing else."""

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Thread

import dagster as dg
import pytest
import requests
from dagster._core.workspace.load import location_origins_from_yaml_paths

from musehub_pipeline.orchestration.instance import dagster_instance
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.observed import run

FOLDER = Path(__file__).parents[2] / "deploy/alerts"
MPACK = History().mpack()
NOT_MSGPACK = b"\xc1"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dagster_instance() as opened:
        yield opened


class Receiver(HTTPServer):
    """A webhook that keeps what it is told, and may be out of order."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[str] = []
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status == 200:
            self.server.told.append(json.loads(body)["text"])
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with Receiver() as receiver:
        Thread(target=receiver.serve_forever, daemon=True).start()
        monkeypatch.setenv("MUSEHUB_ALERT_URL", f"http://127.0.0.1:{receiver.server_port}/hook")
        yield receiver
        receiver.shutdown()


class Ticks:
    """A sensor of the example, as the daemon evaluates it: a tick that fails changes nothing."""

    def __init__(self, instance: dg.DagsterInstance, name: str) -> None:
        spec = spec_from_file_location("webhook", FOLDER / "webhook.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        self._sensor = module.defs.get_repository_def().get_sensor_def(name)
        self._instance = instance
        self._cursor: str | None = None

    def tick(self) -> str | None:
        context = dg.build_sensor_context(instance=self._instance, cursor=self._cursor)
        found = self._sensor.evaluate_tick(context)
        self._cursor = found.cursor
        return found.skip_message


def test_a_webhook_is_told_of_trouble_that_came_after_it(
    hub: Hub, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    ticks = Ticks(instance, "trouble_webhook")
    hub.push(hub.create_repo("a"), MPACK)
    run(hub, instance, storage_url="file:///nowhere/at/all")
    assert ticks.tick() == "begins with what ends from now on"
    hub.push(hub.create_repo("b"), MPACK)
    run_id = run(hub, instance, storage_url="file:///nowhere/at/all")
    hub.push(hub.create_repo("c"), NOT_MSGPACK)
    run(hub, instance)

    assert (ticks.tick(), ticks.tick()) == ("2 runs", "0 runs")

    assert receiver.told == [f"musehub_pipeline: run {run_id} of index_mpacks: STORAGE_UNAVAILABLE"]


def test_what_the_webhook_did_not_take_is_told_again(
    hub: Hub, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    ticks = Ticks(instance, "trouble_webhook")
    ticks.tick()
    hub.push(hub.create_repo(), MPACK)
    run(hub, instance, storage_url="file:///nowhere/at/all")
    receiver.status = 503
    with pytest.raises(requests.HTTPError, match="503"):
        ticks.tick()
    receiver.status = 200

    assert ticks.tick() == "1 runs"

    assert len(receiver.told) == 1


def test_a_webhook_is_told_of_runs_that_failed(
    instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    @dg.op
    def fail() -> None:
        raise RuntimeError

    @dg.job
    def failing() -> None:
        fail()

    ticks = Ticks(instance, "failure_webhook")
    ticks.tick()
    run_id = failing.execute_in_process(instance=instance, raise_on_error=False).run_id

    assert ticks.tick() == "1 runs"

    assert receiver.told == [f"musehub_pipeline: run {run_id} of failing: it failed"]


def test_its_lines_for_the_workspace_are_such(tmp_path: Path) -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    lines = [line[4:] for line in readme.splitlines() if line.startswith("    ")]
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text("\n".join(lines))

    origins = location_origins_from_yaml_paths([os.fspath(workspace)])

    assert [origin.location_name for origin in origins] == ["alerts"]
