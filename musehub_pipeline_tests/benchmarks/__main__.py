"""Run the benchmarks: ``python -m musehub_pipeline_tests.benchmarks [NAME...]``.

Every limit is a ratio to something bare that is measured in the same run: a machine that is slow or
busy slows both. A few are times or rates that were promised, and stand beside something bare for
comparison. The exit code is 1 where a limit is missed.
"""

import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from musehub_pipeline_tests.benchmarks.backfill import backfill
from musehub_pipeline_tests.benchmarks.bench import Bench
from musehub_pipeline_tests.benchmarks.beside_backfill import beside_backfill
from musehub_pipeline_tests.benchmarks.dagster_run import dagster_run
from musehub_pipeline_tests.benchmarks.database import database
from musehub_pipeline_tests.benchmarks.deep import deep
from musehub_pipeline_tests.benchmarks.drain import index_throughput, overhead
from musehub_pipeline_tests.benchmarks.fetch import fetch
from musehub_pipeline_tests.benchmarks.figures import Figure
from musehub_pipeline_tests.benchmarks.hostile_memory import hostile_memory
from musehub_pipeline_tests.benchmarks.ingest import phases, ten_times
from musehub_pipeline_tests.benchmarks.lone_push import aimed_pushes, lone_push, steady_pushes
from musehub_pipeline_tests.benchmarks.long_past import long_past
from musehub_pipeline_tests.benchmarks.memory import memory
from musehub_pipeline_tests.benchmarks.ninety_days import ninety_days
from musehub_pipeline_tests.benchmarks.puts import put_objects_directory, put_objects_s3
from musehub_pipeline_tests.benchmarks.queue import queue
from musehub_pipeline_tests.benchmarks.real_shapes import real_shapes
from musehub_pipeline_tests.benchmarks.tenant_probe import tenant_probe
from musehub_pipeline_tests.benchmarks.unpack import unpack
from musehub_pipeline_tests.benchmarks.watch import watch

BENCHMARKS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "puts-directory": put_objects_directory,
    "puts-s3": put_objects_s3,
    "fetch": fetch,
    "unpack": unpack,
    "deep": deep,
    "database": database,
    "phases": phases,
    "real-shapes": real_shapes,
    "dagster": dagster_run,
    "queue": queue,
    "index-throughput": index_throughput,
    "overhead": overhead,
    "lone-push": lone_push,
    "aimed-pushes": aimed_pushes,
    "steady-pushes": steady_pushes,
    "watch": watch,
    "backfill": backfill,
    "beside-backfill": beside_backfill,
    "long-past": long_past,
    "ninety-days": ninety_days,
    "tenant-probe": tenant_probe,
    "ten-times": ten_times,
    "memory": memory,
    "hostile-memory": hostile_memory,
}


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(BENCHMARKS)}; default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as JSON.")] = False,
    runs: Annotated[int, typer.Option(min=1, help="Measured runs of each side.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the sizes.")] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Where 6 GB may lie meanwhile.", file_okay=False)
    ] = None,
) -> None:
    """Measure the pipeline against bare limits."""
    chosen = names or list(BENCHMARKS)
    if unknown := set(chosen) - set(BENCHMARKS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: not of {', '.join(BENCHMARKS)}")
    progress = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-", dir=folder) as place,
        Bench(Path(place), runs=runs, quick=quick) as bench,
    ):
        figures, broken = measure(bench, chosen, progress)
    if as_json:
        print(json.dumps([figure.as_dict() for figure in figures], indent=2))
    else:
        Console().print(table(figures))
        for figure in figures:
            if figure.note:
                note = f"{figure.name}: {figure.note}"
                Console().print(note, highlight=False, markup=False, soft_wrap=True)
    if broken:
        progress.print(f"did not end: {', '.join(broken)}")
    if broken or not all(figure.ok for figure in figures):
        sys.exit(1)


def measure(bench: Bench, names: list[str], progress: Console) -> tuple[list[Figure], list[str]]:
    """Run benchmarks; return what they found, and the names of those that did not end."""
    figures: list[Figure] = []
    broken: list[str] = []
    for name in names:
        try:
            for figure in BENCHMARKS[name](bench):
                progress.print(f"{figure.name}: {shown(figure)}", highlight=False)
                figures.append(figure)
        except Exception:  # what the others measured is worth keeping
            traceback.print_exc()
            broken.append(name)
    return figures, broken


def table(figures: list[Figure]) -> Table:
    """Return the figures as a table that fits 80 columns."""
    grid = Table("benchmark", title="Against bare limits of the same run", show_lines=True)
    for heading in ("measured", "bare", "ratio", "limit", ""):
        grid.add_column(heading, justify="right", no_wrap=True)
    for figure in figures:
        verdict = "" if figure.limit is None else "[green]ok" if figure.ok else "[red]MISSED"
        grid.add_row(
            f"{figure.name}\n[dim]{figure.what}",
            f"{short(figure.measured)} {figure.unit}",
            f"{short(figure.bare)} {figure.unit}",
            shown(figure),
            figure.limit_text,
            verdict,
        )
    return grid


def shown(figure: Figure) -> str:
    """Return what the limit bounds, as people read it."""
    if figure.shows == "excess":
        return f"+{short(figure.ratio)} {figure.unit}"
    if figure.shows == "amount":
        return f"{short(figure.ratio)} {figure.unit}"
    return f"{short(figure.ratio)} x"


def short(number: float) -> str:
    """Return a number with three digits, more where it is larger."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:#.3g}"


if __name__ == "__main__":
    typer.run(main)
