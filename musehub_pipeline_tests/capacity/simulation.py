"""A hub under load, simulated: pushes come, runs claim them by the queue's rules, and cores work.

The events are SimPy's. A run claims the oldest pushes of repositories that no other run is at, up
to a batch, one run at a time; then its process and the database work for it, by the rates.
"""

import heapq
import random
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from musehub_pipeline.phases.report import percentile
from musehub_pipeline_tests.capacity.rates import Rates

_STEPS = 9
"""In which a run goes from its process to the database and back: its ops."""

_Events = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is pushed, and what works for it."""

    pushes_a_second: float  # 0: all of them come at once
    pushes: int
    repos: int = 10_000
    busiest_share: float = 0.01  # of the pushes, to one repository
    megabytes: float = 0.0  # an mpack
    workers: int
    worker_cores: int | None = None  # that all of them share; None: each has one
    database_cores: int | None  # None: those of the workers
    batch_jobs: int = 200
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a load. Times are in seconds; what is busy is a mean over the whole time."""

    seconds: float  # until all of it was done
    runs: int
    done_p50: float  # from a push to its end
    done_p95: float
    busy_workers: float
    busy_database_cores: float
    busy_claims: float  # the part of the time in which a run was claiming


def simulate(load: Load, rates: Rates) -> Outcome:
    """Return what comes of a load."""
    return _Simulation(load, rates).outcome()


@dataclass
class _Queue:
    """What waits, in order; a repository whose turn another run has is left out."""

    waiting: dict[int, deque[float]] = field(default_factory=dict)  # by repo: when it was pushed
    heads: list[tuple[float, int]] = field(default_factory=list)  # the first of each that is free
    held: set[int] = field(default_factory=set)

    def push(self, repo: int, moment: float) -> None:
        pushes = self.waiting.setdefault(repo, deque())
        pushes.append(moment)
        if len(pushes) == 1 and repo not in self.held:
            heapq.heappush(self.heads, (moment, repo))

    def claim(self, limit: int) -> list[tuple[int, float]]:
        claimed: list[tuple[int, float]] = []
        while self.heads and len(claimed) < limit:
            _, repo = heapq.heappop(self.heads)
            pushes = self.waiting[repo]
            claimed.append((repo, pushes.popleft()))
            if pushes:
                heapq.heappush(self.heads, (pushes[0], repo))
        taken = {repo for repo, _ in claimed}
        self.heads = [head for head in self.heads if head[1] not in taken]
        heapq.heapify(self.heads)
        self.held |= taken
        return claimed

    def release(self, claimed: list[tuple[int, float]]) -> None:
        for repo in {repo for repo, _ in claimed}:
            self.held.discard(repo)
            if pushes := self.waiting[repo]:
                heapq.heappush(self.heads, (pushes[0], repo))


class _Simulation:
    def __init__(self, load: Load, rates: Rates) -> None:
        self._load, self._rates = load, rates
        self._env = simpy.Environment()
        self._queue = _Queue()
        self._claims = simpy.Resource(self._env)
        # Each worker has a core, and what is not bounded has one for everybody.
        self._workers = simpy.Resource(self._env, load.worker_cores or load.workers)
        self._database = (
            self._workers
            if load.database_cores is None
            else simpy.Resource(self._env, load.database_cores)
        )
        self._idle: list[simpy.Event] = []
        self._left = load.pushes
        self._ended = self._env.event()
        self._done = list[float]()
        self._runs = 0
        self._busy = {"workers": 0.0, "database": 0.0, "claims": 0.0}

    def outcome(self) -> Outcome:
        self._env.process(self._push())
        for _ in range(self._load.workers):
            self._env.process(self._work())
        self._env.run(self._ended)
        seconds = self._env.now
        done = sorted(self._done)
        return Outcome(
            seconds=seconds,
            runs=self._runs,
            done_p50=percentile(done, 50),
            done_p95=percentile(done, 95),
            busy_workers=self._busy["workers"] / seconds,
            busy_database_cores=self._busy["database"] / seconds,
            busy_claims=self._busy["claims"] / seconds,
        )

    def _push(self) -> _Events:
        load, dice = self._load, random.Random(self._load.seed)
        for _ in range(load.pushes):
            if load.pushes_a_second:
                yield self._env.timeout(dice.expovariate(load.pushes_a_second))
            is_busiest = dice.random() < load.busiest_share
            self._queue.push(0 if is_busiest else dice.randrange(1, load.repos), self._env.now)
            self._wake()

    def _wake(self) -> None:
        """Have one more worker begin a run, where there is anything to do."""
        if self._idle and self._queue.heads:
            self._idle.pop().succeed()

    def _work(self) -> _Events:
        while True:
            if not self._queue.heads:
                self._idle.append(self._env.event())
                yield self._idle[-1]
            began = self._env.now
            with self._claims.request() as turn:
                yield turn
                claimed = self._queue.claim(self._load.batch_jobs)
                took = self._rates.claim.of(len(claimed), 0)
                self._busy["claims"] += took
                yield self._env.timeout(took)
            if claimed:
                yield from self._index(claimed)
                self._busy["workers"] += self._env.now - began

    def _index(self, claimed: list[tuple[int, float]]) -> _Events:
        self._runs += 1
        self._wake()  # for what this run had no room for
        size = len(claimed), self._load.megabytes * len(claimed)
        costs = self._rates.process, self._rates.database, self._rates.idle
        process, database, idle = (cost.of(*size) / _STEPS for cost in costs)
        self._busy["database"] += database * _STEPS
        for _ in range(_STEPS):
            yield from self._compute(self._workers, process)
            yield from self._compute(self._database, database)
            yield self._env.timeout(idle)
        self._queue.release(claimed)
        self._wake()
        self._done += [self._env.now - moment for _, moment in claimed]
        self._left -= len(claimed)
        if not self._left:
            self._ended.succeed()

    def _compute(self, cores: simpy.Resource, seconds: float) -> _Events:
        with cores.request() as core:
            yield core
            yield self._env.timeout(seconds)
