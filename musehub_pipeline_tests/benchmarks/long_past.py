"""Years of pushes, indexed again by the command: killed half-way, gone on with, and looked at."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import psycopg
from sqlalchemy import make_url

from musehub_pipeline import local
from musehub_pipeline.phases.services import Services, open_services
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.benchmarks.bench import Bench, checkpoint
from musehub_pipeline_tests.benchmarks.figures import Figure, Pair, amount, interleave, seconds
from musehub_pipeline_tests.benchmarks.past import days_of, fill, outdated, selection_of
from musehub_pipeline_tests.cli.terminal import PROGRAM
from musehub_pipeline_tests.hub import Hub

_JOBS = 100_000
_DAYS = 400
_LEASE_SECONDS = 5
_PLAN_SECONDS = 10
_RUNS_A_TEN_THOUSAND = 60
_POLL_SECONDS = 0.1


def long_past(bench: Bench) -> Iterator[Figure]:
    """Plan all of it; index it again, every job once, in few runs, through a kill half-way."""
    jobs, days = bench.some(_JOBS), days_of(bench.some(_DAYS))
    with bench.database() as database_url:
        hub = Hub(bench.settings(database_url))
        fill(hub, jobs=jobs, days=days)
        count_publications(hub)
        checkpoint(database_url)
        with open_services(hub.settings) as services:
            pairs = interleave(
                lambda: seconds(lambda: _plan(services, days, jobs)),
                lambda: seconds(lambda: outdated(hub)),
                runs=bench.runs,
            )
        what = f"{jobs:,} jobs of {len(days)} days; beside a count of them"
        yield amount("backfill_plan", what, pairs, unit="s", limit=_PLAN_SECONDS)
        yield _index_again(hub, days, jobs)


def _plan(services: Services, days: Sequence[date], jobs: int) -> None:
    """Plan as `backfill plan` does, and as the runs of all days do."""
    assert sum(day["jobs"] for day in services.archive.days(selection_of(days))) == jobs
    assert sum(len(services.archive.plan(selection_of([day]))) for day in days) == jobs


def _index_again(hub: Hub, days: Sequence[date], jobs: int) -> Figure:
    half = seconds(lambda: _killed_half_way(hub, days, jobs))
    done, leased = jobs - outdated(hub), _leased(hub)
    assert 0 < done < jobs
    assert leased
    time.sleep(_LEASE_SECONDS)  # what the dead run had leased is free then
    rest = seconds(lambda: _whole(hub, days))
    assert outdated(hub) == 0
    assert publications(hub) == _job_ids(hub)
    looked = seconds(lambda: _clean(hub))
    runs = _runs(hub)
    again = _run(hub, *_command(days))
    assert (again["planned"], again["indexed"], _runs(hub)) == (0, 0, runs)
    return amount(
        "backfill_runs",
        f"for 10,000 of {jobs:,} jobs of {len(days)} days",
        [Pair(runs * 10_000 / jobs, 0)],
        unit="runs",
        limit=_RUNS_A_TEN_THOUSAND,
        note=(
            f"killed when {done:,} jobs were indexed and {leased} leased, after {half:.0f} s;"
            f" the other {jobs - done:,} in {rest:.0f} s; each was published once; fsck found"
            f" nothing in {looked:.0f} s; run again, there was nothing to do"
        ),
    )


def _killed_half_way(hub: Hub, days: Sequence[date], jobs: int) -> None:
    process = subprocess.Popen(
        [PROGRAM, *_command(days)], env=_environment(hub), stdout=subprocess.DEVNULL
    )
    try:
        while outdated(hub) > jobs // 2 or not _leased(hub):
            assert process.poll() is None
            time.sleep(_POLL_SECONDS)
    finally:
        process.kill()
        process.wait()


def _leased(hub: Hub) -> int:
    leases = "SELECT count(*) FROM musehub_background_jobs WHERE lease_expires_at > now()"
    [row] = hub.sql(leases)
    return row["count"]


def _whole(hub: Hub, days: Sequence[date]) -> None:
    report = _run(hub, *_command(days))
    assert (report["failed"], report["kept"]) == ({}, {})


def _clean(hub: Hub) -> None:
    assert _run(hub, "fsck", "--json")["breaches"] == []


def _command(days: Sequence[date]) -> list[str]:
    bounds = ["--from", days[0].isoformat(), "--to", days[-1].isoformat()]
    return ["backfill", "run", *bounds, "--json"]


def _run(hub: Hub, *arguments: str) -> dict[str, Any]:
    command = [PROGRAM, *arguments]
    done = subprocess.run(command, env=_environment(hub), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def _environment(hub: Hub) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    lease = {"MUSEHUB_LEASE_SECONDS": str(_LEASE_SECONDS)}
    return inherited | local.environment(hub.settings) | lease


def _job_ids(hub: Hub) -> list[str]:
    rows = hub.sql("SELECT job_id FROM musehub_background_jobs ORDER BY job_id")
    return [row["job_id"] for row in rows]


def _runs(hub: Hub) -> int:
    url = make_url(str(hub.settings.database_url))
    beside = url.set(drivername="postgresql", database=f"{url.database}_dagster")
    with psycopg.connect(beside.render_as_string(hide_password=False)) as connection:
        [[runs]] = connection.execute("SELECT count(*) FROM runs")
    return runs
