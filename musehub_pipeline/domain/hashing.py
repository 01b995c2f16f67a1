"""Verification of object contents, where they lie in the file, a window of it at a time.

The thread that reads the mpack takes part in it, and one more helps: if it decoded meanwhile, it
would keep the interpreter from the other. What was just passed over is still in the page cache.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Self

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.mpack import Source
from musehub_pipeline.domain.slices import Slice

_WINDOW_BYTES = 32 << 20
_WINDOW_ITEMS = 20_000
_CHUNK_BYTES = 1 << 20


class ContentVerifier:
    """Takes places as they are passed, and raises for one whose bytes do not hash to its id."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="verify")
        self._window: list[tuple[int, Slice]] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, position: int, place: Slice) -> None:
        """Check, now or later, that the object at `position` hashes to the digest of its `place`.

        Raises:
            Rejection: OBJECT_HASH_MISMATCH, for this or an earlier object.
        """
        self._window.append((position, place))
        self._bytes += place.size
        if self._bytes >= _WINDOW_BYTES or len(self._window) >= _WINDOW_ITEMS:
            self.finish()

    def finish(self) -> None:
        """Check whatever has not been checked yet.

        Raises:
            Rejection: OBJECT_HASH_MISMATCH, for the first object that is wrong.
        """
        remaining = iter(self._window)  # shared: whichever thread is free takes the next
        helps = self._bytes > _CHUNK_BYTES
        helper = self._pool.submit(self._first_wrong, remaining) if helps else None
        wrong = [self._first_wrong(remaining), helper.result() if helper else None]
        self._window, self._bytes = [], 0
        if found := list(filter(None, wrong)):
            raise min(found, key=lambda each: each[0])[1]

    def _first_wrong(self, places: Iterator[tuple[int, Slice]]) -> tuple[int, Rejection] | None:
        for position, (expected, offset, size) in places:
            actual = self._hash(offset, size)
            if actual != expected:
                return position, Rejection(
                    Fault.OBJECT_HASH_MISMATCH,
                    f"the content hashes to {ids.id_of(actual)}, the object_id is"
                    f" {ids.id_of(expected)}",
                    item=f"objects[{position}]",
                )
        return None

    def _hash(self, offset: int, size: int) -> bytes:
        if size <= _CHUNK_BYTES:
            return sha256(self._source.read(offset, size)).digest()
        hashed = sha256()
        for start in range(offset, offset + size, _CHUNK_BYTES):
            hashed.update(self._source.read(start, min(_CHUNK_BYTES, offset + size - start)))
        return hashed.digest()
