"""The seven phases together: against the baseline, and with ten times the mpack."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from statistics import median
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from sqlalchemy import create_engine, make_url

from musehub_pipeline.domain.result import TIMINGS
from musehub_pipeline.phases.services import open_services
from musehub_pipeline_tests.benchmarks import baseline
from musehub_pipeline_tests.benchmarks.bench import (
    BUCKET,
    REPO_ID,
    Bench,
    checkpoint,
    index,
    push,
    upload,
)
from musehub_pipeline_tests.benchmarks.figures import (
    Figure,
    Pair,
    growth,
    interleave,
    seconds,
    speed,
)
from musehub_pipeline_tests.benchmarks.mpacks import BRANCH, Mpack, mixed
from musehub_pipeline_tests.servers.moto import S3Server

_LARGE_RUNS = 3
_TABLES = ("musehub_objects", "musehub_object_refs", "musehub_snapshots", "musehub_commits")
_LIGHT = "an S3 server that does next to nothing"


class Ingest(NamedTuple):
    """An mpack that was pushed, and then pushed again."""

    first: float  # seconds
    again: float
    results: Sequence[dict[str, Any]]  # of the pipeline
    rows: dict[str, int]  # of each table, in the end


def phases(bench: Bench) -> Iterator[Figure]:
    """Compare with a straightforward ingest of the same mpack from the same server.

    Both hold their clients already, and connect while the clock runs.
    """
    mpack = bench.mpack(mixed(bench.some(100)))
    _pairs(bench, bench.mpack(mixed(1)), None, runs=1)  # warms up
    pairs = _pairs(bench, mpack, None, runs=bench.runs)
    what = f"{mpack.size_bytes / 1e6:,.0f} MB, claim to summary, against a row and a put at a time"
    yield from _figures(pairs, "phases", what, limits=(15, 20), note=_LIGHT)
    pairs = _pairs(bench, mpack, bench.s3, runs=1)
    yield from _figures(pairs, "phases_real_s3", what, limits=(None, None), note=bench.s3_name)


def _figures(
    pairs: Sequence[Pair[Ingest]],
    name: str,
    what: str,
    *,
    limits: tuple[float | None, float | None],
    note: str,
) -> Iterator[Figure]:
    for push_number, (push_name, limit) in enumerate(zip(("first", "again"), limits, strict=True)):
        yield speed(
            f"{name}_{push_name}",
            what if push_number == 0 else f"{what}, pushed again",
            [Pair(pair.measured[push_number], pair.bare[push_number]) for pair in pairs],
            limit=limit,
            note=f"{note}; {timings_of([pair.measured.results[push_number] for pair in pairs])}",
        )


def _pairs(bench: Bench, mpack: Mpack, server: S3Server | None, *, runs: int) -> list[Pair[Ingest]]:
    pairs = interleave(
        lambda: by_phases(bench, mpack, server),
        lambda: by_baseline(bench, mpack, server),
        runs=runs,
        warm_up=False,
    )
    for pair in pairs:
        assert pair.measured.rows == pair.bare.rows, pair
    return pairs


def by_phases(bench: Bench, mpack: Mpack, server: S3Server | None, *, again: bool = True) -> Ingest:
    """Push an mpack to a new repo, and index it; twice. Without a server a light one is used."""
    with (
        bench.light_s3() if server is None else nullcontext(server) as s3,
        bench.database() as database_url,
        open_services(settings := bench.settings(database_url, s3=s3)) as services,
    ):
        upload(settings, s3, mpack)
        results: list[dict[str, Any]] = []
        elapsed = [0.0, 0.0]
        for run in range(1 + again):
            job_id = push(database_url, mpack)
            checkpoint(database_url)
            elapsed[run] = seconds(lambda job_id=job_id: results.append(index(services, job_id)))
        return Ingest(*elapsed, results, _rows(database_url))


def by_baseline(bench: Bench, mpack: Mpack, server: S3Server | None) -> Ingest:
    """Do the same with the baseline."""
    with (
        bench.light_s3() if server is None else nullcontext(server) as s3,
        bench.database() as database_url,
    ):
        settings = bench.settings(database_url, s3=s3)
        upload(settings, s3, mpack)
        engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
        client = s3.client()
        elapsed: list[float] = []
        for _ in range(2):
            checkpoint(database_url)
            elapsed.append(
                seconds(
                    lambda: baseline.ingest(
                        engine=engine,
                        s3=client,
                        bucket=BUCKET,
                        prefix=str(settings.storage_url).rpartition("/")[2],
                        mpack_key=mpack.key,
                        repo_id=REPO_ID,
                        branch=BRANCH,
                    )
                )
            )
        client.close()
        engine.dispose()
        return Ingest(*elapsed, [], _rows(database_url))


def ten_times(bench: Bench) -> Iterator[Figure]:
    """Compare the phases with an mpack of 1 GB and one of 100 MB."""
    small, large = bench.mpack(mixed(bench.some(100))), bench.mpack(mixed(bench.some(1_000)))
    results: dict[Mpack, list[dict[str, Any]]] = {small: [], large: []}

    def once(mpack: Mpack) -> float:
        ingest = by_phases(bench, mpack, None, again=False)
        results[mpack] += ingest.results
        return ingest.first

    pairs = interleave(
        lambda: once(large), lambda: once(small), runs=min(bench.runs, _LARGE_RUNS), warm_up=False
    )
    factor = large.size_bytes / small.size_bytes
    yield growth(
        "phases_ten_times",
        f"{large.size_bytes / 1e6:,.0f} MB, against {small.size_bytes / 1e6:,.0f} MB",
        pairs,
        limit=11,
        note=f"{factor:.2f} x the bytes; "
        f"{timings_of(results[large])}; {timings_of(results[small])}",
    )


def timings_of(results: Sequence[dict[str, Any]]) -> str:
    """Return the medians of the phases' milliseconds."""
    medians = {key: median(result[key] for result in results) for key in TIMINGS}
    phases_ms = " ".join(f"{key.removesuffix('_ms')} {ms:.0f}" for key, ms in medians.items())
    return f"{phases_ms} ms"


def _rows(database_url: str) -> dict[str, int]:
    """Return how many rows each table of the index has."""
    with psycopg.connect(database_url) as connection:
        counts = {
            table: connection.execute(
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            ).fetchone()
            for table in _TABLES
        }
    return {table: count[0] for table, count in counts.items() if count is not None}
