"""A push into an empty queue under `musehub-pipeline dev`: how long its pusher waits."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple
from unittest.mock import patch

import psycopg

from musehub_pipeline.domain.job import Status
from musehub_pipeline.phases.services import open_queue
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.acceptance.pushes import insert, uploaded
from musehub_pipeline_tests.benchmarks.bench import Bench
from musehub_pipeline_tests.benchmarks.figures import Figure, Pair, amount, seconds
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub

_PUSHES = 20
_FEWEST = 5
_LONGEST_PAUSE_SECONDS = 8
_PATIENCE_SECONDS = 180
_DETECTION_SECONDS = 1
_DONE_SECONDS_AT_MOST = {50: 0.5, 95: 0.8}
_AIMED = 200
_AIMED_SECONDS = 1.5
_LOOP_SECONDS = 26  # an idle tick waits for twenty, and Dagster sleeps for five
_STEADY_REPOS = 50
_STEADY_EACH = 24
_STEADY_A_SECOND = 10
_STEADY_SECONDS = 2


class Seen(NamedTuple):
    """What became of a push, in seconds since the insert of its row."""

    heard: float  # by a bare LISTEN
    requested: float  # a run
    done: float
    work: float  # from the claim to the end: what of that the pipeline itself took


def lone_push(bench: Bench) -> Iterator[Figure]:
    """Compare with a bare LISTEN, and with the work itself."""
    pushes = max(bench.some(_PUSHES), _FEWEST)
    pause = random.Random(pushes)
    with running_dev(bench) as dev:
        push_alone(dev, "warm-up")
        seen: list[Seen] = []
        for number in range(pushes):
            time.sleep(pause.uniform(0, _LONGEST_PAUSE_SECONDS))
            seen.append(push_alone(dev, f"song-{number}"))
    detected = [Pair(push.requested, push.heard) for push in seen]
    done = [Pair(push.done, push.work) for push in seen]
    for percent, limit in ((50, _DETECTION_SECONDS), (95, None)):
        yield amount(
            f"lone_push_detected_p{percent}",
            f"{pushes} pushes, from the insert to the request of a run, beside a bare LISTEN",
            detected,
            unit="s",
            limit=limit,
            percent=percent,
        )
    for percent, limit in _DONE_SECONDS_AT_MOST.items():
        yield amount(
            f"lone_push_done_p{percent}",
            f"{pushes} pushes, from the insert to done, beside the work itself",
            done,
            unit="s",
            limit=limit,
            percent=percent,
        )


def aimed_pushes(bench: Bench) -> Iterator[Figure]:
    """Push at every moment of the sensor's loop, from the end of the push before."""
    pushes = bench.some(_AIMED)
    pauses = [_LOOP_SECONDS * (number + 0.5) / pushes for number in range(pushes)]
    random.Random(pushes).shuffle(pauses)
    with running_dev(bench) as dev:
        push_alone(dev, "warm-up")
        seen = list[Seen]()
        for number, pause in enumerate(pauses):
            time.sleep(pause)
            seen.append(push_alone(dev, f"song-{number}"))
    yield amount(
        "aimed_push_slowest",
        f"of {pushes} pushes, each at another moment of the loop, beside the work itself",
        [Pair(push.done, push.work) for push in seen],
        unit="s",
        limit=_AIMED_SECONDS,
        percent=100,
    )


def steady_pushes(bench: Bench) -> Iterator[Figure]:
    """Push ten times a second for two minutes, and look whether the queue grows."""
    repos, each = bench.some(_STEADY_REPOS), _STEADY_EACH
    with running_dev(bench) as dev:
        pushes = uploaded(dev.hub, repos=repos, each=each)
        push_alone(dev, "warm-up")
        with psycopg.connect(str(dev.hub.settings.database_url), autocommit=True) as connection:
            started = time.monotonic()
            for number, push in enumerate(pushes):
                time.sleep(max(0.0, started + number / _STEADY_A_SECOND - time.monotonic()))
                insert(connection, push)
        dev.wait(lambda: not unfinished(dev.hub), seconds=_PATIENCE_SECONDS)
        pairs = waits(dev.hub)
    what = f"{len(pushes):,} pushes to {repos} repositories, {_STEADY_A_SECOND} a second"
    for name, some in (("", pairs[1:]), ("_last", pairs[-5 * _STEADY_A_SECOND :])):
        yield amount(
            f"steady_push{name}_p95",
            f"{what}{', of the last five seconds' if name else ''}; beside the work itself",
            some,
            unit="s",
            limit=_STEADY_SECONDS,
            percent=95,
        )


def waits(hub: Hub) -> list[Pair[float]]:
    """Return the seconds from the insert to done of all pushes, beside those of the work itself."""
    rows = hub.sql(
        "SELECT extract(epoch FROM finished_at - created_at)::float AS done,"
        " (result ->> 'elapsed_ms')::float / 1000 AS work"
        " FROM musehub_background_jobs ORDER BY created_at"
    )
    return [Pair(row["done"], row["work"]) for row in rows]


def unfinished(hub: Hub) -> int:
    """Return how many pushes are not done."""
    [row] = hub.sql("SELECT count(*) FROM musehub_background_jobs WHERE status <> 'done'")
    return row["count"]


@contextmanager
def running_dev(bench: Bench, *, prepare: Callable[[Hub], None] | None = None) -> Iterator[Dev]:
    """Run the UI, the daemon and the code server with a new hub, once it is prepared."""
    with bench.database() as database_url, patch.dict(os.environ):
        os.environ.pop("DAGSTER_HOME", None)
        dev = Dev(Hub(bench.settings(database_url)), bench.new_folder("dev"))
        if prepare is not None:
            prepare(dev.hub)
        try:
            dev.start()
            yield dev
            dev.stop()
        finally:
            dev.end()


def push_alone(dev: Dev, slug: str) -> Seen:
    """Push to a new repository, and wait until that is done."""
    hub = dev.hub
    repo_id = hub.create_repo(slug)
    history = small_history()
    mpack, head = history.mpack(), list(history.commits)[-1]
    jobs: list[str] = []
    with (
        Database(str(hub.settings.database_url)) as database,
        open_queue(database, hub.settings).notices() as wait,
    ):

        def push_and_hear() -> None:
            jobs.append(hub.push(repo_id, mpack, head=head))
            assert wait(_PATIENCE_SECONDS)

        heard = seconds(push_and_hear)
    dev.wait(lambda: hub.job(jobs[0])["status"] == Status.DONE, seconds=_PATIENCE_SECONDS)
    row = hub.job(jobs[0])
    [run] = [run for run in dev.runs() if run["run_id"] == row["run_id"]]
    inserted: datetime = row["created_at"]
    return Seen(
        heard=heard,
        requested=(run["requested_at"] - inserted).total_seconds(),
        done=(row["finished_at"] - inserted).total_seconds(),
        work=row["result"]["elapsed_ms"] / 1e3,
    )
