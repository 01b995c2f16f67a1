"""put_objects: many small objects into a directory, and onto an S3 server."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock

from musehub_pipeline.objects.directory import sync_filesystem
from musehub_pipeline.objects.storage_client import Store, open_store, parse_storage_url
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.fetch_mpack import fetch_mpack
from musehub_pipeline.phases.put_objects import put_objects
from musehub_pipeline.phases.services import Services, open_objects
from musehub_pipeline.phases.unpack import unpack
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.benchmarks.bench import Bench, file_system, sound
from musehub_pipeline_tests.benchmarks.figures import Figure, interleave, seconds, speed
from musehub_pipeline_tests.benchmarks.mpacks import Shape


def put_objects_directory(bench: Bench) -> Iterator[Figure]:
    """Compare with a loop that writes each file to another name and renames it."""
    with bench.unpacked(_equal_objects(bench.some(10_000), 10_000), [fetch_mpack, unpack]) as (
        batch,
        services,
    ):
        contents = _contents(batch)

        def ours() -> float:
            os.sync()
            return _phase(batch, services, bench.settings("postgresql:///"))

        def bare(*, synced: bool) -> float:
            os.sync()
            folder = bench.new_folder("bare")
            return seconds(lambda: write_and_rename(folder, contents, synced=synced))

        what = f"{len(contents):,} of 10 KB into a directory, against write and rename"
        pairs = interleave(ours, lambda: bare(synced=False), runs=bench.runs)
        where = file_system(bench.folder)
        yield speed("put_objects_dir", what, pairs, limit=0.6, note=where)
        runs = min(bench.runs, 3)  # each leaves its files behind
        pairs = interleave(ours, lambda: bare(synced=True), runs=runs, warm_up=False)
        what = "the same, where the loop is followed by a sync, as the phase is"
        yield speed("put_objects_dir_synced", what, pairs, limit=None, note=where)


def write_and_rename(folder: Path, contents: dict[str, bytes], *, synced: bool) -> None:
    """Store objects as the phase does, one by one, and nothing else."""
    made: set[str] = set()
    for hex_digest, content in contents.items():
        place = folder / "objects" / hex_digest[:2]
        if hex_digest[:2] not in made:
            place.mkdir(parents=True)
            made.add(hex_digest[:2])
        name = f"{place}/{hex_digest}"
        with open(name + "#1", "xb", buffering=0) as file:  # noqa: PTH123  pathlib is slower
            file.write(content)
        os.rename(name + "#1", name)  # noqa: PTH104
    if synced:
        sync_filesystem(folder)


def put_objects_s3(bench: Bench) -> Iterator[Figure]:
    """Compare with bare obstore calls in as many threads, with the same client options."""
    shape = _equal_objects(bench.some(5_000), 1_000)
    with bench.unpacked(shape, [fetch_mpack, unpack]) as (batch, services):
        contents = _contents(batch)

        def settings() -> Settings:
            return bench.settings("postgresql:///", s3=bench.s3)

        def bare() -> float:
            some = settings()
            threads = some.storage_threads
            place = parse_storage_url(some.storage_url or "")
            store = open_store(place, some.s3, connections=threads)
            with suppress(FileNotFoundError):
                store.head("objects")  # as in `_phase`
            return seconds(lambda: put_bare(store, contents, threads=threads))

        pairs = interleave(
            lambda: _phase(batch, services, settings()), bare, runs=bench.runs, warm_up=False
        )
        threads = settings().storage_threads
    yield speed(
        "put_objects_s3",
        f"{len(contents):,} of 1 KB in {threads} threads, against bare obstore calls",
        pairs,
        limit=0.8,
        note=bench.s3_name,
    )


def put_bare(store: Store, contents: dict[str, bytes], *, threads: int) -> None:
    """Put objects in threads that share an iterator, and nothing else."""
    remaining = iter(contents.items())
    lock = Lock()

    def put() -> None:
        while True:
            with lock:
                hex_digest, content = next(remaining, ("", b""))
            if not hex_digest:
                return
            key = f"objects/{hex_digest[:2]}/{hex_digest}"
            store.put(key, content, mode="create", use_multipart=False)

    with ThreadPoolExecutor(threads) as pool:
        for task in [pool.submit(put) for _ in range(threads)]:
            task.result()


def _phase(batch: Batch, services: Services, settings: Settings) -> float:
    """Return how long the phase takes, with an empty storage."""
    with open_objects(settings) as storage:
        elsewhere = replace(services, objects=storage)
        storage.mpack_size("0" * 64)  # else the client connects while the clock runs
        ended: list[Batch] = []
        elapsed = seconds(lambda: ended.append(put_objects(batch, elsewhere)))
    (item,) = sound(ended[0]).items
    assert item.counts["objects_put"] == item.unpacked.contents.objects_total
    return elapsed


def _contents(batch: Batch) -> dict[str, bytes]:
    (item,) = batch.items
    _, mpack, contents = item.unpacked
    return {
        place.digest.hex(): mpack.read(place.offset, place.size)
        for place in contents.missing_objects
    }


def _equal_objects(objects: int, size_bytes: int) -> Shape:
    return Shape(
        objects=objects, commits=1, snapshots=1, least_bytes=size_bytes, most_bytes=size_bytes
    )
