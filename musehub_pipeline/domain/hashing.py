"""Verification of object contents, where they lie in the file.

Two threads hash. One of them is the reader's: if it decoded meanwhile, it would hold the
interpreter's lock. The bytes were just passed over, so they are still in the page cache.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.mpack import MpackItem, Source

_CHUNK_BYTES = 1 << 20


def verify_contents(source: Source, objects: Collection[MpackItem]) -> None:
    """Check that the content of each object hashes to its id.

    Raises:
        Rejection: OBJECT_HASH_MISMATCH, for the first object that is wrong.
    """
    remaining = iter(objects)  # shared: whichever thread is free takes the next
    helped = sum(item.place.size for item in objects) > _CHUNK_BYTES
    with ThreadPoolExecutor(1, thread_name_prefix="verify") as pool:
        helper = pool.submit(_first_wrong, source, remaining) if helped else None
        wrong = [_first_wrong(source, remaining), helper.result() if helper else None]
    if found := list(filter(None, wrong)):
        raise min(found, key=lambda each: each[0])[1]


def _first_wrong(source: Source, objects: Iterator[MpackItem]) -> tuple[int, Rejection] | None:
    for number, (expected, offset, size), _ in objects:
        actual = _hash(source, offset, size)
        if actual != expected:
            return number, Rejection(
                Fault.OBJECT_HASH_MISMATCH,
                f"the content hashes to {ids.id_of(actual)}, the object_id is"
                f" {ids.id_of(expected)}",
                item=f"objects[{number}]",
            )
    return None


def _hash(source: Source, offset: int, size: int) -> bytes:
    if size <= _CHUNK_BYTES:
        return sha256(source.read(offset, size)).digest()
    hashed = sha256()
    for start in range(offset, offset + size, _CHUNK_BYTES):
        hashed.update(source.read(start, min(_CHUNK_BYTES, offset + size - start)))
    return hashed.digest()
