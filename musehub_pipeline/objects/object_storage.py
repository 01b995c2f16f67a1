"""Object storage: mpacks and objects, on S3 or in a directory. Keys are built from digests only."""

import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import cached_property, partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from obstore import exceptions

from musehub_pipeline.domain.errors import Fault, Rejection, Transient, Trouble
from musehub_pipeline.domain.ids import PREFIX, is_id
from musehub_pipeline.domain.mpack import Source
from musehub_pipeline.domain.places import Place, Places, PlaceView
from musehub_pipeline.objects.directory import (
    StoredFile,
    create_file,
    hash_file,
    sync_filesystem,
)
from musehub_pipeline.objects.scratch import (
    CHUNK_BYTES,
    Buffer,
    ScratchFile,
    hash_of,
    removed_on_error,
    write_hashing,
)
from musehub_pipeline.objects.storage_client import S3Options, Store, open_store, parse_storage_url
from musehub_pipeline.parallel import in_threads

if TYPE_CHECKING:
    from obstore import ObjectMeta  # there for type checkers only

_PART_BYTES = 8 << 20
_MOST_PARTS = 12  # of an mpack on the way at a time: each is in memory
_OBJECTS_A_TASK = 16
_THREADS_A_WRITER = 8  # requests wait for a network, and writers of files for each other
_LISTED_AT_ONCE = 1_000
_READ_BYTES = 128 << 10  # of a file that is hashed: what stays in the processor's cache
_OBJECT_KEY = re.compile(r"objects/([0-9a-f]{2})/(\1[0-9a-f]{62})")

_log = logging.getLogger("musehub_pipeline.objects")


MpackFile = ScratchFile | StoredFile
"""An mpack that can be read; implements the mpack reader's `Source`."""


class PutCount(NamedTuple):
    """How many objects were written, and their bytes; what was there already does not count."""

    objects: int
    size_bytes: int


class StoredObject(NamedTuple):
    """An object that lies in storage, as a listing tells it."""

    digest: bytes
    size_bytes: int
    stored_at: datetime


class StoredBytes(NamedTuple):
    """What lies in storage where an object belongs, as it was read."""

    size_bytes: int
    digest: bytes  # of what was read


class Upload(NamedTuple):
    """What was uploaded under ``mpacks/``; `hex_digest` is None where its key is no mpack's."""

    key: str
    hex_digest: str | None
    size_bytes: int
    uploaded_at: datetime


class ObjectStorage:
    """Mpacks under ``mpacks/<hex>``, objects under ``objects/<hex[:2]>/<hex>``.

    Writes are create-only, but where wrong bytes are healed. Safe to share between threads.
    """

    def __init__(self, url: str, *, s3: S3Options | None = None, threads: int = 16) -> None:
        """Open the storage at `url`, ``s3://bucket/prefix`` or ``file:///directory``.

        Raises:
            SettingsError: `url` is neither.
        """
        self.url = url.rstrip("/")
        self._place = parse_storage_url(url)
        self._s3 = s3 or S3Options()
        self._threads = threads
        self._unsynced = False
        self._closed = False
        self._buffers = threading.local()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="storage")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._pool.shutdown(cancel_futures=True)

    @cached_property
    def _store(self) -> Store:
        with self._errors("open"):
            return open_store(self._place, self._s3, connections=self._threads)

    @property
    def objects_uri(self) -> str:
        """What the storage_uri of every object begins with."""
        return f"{self.url}/objects/"

    def mpack_size(self, hex_digest: str) -> int | None:
        """Return the size of an mpack in bytes; None where there is none."""
        found = self._head(f"mpacks/{hex_digest}")
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

    def _while_open(self, chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        """Yield chunks until the storage is closed: whoever was told to stop has not waited."""
        for chunk in chunks:
            if self._closed:
                raise Transient(Trouble.STORAGE_UNAVAILABLE, f"{self.url} has been closed")
            yield chunk

    def _surely_missing(self, error: FileNotFoundError) -> bool:
        """Tell a missing mpack from missing storage: no bucket, or a gateway's own 404."""
        return self._place.directory is not None or "NoSuchKey" in str(error)

    def put_mpack(self, path: Path, hex_digest: str) -> bool:
        """Store an mpack, unless it is there already; return whether it was not.

        One of another size is replaced, and an error logged.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        key = f"mpacks/{hex_digest}"
        if self._has(key, path.stat().st_size):
            return False
        with self._errors(f"PUT {key}"):
            self._unsynced = True
            parts = min(self._threads, _MOST_PARTS)
            self._store.put(key, path, chunk_size=_PART_BYTES, max_concurrency=parts)
        self.sync()
        return True

    def put_objects(self, source: Source, objects: PlaceView) -> PutCount:
        """Store objects, each the slice of `source` that hashes to its digest.

        The bytes are durable only after `sync`.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        if not objects:
            return PutCount(0, 0)
        self._unsynced = True
        chunks = objects.chunks(rows=_OBJECTS_A_TASK, size_bytes=_PART_BYTES)
        threads = min(self._writers, -(-len(objects) // _OBJECTS_A_TASK))

        def put_chunk(chunk: list[Place]) -> PutCount:
            written = [item.size for item in chunk if self._put(source, item)]
            return PutCount(len(written), sum(written))

        counts = in_threads(put_chunk, chunks, pool=self._pool, threads=threads)
        return PutCount(
            sum(count.objects for count in counts), sum(count.size_bytes for count in counts)
        )

    def find_lost(self, objects: PlaceView) -> set[bytes]:
        """Return the digests of what is not stored in its size, though its row says so.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        if not objects:
            return set()
        chunks = objects.chunks(rows=_OBJECTS_A_TASK)
        threads = min(self._threads, -(-len(objects) // _OBJECTS_A_TASK))

        def find(chunk: list[Place]) -> list[bytes]:
            keyed = ((item, _object_key(item.digest)) for item in chunk)
            return [item.digest for item, key in keyed if not self._has(key, item.size)]

        found = in_threads(find, chunks, pool=self._pool, threads=threads)
        lost = set(chain.from_iterable(found))
        if lost:
            _log.error(
                "%s: %d objects are not there as their rows say: healing them", self.url, len(lost)
            )
        return lost

    def stored_objects(self) -> Iterator[StoredObject]:
        """Yield every object that is stored, in no order.

        What lies among them under another name is none of ours.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        for entry in self._list("objects/"):
            if found := _OBJECT_KEY.fullmatch(entry["path"]):
                yield StoredObject(bytes.fromhex(found[2]), entry["size"], entry["last_modified"])

    def read_back(self, digests: Sequence[bytes]) -> list[tuple[bytes, StoredBytes | None]]:
        """Read and hash what is stored of some objects; give each with what was read, in no order.

        It is None where nothing lies there. A thread holds a buffer, however large an object is.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        if not digests:
            return []
        threads = self._threads
        if self._place.directory is not None:  # nothing to wait for: hashing takes the processors
            threads = min(threads, os.cpu_count() or 1)
        step = min(_OBJECTS_A_TASK, -(-len(digests) // threads))
        chunks = [digests[start : start + step] for start in range(0, len(digests), step)]

        def read(chunk: Sequence[bytes]) -> list[tuple[bytes, StoredBytes | None]]:
            return [(digest, self._read_back(digest)) for digest in chunk]

        found = in_threads(read, chunks, pool=self._pool, threads=min(threads, len(chunks)))
        return list(chain.from_iterable(found))

    def heal_objects(self, source: Source, objects: Places) -> PutCount:
        """Replace what is missing or hashes wrong by slices of `source` that hash right.

        What lies there is read once more right before: bytes that hash right are never touched. A
        slice that does not hash to its digest is left out. Durable only after `sync`.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        self._unsynced = True
        threads = min(self._writers, len(objects))

        def heal(item: Place) -> int | None:
            if hash_of(_pieces(source, item, CHUNK_BYTES)) != item.digest.hex():
                return None
            found = self._read_back(item.digest)
            if found is not None and found.digest == item.digest:
                return None
            self._overwrite(_object_key(item.digest), source, item)
            return item.size

        sizes = in_threads(heal, objects, pool=self._pool, threads=threads)
        healed = [size for size in sizes if size is not None]
        return PutCount(len(healed), sum(healed))

    def delete_objects(self, digests: Iterable[bytes]) -> None:
        """Remove objects from storage; what is not there is none's loss.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        keys = [_object_key(digest) for digest in digests]
        if not keys:
            return
        with self._errors(f"DELETE of {len(keys)} objects"):
            store = self._store
            if self._place.directory is not None:
                for key in keys:
                    (self._place.directory / key).unlink(missing_ok=True)
            else:
                store.delete(keys)

    def sync(self) -> None:
        """Make everything that was put durable: a directory's bytes may still be in memory.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        if self._place.directory is not None and self._unsynced:
            self._unsynced = False  # before: what is put meanwhile takes another sync
            with self._errors("sync"):
                sync_filesystem(self._place.directory)

    def _read_back(self, digest: bytes) -> StoredBytes | None:
        key = _object_key(digest)
        with self._errors(f"GET {key}"):
            store = self._store
            try:
                if self._place.directory is not None:
                    # Through a buffer that its thread keeps: to get one takes as long as to read.
                    path = f"{self._place.directory}/{key}"
                    return StoredBytes(*hash_file(path, self._buffer()))
                hashed, size = sha256(), 0
                for chunk in self._while_open(iter(store.get(key).stream(CHUNK_BYTES))):
                    view = memoryview(chunk)
                    hashed.update(view)
                    size += len(view)
                return StoredBytes(size, hashed.digest())
            except FileNotFoundError as error:
                if not self._surely_missing(error):
                    raise
                return None

    def _buffer(self) -> memoryview:
        if not hasattr(self._buffers, "mine"):
            self._buffers.mine = memoryview(bytearray(_READ_BYTES))
        return self._buffers.mine

    @property
    def _writers(self) -> int:
        if self._place.directory is None:
            return self._threads
        return max(1, self._threads // _THREADS_A_WRITER)

    def _put(self, source: Source, item: Place) -> bool:
        key = _object_key(item.digest)
        with self._errors(f"PUT {key}"):
            if item.size > _PART_BYTES:
                return self._put_large(key, source, item)
            store, content = self._store, source.read(item.offset, item.size)
            try:
                if self._place.directory is None:
                    store.put(key, content, mode="create", use_multipart=False)
                else:  # takes half the time that it takes the client
                    create_file(self._place.directory / key, content)
            except (exceptions.AlreadyExistsError, FileExistsError):
                if self._has(key, item.size):
                    return False
                self._overwrite(key, source, item)
            return True

    def _put_large(self, key: str, source: Source, item: Place) -> bool:
        # A multipart upload knows no create-only mode.
        if self._has(key, item.size):
            return False
        self._overwrite(key, source, item)
        return True

    def _overwrite(self, key: str, source: Source, item: Place) -> None:
        """Put what appears whole or not at all, in the place of what lies there."""
        with self._errors(f"PUT {key}"):
            if item.size > _PART_BYTES:
                parts = _pieces(source, item, _PART_BYTES)
                self._store.put(
                    key, parts, use_multipart=True, chunk_size=_PART_BYTES, max_concurrency=2
                )
            else:
                content = source.read(item.offset, item.size)
                self._store.put(key, content, mode="overwrite", use_multipart=False)

    def _has(self, key: str, size: int) -> bool:
        found = self._head(key)
        if found is None or found["size"] == size:
            return found is not None
        _log.error("%s/%s has %d bytes, not %d: healing it", self.url, key, found["size"], size)
        return False

    def _head(self, key: str) -> "ObjectMeta | None":
        with self._errors(f"HEAD {key}"):
            try:
                return self._store.head(key)
            except FileNotFoundError:
                return None

    def _list(self, prefix: str) -> Iterator["ObjectMeta"]:
        with self._errors(f"LIST {prefix}"):
            listed = self._store.list(prefix, chunk_size=_LISTED_AT_ONCE)  # pyright: ignore[reportUnknownMemberType]
            for entries in listed:
                yield from entries

    @contextmanager
    def _errors(self, request: str) -> Generator[None]:
        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            # Everything behind the first line is a dump for developers of the client.
            first_line = str(error).split("\n", 1)[0]
            if "NoSuchBucket" in str(error):
                first_line = "the bucket does not exist"
            raise Transient(
                Trouble.STORAGE_UNAVAILABLE, f"{self.url}: {request}: {first_line}"
            ) from error


def _object_key(digest: bytes) -> str:
    hex_digest = digest.hex()
    return f"objects/{hex_digest[:2]}/{hex_digest}"


def _pieces(source: Source, item: Place, size: int) -> Iterator[bytes]:
    end = item.offset + item.size
    for start in range(item.offset, end, size):
        yield source.read(start, min(size, end - start))


def _upload(entry: "ObjectMeta") -> Upload:
    key = entry["path"]
    name = key.removeprefix("mpacks/")
    hex_digest = name if is_id(PREFIX + name) else None
    return Upload(key, hex_digest, entry["size"], entry["last_modified"])
