"""fsck --deep: all stored bytes of a directory, read back and hashed."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from musehub_pipeline.audit.deep import DeepCheck
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.phases.fetch_mpack import fetch_mpack
from musehub_pipeline.phases.insert_objects import insert_objects
from musehub_pipeline.phases.put_objects import put_objects
from musehub_pipeline.phases.unpack import unpack
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.benchmarks.bench import Bench
from musehub_pipeline_tests.benchmarks.figures import MIB, Figure, interleave, seconds, speed
from musehub_pipeline_tests.benchmarks.mpacks import Shape

_PHASES = [fetch_mpack, unpack, put_objects, insert_objects]


def deep(bench: Bench) -> Iterator[Figure]:
    """Compare with sha256 alone over the same bytes in memory, by as many threads as processors.

    A file takes some 30 µs to be opened, whatever is in it: small ones take most of their time so.
    """
    large = Shape(
        objects=bench.some(1_000),
        commits=10,
        snapshots=10,
        least_bytes=MIB // 2,
        most_bytes=3 * MIB // 2,
        skew=1,
    )
    yield _deep(bench, large, "deep", "of 1 MB", limit=0.7)
    small = Shape(objects=bench.some(20_000), commits=10, snapshots=10)
    yield _deep(bench, small, "deep_small", "of 17 kB", limit=None)


def _deep(bench: Bench, shape: Shape, name: str, size: str, *, limit: float | None) -> Figure:
    with bench.unpacked(shape, _PHASES) as (batch, services):
        [item] = batch.items
        _, mpack, contents = item.unpacked
        held = [mpack.read(place.offset, place.size) for place in contents.missing_objects]
        threads = os.cpu_count() or 1
        settings = services.settings
        with (
            Database(str(settings.database_url)) as database,
            ObjectStorage(str(settings.storage_url)) as objects,
            ThreadPoolExecutor(threads) as pool,
        ):
            check = DeepCheck(database, objects, repo_id=None, since=None)

            def ours() -> None:
                read = [(len(window), damages) for window, damages in check.windows(after="")]
                assert sum(rows for rows, _ in read) == shape.objects
                assert not any(damages for _, damages in read)

            def hash_some(start: int) -> None:
                for content in held[start::threads]:
                    sha256(content).digest()

            def bare() -> None:
                list(pool.map(hash_some, range(threads)))

            pairs = interleave(lambda: seconds(ours), lambda: seconds(bare), runs=bench.runs)
    what = f"{len(held):,} objects {size}, read back by {threads} threads, against sha256 alone"
    return speed(name, what, pairs, limit=limit)
