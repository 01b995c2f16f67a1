"""unpack: decoding an mpack and verifying all that it holds."""

import os
from collections.abc import Iterator
from hashlib import sha256

from musehub_pipeline.phases.fetch_mpack import fetch_mpack
from musehub_pipeline.phases.unpack import unpack as unpack_phase
from musehub_pipeline_tests.benchmarks.bench import Bench, sound
from musehub_pipeline_tests.benchmarks.figures import Figure, interleave, seconds, speed
from musehub_pipeline_tests.benchmarks.mpacks import Shape, mixed


def shape_of_objects(bench: Bench) -> Shape:
    """Return the shape of an mpack of 1 GB that is nearly all objects."""
    return Shape(
        objects=bench.some(51_000),
        commits=bench.some(2_000),
        snapshots=bench.some(1_000),
        paths=60,
        skew=4,
    )


def unpack(bench: Bench) -> Iterator[Figure]:
    """Compare with sha256 alone over the same contents, in one thread, from the same file."""
    shape = shape_of_objects(bench)
    what = f"{shape.objects:,} objects, decoded and verified, against sha256 of their contents"
    yield _unpack(bench, shape, "unpack", what, limit=0.5)
    shape = mixed(bench.some(1_000))
    what = f"with {shape.commits:,} commits and {shape.snapshots:,} manifests"
    yield _unpack(bench, shape, "unpack_mixed", what, limit=None)


def _unpack(bench: Bench, shape: Shape, name: str, what: str, *, limit: float | None) -> Figure:
    with bench.unpacked(shape, [fetch_mpack]) as (batch, services):
        (item,) = sound(unpack_phase(batch, services)).items
        _, mpack, contents = item.unpacked
        places = sorted((place.offset, place.size) for place in contents.missing_objects)

        def ours() -> float:
            return seconds(lambda: sound(unpack_phase(batch, services)))

        def hash_all() -> None:
            descriptor = os.open(mpack.path, os.O_RDONLY)
            for offset, size in places:
                sha256(os.pread(descriptor, size, offset)).hexdigest()
            os.close(descriptor)

        pairs = interleave(ours, lambda: seconds(hash_all), runs=bench.runs)
    return speed(name, what, pairs, limit=limit)
