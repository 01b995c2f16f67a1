"""Mpacks in storage: each under ``mpacks/``, and the hash of its bytes."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from musehub_pipeline.domain.errors import Fault, Rejection, Transient, Trouble
from musehub_pipeline.domain.ids import PREFIX, is_id
from musehub_pipeline.objects.directory import StoredFile
from musehub_pipeline.objects.scratch import (
    CHUNK_BYTES,
    Buffer,
    ScratchFile,
    hash_of,
    removed_on_error,
    write_hashing,
)
from musehub_pipeline.objects.storage import PART_BYTES, Denied, Storage
from musehub_pipeline.parallel import in_threads

if TYPE_CHECKING:
    from obstore import ObjectMeta  # there for type checkers only

_MOST_PARTS = 12  # of an mpack on the way at a time: each is in memory

MpackFile = ScratchFile | StoredFile
"""An mpack that can be read; implements the mpack reader's `Source`."""


class Upload(NamedTuple):
    """What was uploaded under ``mpacks/``; `hex_digest` is None where its key is no mpack's."""

    key: str
    hex_digest: str | None
    size_bytes: int
    uploaded_at: datetime


class Mpacks(Storage):
    """The mpacks of a storage, under ``mpacks/<hex>``."""

    def mpack_size(self, hex_digest: str) -> int | None:
        """Return the size of an mpack in bytes; None where there is none, or it is denied.

        Reading the mpack tells which of the two it is.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        try:
            found = self._head(f"mpacks/{hex_digest}")
        except Denied:
            return None
        return None if found is None else found["size"]

    def find_mpacks(self, hex_digests: Collection[str]) -> dict[str, Upload]:
        """Return those of some mpacks that are stored, without reading them.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """

        def find(hex_digest: str) -> tuple[str, "ObjectMeta | None"]:
            return hex_digest, self._head(f"mpacks/{hex_digest}")

        found = in_threads(find, hex_digests, pool=self._pool, threads=self._threads)
        return {hex_digest: _upload(entry) for hex_digest, entry in found if entry is not None}

    def stored_mpacks(self) -> Iterator[Upload]:
        """Yield every mpack that is stored, and whatever else lies among them, in no order.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        return map(_upload, self._list("mpacks/"))

    def fetch_mpack(
        self, hex_digest: str, scratch: Path, *, limit: int, expected: int | None = None
    ) -> MpackFile:
        """Return an mpack, whose bytes hash to its key; whoever asked for it closes it.

        In a directory it is read where it lies, unless it was written to right now; anything else
        is streamed into a new file, `scratch`, of which nothing is left where that failed.
        `expected` is the size that the storage gave before.

        Raises:
            Rejection: MPACK_MISSING, MPACK_TOO_LARGE where it has more than `limit` bytes, or
                MPACK_HASH_MISMATCH where its bytes do not hash to its key.
            Transient: STORAGE_UNAVAILABLE or SCRATCH_UNAVAILABLE.
        """
        judge = partial(self._judge_mpack, hex_digest, limit=limit, expected=expected)
        with self._errors(f"GET mpacks/{hex_digest}"), ExitStack() as stack:
            stored, size, chunks = self._open_mpack(hex_digest)
            if stored:
                stack.callback(stored.close)
            if stored and stored.is_settled:
                judge(size, lambda: hash_of(chunks))
                stack.pop_all()
                return stored
            stack.enter_context(removed_on_error(scratch))
            judge(size, lambda: write_hashing(chunks, scratch, size=size))
            return ScratchFile(scratch, size)

    def _open_mpack(self, hex_digest: str) -> tuple[StoredFile | None, int, Iterator[Buffer]]:
        """Return the file of an mpack, in a directory, with its size and its chunks.

        Raises:
            Rejection: MPACK_MISSING.
        """
        key, store = f"mpacks/{hex_digest}", self._store
        try:
            if self._place.directory is not None:
                file = StoredFile(self._place.directory / key)
                return file, file.size, self._while_open(file.chunks())
            reply = store.get(key)
        except FileNotFoundError as error:
            if not self._surely_missing(error):
                raise
            raise Rejection(Fault.MPACK_MISSING, f"{self.url}/{key} does not exist") from error
        return None, reply.meta["size"], self._while_open(reply.stream(CHUNK_BYTES))

    def _judge_mpack(
        self,
        hex_digest: str,
        size: int,
        hash_all: Callable[[], str],
        *,
        limit: int,
        expected: int | None,
    ) -> None:
        if size > limit:
            raise Rejection(Fault.MPACK_TOO_LARGE, f"{size} bytes, where {limit} are allowed")
        if (actual := hash_all()) != hex_digest:
            message = f"the {size} bytes at {self.url}/mpacks/{hex_digest} hash to {actual}"
            if expected not in {None, size}:  # a gateway's page, say, and not the mpack
                raise Transient(Trouble.STORAGE_UNAVAILABLE, f"{message}, not the {expected}")
            raise Rejection(Fault.MPACK_HASH_MISMATCH, message)

    def put_mpack(self, path: Path, hex_digest: str) -> bool:
        """Store an mpack, unless it is there already; return whether it was not.

        One of another size is replaced, and an error logged.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        key, size = f"mpacks/{hex_digest}", path.stat().st_size
        try:
            if self._has(key, size):
                return False
        except Denied:  # with put-only rights, HEAD is denied; a create-only put still tells
            with self._errors(f"PUT {key}"):
                created = self._create(key, path.read_bytes()) if size <= PART_BYTES else None
            if created is not None:
                return created
        with self._errors(f"PUT {key}"):
            self._unsynced = True
            parts = min(self._threads, _MOST_PARTS)
            self._send(
                lambda store: store.put(key, path, chunk_size=PART_BYTES, max_concurrency=parts)
            )
        self.sync()
        return True


def _upload(entry: "ObjectMeta") -> Upload:
    key = entry["path"]
    name = key.removeprefix("mpacks/")
    hex_digest = name if is_id(PREFIX + name) else None
    return Upload(key, hex_digest, entry["size"], entry["last_modified"])
