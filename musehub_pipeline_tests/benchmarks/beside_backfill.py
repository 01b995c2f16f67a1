"""A long partition under `musehub-pipeline dev`: what it holds at a time, and who waits for it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import psutil

from musehub_pipeline.phases.report import percentile
from musehub_pipeline_tests.acceptance.backfills import Backfills
from musehub_pipeline_tests.acceptance.dev import RUN, Dev
from musehub_pipeline_tests.benchmarks.bench import Bench
from musehub_pipeline_tests.benchmarks.figures import MIB, Figure, Pair, excess, growth
from musehub_pipeline_tests.benchmarks.lone_push import push_alone, running_dev
from musehub_pipeline_tests.benchmarks.past import days_of, fill, outdated

_JOBS = 5_000
_SETTLED_JOBS = 500
_PUSHES = 20
_FEWEST = 5
_PAUSE_SECONDS = 1
_SAMPLE_SECONDS = 0.2
_START_SECONDS = 180
_END_SECONDS = 1_200
_MEMORY_MIB = 64
_SCRATCH_MIB = 1  # all mpacks together have three
_SLOWER = 2


class Sample(NamedTuple):
    """What a backfill held at a moment, in MiB."""

    indexed: int
    memory: float
    scratch: float


def beside_backfill(bench: Bench) -> Iterator[Figure]:
    """Compare lone pushes with those before, and what is held with what the first jobs needed."""
    days = days_of(1)
    pushes = max(bench.some(_PUSHES), _FEWEST)
    with running_dev(bench, prepare=partial(fill, jobs=_JOBS, days=days)) as dev:
        push_alone(dev, "warm-up")
        idle = [_wait(dev, f"idle-{number}") for number in range(pushes)]
        backfills = Backfills(dev)
        launched = backfills.launch(days)
        dev.wait(lambda: outdated(dev.hub) < _JOBS, seconds=_START_SECONDS)
        with _sampling(dev) as samples:
            busy: list[float] = []
            while len(busy) < pushes and outdated(dev.hub):
                busy.append(_wait(dev, f"busy-{len(busy)}"))
            status, _ = backfills.finish(launched, seconds=_END_SECONDS)
        assert (status, outdated(dev.hub)) == ("COMPLETED_SUCCESS", 0)
    if len(busy) < _FEWEST:
        raise RuntimeError(
            f"the backfill of {_JOBS:,} jobs was over after {len(busy)} pushes, and their p95 needs"
            f" {_FEWEST}: give it more jobs"
        )
    yield growth(
        "beside_backfill_p95",
        f"a lone push until it is done, beside a backfill of {_JOBS:,} jobs; against idle",
        [Pair(_p95(busy), _p95(idle))],
        limit=_SLOWER,
        note=f"p95 of {len(busy)} pushes, and of {len(idle)}",
    )
    first = [sample for sample in samples if sample.indexed <= _SETTLED_JOBS]
    rest = [sample for sample in samples if sample.indexed > _SETTLED_JOBS]
    for name, limit in (("memory", _MEMORY_MIB), ("scratch", _SCRATCH_MIB)):
        most, settled = (max(getattr(sample, name) for sample in some) for some in (rest, first))
        yield excess(
            f"backfill_{name}",
            f"the most of {_JOBS:,} jobs, over the first {_SETTLED_JOBS}",
            [Pair(most, settled)],
            unit="MiB",
            limit=limit,
            note=f"{len(samples)} samples",
        )


def _wait(dev: Dev, slug: str) -> float:
    time.sleep(_PAUSE_SECONDS)
    return push_alone(dev, slug).done


def _p95(times: list[float]) -> float:
    return percentile(sorted(times), 95)


@contextmanager
def _sampling(dev: Dev) -> Iterator[list[Sample]]:
    """Look again and again, in a thread, at the run that is the largest."""
    samples: list[Sample] = []
    scratch = Path(dev.environment["MUSEHUB_HOME"]) / "scratch"
    stopped = Event()

    def look() -> None:
        while not stopped.wait(_SAMPLE_SECONDS):
            indexed = _JOBS - outdated(dev.hub)
            memory = max(map(_rss, dev.processes(RUN)), default=0)
            samples.append(Sample(indexed, memory / MIB, _size(scratch) / MIB))

    thread = Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        stopped.set()
        thread.join()


def _rss(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return process.memory_info().rss
    return 0


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # whoever made it has removed it meanwhile
            size += path.stat().st_size
    return size
