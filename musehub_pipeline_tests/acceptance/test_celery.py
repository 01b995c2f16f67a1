"""Celery's workers, as `deploy/celery` has them: one dies in a run, Redis too; no push is lost."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from musehub_pipeline_tests.cli.terminal import finish
from musehub_pipeline_tests.servers import debian

TRY = Path(__file__).parents[2] / "deploy/celery/try"
KEYS = {
    *("done", "lost", "twice", "put_back", "runs"),
    *("jobs_per_s", "runs_per_min", "cpu_s_per_job", "lone_push_p50_s"),
}


@pytest.mark.slow
def test_no_push_is_lost_where_a_worker_dies_and_redis_is_emptied() -> None:
    debian.program("redis-server")
    options = ["--workers", "2", "--pushes", "60", "--kill", "1", "--fault", "redis", "--json"]
    process = subprocess.Popen(
        [sys.executable, TRY, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    finished = finish(process)

    assert finished.code == 0, finished.err
    [line] = finished.out.splitlines()
    told = json.loads(line)
    assert told.keys() == KEYS
    assert (told["done"], told["lost"], told["twice"]) == (60, 0, 0)
    assert told["runs"].keys() == {"SUCCESS", "FAILURE"}
    assert "kills worker-" in finished.err
    assert "stops Redis" in finished.err
    folder = finished.err.partition("begins, in ")[2].partition("\n")[0]
    assert [each for each in psutil.process_iter() if place(each).startswith(folder)] == []
    assert not Path(folder).exists()


def place(process: psutil.Process) -> str:
    """Return the folder in which a process is: all that were started are in that of the trial."""
    try:
        return process.cwd()
    except psutil.Error:
        return ""
