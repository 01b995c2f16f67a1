"""A day's pushes to one `index --watch`: whether the worker grows, and how long a push waits."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import psycopg

from musehub_pipeline import local
from musehub_pipeline.postgres.arrays import chunked
from musehub_pipeline_tests.acceptance.pushes import insert, uploaded
from musehub_pipeline_tests.benchmarks.bench import Bench
from musehub_pipeline_tests.benchmarks.figures import Figure, Pair, amount, excess
from musehub_pipeline_tests.benchmarks.lone_push import unfinished, waits
from musehub_pipeline_tests.cli.terminal import PROGRAM
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.waiting import wait_for

_REPOS = 500
_EACH = 20
_AT_ONCE = 10
_WARM = 10  # of so many parts, the first
_ALONE = 100
_IDLE_SECONDS = 20
_DONE_SECONDS_AT_MOST = {50: 0.25, 95: None}
_GROWTH_MIB = 16
_IDLE_CORES = 0.01


def watch(bench: Bench) -> Iterator[Figure]:
    """Push ten at once, a day's worth, and then a hundred times one."""
    with bench.database() as database_url:
        hub = Hub(bench.settings(database_url))
        pushes = uploaded(hub, repos=bench.some(_REPOS), each=_EACH)
        together, alone = pushes[:-_ALONE], pushes[-_ALONE:]
        sizes: list[float] = []
        with worker(hub) as process, psycopg.connect(database_url) as connection:
            for number, some in enumerate(chunked(together, _AT_ONCE)):
                if number * _AT_ONCE >= len(together) // _WARM and not sizes:
                    sizes.append(rss_mib(process))
                for push in some:
                    insert(connection, push)
                connection.commit()
                wait_for(lambda: not unfinished(hub))
            sizes.append(rss_mib(process))
            for push in alone:
                insert(connection, push)
                connection.commit()
                wait_for(lambda: not unfinished(hub))
            busy = cpu_seconds(process)
            time.sleep(_IDLE_SECONDS)
            idle = (cpu_seconds(process) - busy) / _IDLE_SECONDS
        done = waits(hub)[-_ALONE:]
    for percent, limit in _DONE_SECONDS_AT_MOST.items():
        yield amount(
            f"watch_done_p{percent}",
            f"{_ALONE} pushes one at a time, from the insert to done; beside the work itself",
            done,
            unit="s",
            limit=limit,
            percent=percent,
        )
    yield excess(
        "watch_growth",
        f"{len(together):,} pushes, {_AT_ONCE} at once; RSS over that after a tenth of them",
        [Pair(sizes[1], sizes[0])],
        unit="MiB",
        limit=_GROWTH_MIB,
    )
    yield amount(
        "watch_idle",
        "cores that the worker takes when nothing comes, of one",
        [Pair(idle, 1.0)],
        unit="cores",
        limit=_IDLE_CORES,
    )


@contextmanager
def worker(hub: Hub) -> Iterator[psutil.Process]:
    """Run a worker until the end of the block, in which it has to live."""
    inherited = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    process = subprocess.Popen(
        [PROGRAM, "index", "--watch"],
        env=inherited | local.environment(hub.settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(process: psutil.Process) -> float:
    """Return what a process has taken of a core."""
    return sum(process.cpu_times()[:2])


def rss_mib(process: psutil.Process) -> float:
    """Return what a process takes in memory."""
    return process.memory_info().rss / 2**20
