"""What a hub of some size needs: ``python -m musehub_pipeline_tests.capacity``.

Measures here what runs cost, in three minutes or so; checks the simulation against a drain by two
processes; then simulates hubs of some sizes, each with the fewest workers that keep up.
"""

import json
import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from musehub_pipeline import local
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.benchmarks.bench import Bench
from musehub_pipeline_tests.capacity.rates import Rates, measure
from musehub_pipeline_tests.capacity.simulation import Load, Outcome, simulate
from musehub_pipeline_tests.cli.terminal import PROGRAM
from musehub_pipeline_tests.hub import Hub

_DAY = 86_400
_DRAINED = 4_000
_MOST_WORKERS = 4_096


def main(
    per_second: Annotated[
        list[float] | None, typer.Option(help="Pushes a second; may be given again.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Simulated, of each load.")] = 60,
    megabytes: Annotated[float, typer.Option(min=0, help="Of an mpack.")] = 0.05,
    repos: Annotated[int, typer.Option(min=2, help="That are pushed to.")] = 10_000,
    busiest: Annotated[
        float, typer.Option(min=0, max=1, help="The part of the pushes that one repository has.")
    ] = 0.01,
    within: Annotated[
        float, typer.Option(min=0.5, help="Seconds after which 95 % have to be done.")
    ] = 2,
    rates_file: Annotated[
        Path | None,
        typer.Option("--rates", help="Use what --json printed before, and measure nothing."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say what hubs of some sizes need."""
    progress = Console(stderr=True)
    if rates_file is None:
        with (
            tempfile.TemporaryDirectory(prefix="capacity-") as place,
            Bench(Path(place), runs=1, quick=False) as bench,
        ):
            progress.print("measuring runs")
            rates = measure(bench)
            progress.print("draining a queue with two processes")
            checked = _check(bench, rates)
    else:
        known = json.loads(rates_file.read_text())
        rates, checked = Rates.from_dict(known["rates"]), known["check"]
    loads: list[dict[str, Any]] = []
    for rate in per_second or (10, 100, 1_000):
        progress.print(f"simulating {rate:g} pushes a second")
        load = Load(
            pushes_a_second=rate,
            pushes=round(rate * seconds),
            repos=repos,
            busiest_share=busiest,
            megabytes=megabytes,
            workers=1,
            database_cores=_MOST_WORKERS,
        )
        loads.append(_fewest(load, rates, within))
    if as_json:
        print(json.dumps({"rates": rates.as_dict(), "check": checked, "loads": loads}, indent=2))
        return
    console = Console()
    console.print(_table_of_rates(rates))
    console.print(_check_line(checked), soft_wrap=True)
    console.print(_table_of_loads(loads, within))


def _check(bench: Bench, rates: Rates) -> dict[str, float]:
    """Drain a queue with two processes, on the cores of this machine; and in the simulation."""
    with bench.dagster(), bench.database() as database_url:
        hub = Hub(bench.settings(database_url))
        push_many(hub, repos=_DRAINED, each=1)
        command = [PROGRAM, "index", "--workers", "2", "--json"]
        environment = os.environ | local.environment(hub.settings)
        subprocess.run(command, env=environment, capture_output=True, check=True)
        [row] = hub.sql(
            "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float AS seconds"
            " FROM musehub_background_jobs WHERE status = 'done'"
        )
    load = Load(
        pushes_a_second=0,
        pushes=_DRAINED,
        repos=_DRAINED,
        busiest_share=0,
        workers=2,
        worker_cores=os.cpu_count(),
        database_cores=None,
    )
    simulated = simulate(load, rates).seconds
    return {"measured_per_s": _DRAINED / row["seconds"], "simulated_per_s": _DRAINED / simulated}


def _fewest(load: Load, rates: Rates, within: float) -> dict[str, Any]:
    """Simulate a load with the fewest workers that keep up, or with the most that there may be."""

    def outcome(workers: int) -> Outcome:
        return simulate(replace(load, workers=workers), rates)

    too_few, enough = 0, 1
    while (found := outcome(enough)).done_p95 > within and enough < _MOST_WORKERS:
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        half = (too_few + enough) // 2
        if (fewer := outcome(half)).done_p95 <= within:
            enough, found = half, fewer
        else:
            too_few = half
    megabytes = load.megabytes * load.pushes
    runs_a_day = found.runs / found.seconds * _DAY
    return {
        "pushes_a_second": load.pushes_a_second,
        "keeps_up": found.done_p95 <= within,
        "workers": enough,
        "busy_workers": found.busy_workers,
        "busy_database_cores": found.busy_database_cores,
        "busy_claims": found.busy_claims,
        "pushes_a_run": load.pushes / found.runs,
        "done_p50": found.done_p50,
        "done_p95": found.done_p95,
        "dagster_rows_a_day": rates.dagster_rows * runs_a_day,
        "dagster_bytes_a_day": rates.dagster_bytes * runs_a_day,
        "hub_bytes_a_day": _DAY
        / found.seconds
        * (rates.hub_bytes.a_push * load.pushes + rates.hub_bytes.a_megabyte * megabytes),
    }


def _table_of_rates(rates: Rates) -> Table:
    table = Table(title="What a run takes, in milliseconds, measured here")
    table.add_column("")
    for heading in ("a run", "a push", "a megabyte"):
        table.add_column(heading, justify="right")
    for name, costs in (
        ("its process, of a core", rates.process),
        ("the database, of a core", rates.database),
        ("neither: the disk", rates.idle),
        ("claiming, one at a time", rates.claim),
    ):
        table.add_row(name, *(f"{1e3 * cost:.2f}" for cost in costs))
    return table


def _check_line(checked: dict[str, float]) -> str:
    measured, simulated = checked["measured_per_s"], checked["simulated_per_s"]
    return (
        f"Tiny pushes a second, by two processes on {os.cpu_count()} cores with the database:"
        f" {measured:.0f} measured, {simulated:.0f} simulated"
    )


def _table_of_loads(loads: list[dict[str, Any]], within: float) -> Table:
    table = Table(title=f"With the fewest workers that have 95 % done within {within:g} s")
    table.add_column("pushes a second")
    for load in loads:
        table.add_column(f"{load['pushes_a_second']:g}", justify="right")
    for name, shown in (
        ("workers", lambda load: f"{load['workers']}{'' if load['keeps_up'] else ': too few'}"),
        ("of their time at work", lambda load: f"{load['busy_workers'] / load['workers']:.0%}"),
        ("of the time, some run claims", lambda load: f"{load['busy_claims']:.0%}"),
        ("cores of the database", lambda load: f"{load['busy_database_cores']:.1f}"),
        ("pushes in a run", lambda load: f"{load['pushes_a_run']:.1f}"),
        ("done after, p50", lambda load: f"{load['done_p50']:.2f} s"),
        ("done after, p95", lambda load: f"{load['done_p95']:.2f} s"),
        (
            "rows a day in Dagster's tables",
            lambda load: f"{load['dagster_rows_a_day'] / 1e6:.0f} M",
        ),
        ("bytes a day in Dagster's tables", lambda load: gigabytes(load["dagster_bytes_a_day"])),
        ("bytes a day in the hub's tables", lambda load: gigabytes(load["hub_bytes_a_day"])),
    ):
        table.add_row(name, *map(shown, loads))
    return table


def gigabytes(number: float) -> str:
    """Return bytes as people read them."""
    return f"{number / 1e9:,.0f} GB"


if __name__ == "__main__":
    typer.run(main)
