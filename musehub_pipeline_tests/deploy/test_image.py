"""What the image runs, without one: another user, a root that is read-only, a home and a /tmp."""

import json
import os
import subprocess

import pytest

from musehub_pipeline_tests.deploy.container import HOME, USER, Container, seen_in_there
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.servers.postgres import Postgres

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another root"),
]


def test_only_its_home_and_tmp_can_be_written_to(container: Container) -> None:
    places = ["/", "/etc", "/opt/musehub-pipeline", "/run", "/srv", "/usr/bin", "/tmp", HOME]
    script = "id -u; for place; do touch $place/x 2>/dev/null && echo $place || true; done"

    printed = container.run("sh", "-c", script, "sh", *places)

    assert printed.split() == [str(USER), "/tmp", HOME]


def test_each_command_works_there(
    container: Container, postgres: Postgres, empty_database_url: str
) -> None:
    url = seen_in_there(postgres, empty_database_url)
    container.environment = {**container.environment, "MUSEHUB_DATABASE_URL": url}
    (container.folder / "home/song.mpack").write_bytes(small_history().mpack())

    container.run("musehub-pipeline", "db", "upgrade")
    container.run(
        "musehub-pipeline", "push", f"{HOME}/song.mpack", "--repo", "ada/song", "--create"
    )
    ended = json.loads(container.run("musehub-pipeline", "index", "--strict", "--json"))
    container.run("musehub-pipeline", "fsck", "--json")

    assert [job["status"] for job in ended] == ["done"]


def test_a_worker_ends_when_it_is_told_to(container: Container) -> None:
    command = ["musehub-pipeline", "index", "--watch"]

    with container.start(command, stderr=subprocess.PIPE) as worker:
        assert worker.stderr
        said = worker.stderr.readline()
        worker.terminate()
        code = worker.wait(60)

    assert (said, code) == ("waiting for pushes\n", 0)
