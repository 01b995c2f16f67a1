"""Verification of object contents, where they lie in the file, a window of it at a time.

The reader waits meanwhile: a thread that decodes would keep the interpreter from those that hash.
What it has just passed over is read again from the page cache, which costs little.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import NamedTuple, Self

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.mpack import Source

_THREADS = 2
_WINDOW_BYTES = 32 << 20
_WINDOW_ITEMS = 20_000
_CHUNK_BYTES = 1 << 20


class _Claimed(NamedTuple):
    """An object whose content is said to hash to `hex_digest`."""

    position: int
    hex_digest: str
    offset: int
    size: int


class ContentVerifier:
    """Takes places as they are passed, and raises for one whose bytes do not hash to its id."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="verify")
        self._window: list[_Claimed] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, position: int, hex_digest: str, offset: int, size: int) -> None:
        """Check, now or later, that the object at `position` hashes to `hex_digest`.

        Raises:
            Rejection: OBJECT_HASH_MISMATCH, for this or an earlier object.
        """
        self._window.append(_Claimed(position, hex_digest, offset, size))
        self._bytes += size
        if self._bytes >= _WINDOW_BYTES or len(self._window) >= _WINDOW_ITEMS:
            self.finish()

    def finish(self) -> None:
        """Check whatever has not been checked yet.

        Raises:
            Rejection: OBJECT_HASH_MISMATCH, for the first object that is wrong.
        """
        window, self._window, self._bytes = self._window, [], 0
        remaining = iter(window)  # shared: whichever thread is free takes the next
        tasks = [self._pool.submit(self._first_wrong, remaining) for _ in range(_THREADS)]
        wrong = [found for task in tasks if (found := task.result()) is not None]
        if wrong:
            raise min(wrong, key=lambda found: found[0])[1]

    def _first_wrong(self, claims: Iterator[_Claimed]) -> tuple[int, Rejection] | None:
        for claimed in claims:
            actual = self._hash(claimed.offset, claimed.size)
            if actual != claimed.hex_digest:
                return claimed.position, Rejection(
                    Fault.OBJECT_HASH_MISMATCH,
                    f"the content hashes to {ids.PREFIX}{actual}, the object_id is"
                    f" {ids.PREFIX}{claimed.hex_digest}",
                    item=f"objects[{claimed.position}]",
                )
        return None

    def _hash(self, offset: int, size: int) -> str:
        if size <= _CHUNK_BYTES:
            return sha256(self._source.read(offset, size)).hexdigest()
        digest = sha256()
        for start in range(offset, offset + size, _CHUNK_BYTES):
            digest.update(self._source.read(start, min(_CHUNK_BYTES, offset + size - start)))
        return digest.hexdigest()
