"""What a run costs, measured: its process, the database, and the time in which neither works."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

import dagster as dg
import psutil
import psycopg

from musehub_pipeline.cli.progress import shown_log
from musehub_pipeline.orchestration.in_process import Runner
from musehub_pipeline.phases.services import open_services
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.benchmarks.bench import Bench, checkpoint, push, upload
from musehub_pipeline_tests.benchmarks.figures import seconds
from musehub_pipeline_tests.benchmarks.mpacks import mixed
from musehub_pipeline_tests.hub import Hub

_BATCH = 200
_BATCHES = 4
_LONE_RUNS = 60
_LARGE_MEGABYTES = 50
_REPETITIONS = 3


class Costs(NamedTuple):
    """What a run takes by itself, for each push that it has, and for each megabyte of mpacks."""

    a_run: float
    a_push: float
    a_megabyte: float = 0.0

    def of(self, pushes: int, megabytes: float) -> float:
        """Return what a run with so much to do takes."""
        return self.a_run + self.a_push * pushes + self.a_megabyte * megabytes


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Seconds and bytes; a core is one of the machine on which they were measured."""

    claim: Costs  # seconds in which no other run can claim
    process: Costs  # seconds of a core, in the run's process
    database: Costs  # seconds of a core, in PostgreSQL: the hub's tables and Dagster's
    idle: Costs  # seconds in which neither works: it waits for the disk
    hub_bytes: Costs  # that the hub's database grows by
    dagster_bytes: float  # that Dagster's grows by, a run
    dagster_rows: float  # that Dagster keeps, a run

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return what `as_dict` has made of them."""
        read = {name: Costs(*v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**read)

    def as_dict(self) -> dict[str, Any]:
        """Return the rates for JSON."""
        return asdict(self)


class _Used(NamedTuple):
    """What was used: up to some moment, or by a run."""

    elapsed: float
    process: float
    database: float
    hub_bytes: float
    dagster_bytes: float
    dagster_rows: float


def measure(bench: Bench) -> Rates:
    """Measure runs of one tiny push, of a full batch of them, and of one large push."""
    lone, full, large = list[_Used](), list[_Used](), list[_Used]()
    with bench.dagster() as instance:
        _tiny(bench, instance, runs=3, pushes=1)  # loads what is loaded once
        for _ in range(_REPETITIONS):
            lone.append(_tiny(bench, instance, runs=bench.some(_LONE_RUNS), pushes=1))
            full.append(_tiny(bench, instance, runs=_BATCHES, pushes=_BATCH))
            large.append(_large(bench, instance))

    def costs(name: str) -> Costs:
        one, many, heavy = (
            median(getattr(used, name) for used in kind) for kind in (lone, full, large)
        )
        a_push = (many - one) / (_BATCH - 1)
        return Costs(one - a_push, a_push, max(0.0, heavy - one) / _LARGE_MEGABYTES)

    elapsed, process, database = costs("elapsed"), costs("process"), costs("database")
    busy = zip(elapsed, process, database, strict=True)
    return Rates(
        claim=_claim(bench),
        process=process,
        database=database,
        idle=Costs(*(max(0.0, clock - ours - its) for clock, ours, its in busy)),
        hub_bytes=costs("hub_bytes"),
        dagster_bytes=median(used.dagster_bytes for used in lone),
        dagster_rows=median(used.dagster_rows for used in lone),
    )


def _tiny(bench: Bench, instance: dg.DagsterInstance, *, runs: int, pushes: int) -> _Used:
    with bench.database() as database_url:
        hub = Hub(bench.settings(database_url).model_copy(update={"batch_jobs": pushes}))
        push_many(hub, repos=runs * pushes, each=1)
        return _used(hub, instance, runs)


def _large(bench: Bench, instance: dg.DagsterInstance) -> _Used:
    mpack = bench.mpack(mixed(_LARGE_MEGABYTES))
    with bench.database() as database_url:
        hub = Hub(bench.settings(database_url))
        upload(hub.settings, None, mpack)
        push(database_url, mpack)
        return _used(hub, instance, runs=1)


def _used(hub: Hub, instance: dg.DagsterInstance, runs: int) -> _Used:
    """Drain what was pushed, in so many runs; return what each used."""
    database_url = str(hub.settings.database_url)
    checkpoint(database_url)
    runner = Runner(hub.settings, instance)
    with _as_a_worker():
        before = _look(database_url)
        for _ in range(runs):
            assert runner.run()
        after = _look(database_url)
    assert hub.sql("SELECT DISTINCT status FROM musehub_background_jobs") == [{"status": "done"}]
    return _Used(*((late - early) / runs for late, early in zip(after, before, strict=True)))


@contextmanager
def _as_a_worker() -> Iterator[None]:
    """Say of each job what a worker says, to nobody."""
    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stderr(nowhere),
        shown_log(on_phase=lambda _: None),
    ):
        yield


def _look(database_url: str) -> _Used:
    with psycopg.connect(database_url) as connection:
        # Dagster's database lies beside another one of the benchmarks', and is the only such.
        [[dagster]] = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE '%\\_dagster'"
        )
        [[hub_bytes, dagster_bytes]] = connection.execute(
            "SELECT pg_database_size(current_database()), pg_database_size(%s)", [dagster]
        )
        server = psutil.Process(connection.info.backend_pid).parent()
        assert server is not None
        ended = server.cpu_times()
        database = ended.children_user + ended.children_system
        for backend in server.children():
            database += sum(backend.cpu_times()[:2])
    with psycopg.connect(database_url, dbname=dagster) as connection:
        tables = connection.execute(
            "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
        )
        counts = " + ".join(f"(SELECT count(*) FROM {table})" for (table,) in tables)
        [[rows]] = connection.execute(f"SELECT {counts}")  # pyright: ignore[reportArgumentType]
    process = sum(psutil.Process().cpu_times()[:2])
    return _Used(time.perf_counter(), process, database, hub_bytes, dagster_bytes, rows)


def _claim(bench: Bench) -> Costs:
    """Measure claims beside a queue that is as long as a busy hub's."""
    with bench.database() as database_url, open_services(bench.settings(database_url)) as services:
        hub = Hub(bench.settings(database_url))
        push_many(hub, repos=bench.some(2_000), each=1)
        hub.sql("ANALYZE")

        def claim(number: int, limit: int) -> float:
            return seconds(
                lambda: services.queue.claim(run_id=f"run-{number}-{limit}", limit=limit)
            )

        one = median(claim(number, 1) for number in range(20))
        many = median(claim(number, _BATCH) for number in range(5))
    a_push = (many - one) / (_BATCH - 1)
    return Costs(one - a_push, a_push)
