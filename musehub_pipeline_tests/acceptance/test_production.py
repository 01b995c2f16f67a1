"""Production on one machine, as `deploy/dagster` has it: what the units start indexes a push."""

import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from musehub_pipeline_tests.acceptance.production import Services, port_of, started
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.waiting import wait_for

UNITS = ("musehub-code", "musehub-daemon", "musehub-web")
STOP_SECONDS = 90  # as systemd gives; the tick of a sensor lasts for twenty


@pytest.fixture
def services(hub: Hub, empty_database_url: str, tmp_path: Path) -> Iterator[Services]:
    """The processes of the units, which end when they are told to."""
    folder = tmp_path / "srv"
    with started(UNITS, folder=folder, hub=hub, dagster_database_url=empty_database_url) as units:
        yield units


@pytest.mark.slow
def test_a_push_is_indexed_and_all_ends_when_told_to(hub: Hub, services: Services) -> None:
    jobs = [hub.push(hub.create_repo(name), small_history().mpack()) for name in ("one", "two")]
    port = port_of(services["musehub-web"])

    wait_for(lambda: all(hub.job(job)["status"] == "done" for job in jobs))

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=60) as answer:
        assert answer.status == 200
    for process in reversed(services.values()):
        process.terminate()
    for unit, process in services.items():
        assert process.wait(STOP_SECONDS) in {0, -signal.SIGTERM}, unit
