"""Objects in storage: each under ``objects/``, two digits, and the hash of its bytes."""

import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import chain
from typing import NamedTuple

from musehub_pipeline.domain.mpack import Source
from musehub_pipeline.domain.places import Place, Places, PlaceView
from musehub_pipeline.objects.directory import hash_file
from musehub_pipeline.objects.scratch import CHUNK_BYTES, hash_of
from musehub_pipeline.objects.storage import PART_BYTES, Storage
from musehub_pipeline.parallel import in_threads

_OBJECTS_A_TASK = 16
_THREADS_A_WRITER = 8  # requests wait for a network, and writers of files for each other
_READ_BYTES = 128 << 10  # of a file that is hashed: what stays in the processor's cache
_OBJECT_KEY = re.compile(r"objects/([0-9a-f]{2})/(\1[0-9a-f]{62})")

_buffers = threading.local()
_log = logging.getLogger("musehub_pipeline.objects")


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


class StoredObjects(Storage):
    """The objects of a storage, under ``objects/<hex[:2]>/<hex>``.

    Writes are create-only, but where wrong bytes are healed.
    """

    @property
    def objects_uri(self) -> str:
        """What the storage_uri of every object begins with."""
        return f"{self.url}/objects/"

    def put_objects(self, source: Source, objects: PlaceView) -> PutCount:
        """Store objects, each the slice of `source` that hashes to its digest.

        The bytes are durable only after `sync`.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        if not objects:
            return PutCount(0, 0)
        self._unsynced = True
        chunks = objects.chunks(rows=_OBJECTS_A_TASK, size_bytes=PART_BYTES)
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
            return [item.digest for item, key in keyed if not self._surely_has(key, item.size)]

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

    def _read_back(self, digest: bytes) -> StoredBytes | None:
        key = _object_key(digest)
        with self._errors(f"GET {key}"):
            store = self._store
            try:
                if self._place.directory is not None:
                    path = f"{self._place.directory}/{key}"
                    return StoredBytes(*hash_file(path, _buffer()))
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

    @property
    def _writers(self) -> int:
        if self._place.directory is None:
            return self._threads
        return max(1, self._threads // _THREADS_A_WRITER)

    def _put(self, source: Source, item: Place) -> bool:
        key, created = _object_key(item.digest), None
        if item.size <= PART_BYTES:  # a multipart upload knows no create-only mode
            with self._errors(f"PUT {key}"):
                created = self._create(key, source.read(item.offset, item.size))
        if created:
            return True
        # If the server said that the key exists, it is not replaced without a look at it.
        has = self._surely_has if created is None else self._has
        if has(key, item.size):
            return False
        self._overwrite(key, source, item)
        return True

    def _overwrite(self, key: str, source: Source, item: Place) -> None:
        """Put what appears whole or not at all, in the place of what lies there."""
        with self._errors(f"PUT {key}"):
            if item.size > PART_BYTES:
                self._send(
                    lambda store: store.put(
                        key,
                        _pieces(source, item, PART_BYTES),
                        use_multipart=True,
                        chunk_size=PART_BYTES,
                        max_concurrency=2,
                    )
                )
            else:
                content = source.read(item.offset, item.size)
                self._send(
                    lambda store: store.put(key, content, mode="overwrite", use_multipart=False)
                )


def _object_key(digest: bytes) -> str:
    hex_digest = digest.hex()
    return f"objects/{hex_digest[:2]}/{hex_digest}"


def _pieces(source: Source, item: Place, size: int) -> Iterator[bytes]:
    end = item.offset + item.size
    for start in range(item.offset, end, size):
        yield source.read(start, min(size, end - start))


def _buffer() -> memoryview:
    """Return one that this thread keeps: to get one takes as long as to read."""
    if not hasattr(_buffers, "mine"):
        _buffers.mine = memoryview(bytearray(_READ_BYTES))
    return _buffers.mine
