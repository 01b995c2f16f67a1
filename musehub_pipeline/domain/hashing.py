"""Verification of object contents: many hashes in few hand-overs, in parallel to the reader.

hashlib gives up the GIL above 2 KB, so two threads hash while the reader decodes. A hand-over costs
as much as hashing tens of kilobytes, hence the batches.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import NamedTuple, Self

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.errors import Fault, Rejection
from musehub_pipeline.domain.mpack import Source

_THREADS = 2
_BATCH_BYTES = 2 << 20
_BATCH_ITEMS = 4096
_BATCHES_AHEAD = 4
_CHUNK_BYTES = 1 << 20


class _Claimed(NamedTuple):
    """An object whose content is said to hash to `hex_digest`."""

    position: int
    hex_digest: str
    content: bytes | tuple[int, int]  # or its offset and size in the source


class ContentVerifier:
    """Takes contents as they are read, and raises for the first that does not hash to its id."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="verify")
        self._under_way: deque[Future[None]] = deque()
        self._batch: list[_Claimed] = []
        self._batch_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._under_way.clear()

    def add(self, position: int, hex_digest: str, content: bytes | tuple[int, int]) -> None:
        """Check, now or later, that the object at `position` hashes to `hex_digest`.

        Raises:
            Rejection: OBJECT_HASH_MISMATCH, for this or an earlier object.
        """
        self._batch.append(_Claimed(position, hex_digest, content))
        self._batch_bytes += len(content) if isinstance(content, bytes) else content[1]
        if self._batch_bytes >= _BATCH_BYTES or len(self._batch) >= _BATCH_ITEMS:
            if len(self._under_way) >= _BATCHES_AHEAD:
                self._under_way.popleft().result()
            self._under_way.append(self._pool.submit(self._verify, self._batch))
            self._batch, self._batch_bytes = [], 0

    def finish(self) -> None:
        """Wait until every object has been checked.

        Raises:
            Rejection: OBJECT_HASH_MISMATCH.
        """
        self._verify(self._batch)
        self._batch, self._batch_bytes = [], 0
        while self._under_way:
            self._under_way.popleft().result()

    def _verify(self, batch: list[_Claimed]) -> None:
        for position, expected, content in batch:
            if isinstance(content, bytes):
                actual = sha256(content).hexdigest()
            else:
                actual = self._hash_place(*content)
            if actual != expected:
                raise Rejection(
                    Fault.OBJECT_HASH_MISMATCH,
                    f"the content hashes to {ids.PREFIX}{actual}, the object_id is"
                    f" {ids.PREFIX}{expected}",
                    item=f"objects[{position}]",
                )

    def _hash_place(self, offset: int, size: int) -> str:
        digest = sha256()
        for start in range(offset, offset + size, _CHUNK_BYTES):
            digest.update(self._source.read(start, min(_CHUNK_BYTES, offset + size - start)))
        return digest.hexdigest()
