"""Mpacks of the shapes that real clients push: the whole job, beside ingests that check nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import psycopg

from musehub_pipeline.phases.services import open_services
from musehub_pipeline_tests.benchmarks import bare_ingest
from musehub_pipeline_tests.benchmarks.bench import (
    REPO_ID,
    Bench,
    checkpoint,
    index,
    push,
    upload,
)
from musehub_pipeline_tests.benchmarks.figures import (
    Figure,
    growth,
    interleave,
    seconds,
    speed,
)
from musehub_pipeline_tests.benchmarks.ingest import timings_of
from musehub_pipeline_tests.benchmarks.mpacks import BRANCH, Mpack, Shape


class _Case(NamedTuple):
    shape: Shape
    floor: float | None = None  # at most so many times what the ingest in bulk takes
    rows: float | None = None  # at least so many times as fast as the one row by row


_CASES = {
    "tiny": _Case(Shape(objects=3, commits=1, snapshots=1, paths=3, most_bytes=1_000), rows=1),
    "incremental": _Case(
        Shape(objects=396, commits=50, snapshots=50, paths=200, most_bytes=6_000), floor=2
    ),
    "history": _Case(
        Shape(objects=2_671, commits=531, snapshots=262, paths=300), floor=1.2, rows=8
    ),
    "paths": _Case(
        Shape(objects=3_497, commits=1_000, snapshots=1_000, paths=500, most_bytes=3_000),
        floor=1,
        rows=8,
    ),
    "files": _Case(
        Shape(
            objects=2_000,
            commits=20,
            snapshots=20,
            paths=2_000,
            least_bytes=100_000,
            most_bytes=100_000,
        ),
        floor=0.9,
        rows=8,
    ),
    "messages": _Case(
        Shape(
            objects=1_719,
            commits=72,
            snapshots=67,
            paths=300,
            most_bytes=150_000,
            message_bytes=80_000,
        ),
        floor=1.1,
    ),
}


def real_shapes(bench: Bench) -> Iterator[Figure]:
    """Compare with COPY into the same tables, and with two statements a row; from a directory."""
    for name, (shape, floor, rows) in _CASES.items():
        mpack = bench.mpack(
            replace(
                shape,
                objects=bench.some(shape.objects),
                commits=bench.some(shape.commits),
                snapshots=bench.some(shape.snapshots),
                snapshots_by_id=True,
            )
        )
        what = (
            f"{mpack.commits:,} commits, {mpack.snapshots:,} snapshots, {mpack.objects:,} objects,"
            f" {mpack.size_bytes / 1e6:,.1f} MB"
        )
        phases: list[dict[str, float]] = []
        ours = partial(_by_phases, bench, mpack, phases)
        bulk = partial(_bare, bench, mpack, bare_ingest.in_bulk)
        yield growth(
            f"real_{name}",
            f"{what}, against a bulk ingest without checks",
            interleave(ours, bulk, runs=bench.runs),
            limit=floor,
            note=timings_of(phases),
        )
        by_row = partial(_bare, bench, mpack, bare_ingest.row_by_row)
        yield speed(
            f"real_{name}_rows",
            "the same, against an ingest row by row",
            interleave(ours, by_row, runs=max(1, bench.runs // 2)),
            limit=rows,
        )


def _by_phases(bench: Bench, mpack: Mpack, results: list[dict[str, float]]) -> float:
    with (
        bench.database() as database_url,
        open_services(settings := bench.settings(database_url)) as services,
    ):
        upload(settings, None, mpack)
        job_id = push(database_url, mpack)
        checkpoint(database_url)
        return seconds(lambda: results.append(index(services, job_id)))


def _bare(bench: Bench, mpack: Mpack, ingest: Callable[..., None]) -> float:
    store = bench.new_folder("store")
    with bench.database() as database_url:
        checkpoint(database_url)
        with psycopg.connect(database_url) as connection:
            return seconds(
                lambda: ingest(connection, mpack.path, store=store, repo_id=REPO_ID, branch=BRANCH)
            )
