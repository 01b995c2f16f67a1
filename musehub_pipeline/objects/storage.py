"""Object storage, on S3 or in a directory: opened, asked, listed, made durable, and closed."""

import logging
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Self

from obstore import exceptions

from musehub_pipeline.domain.errors import Transient, Trouble
from musehub_pipeline.objects.directory import sync_filesystem
from musehub_pipeline.objects.scratch import Buffer
from musehub_pipeline.objects.storage_client import S3Options, Store, open_store, parse_storage_url

if TYPE_CHECKING:
    from obstore import ObjectMeta  # there for type checkers only

PART_BYTES = 8 << 20
"""What is put in one request at the most; more is a multipart upload."""

_LISTED_AT_ONCE = 1_000

_log = logging.getLogger("musehub_pipeline.objects")


class Storage:
    """What mpacks and objects lie in. Safe to share between threads."""

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

    def sync(self) -> None:
        """Make everything that was put durable: a directory's bytes may still be in memory.

        Raises:
            Transient: STORAGE_UNAVAILABLE.
        """
        if self._place.directory is not None and self._unsynced:
            self._unsynced = False  # before: what is put meanwhile takes another sync
            with self._errors("sync"):
                sync_filesystem(self._place.directory)

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

    def _while_open(self, chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        """Yield chunks until the storage is closed: whoever was told to stop has not waited."""
        for chunk in chunks:
            if self._closed:
                raise Transient(Trouble.STORAGE_UNAVAILABLE, f"{self.url} has been closed")
            yield chunk

    def _surely_missing(self, error: FileNotFoundError) -> bool:
        """Tell what is missing from missing storage: no bucket, or a gateway's own 404."""
        return self._place.directory is not None or "NoSuchKey" in str(error)

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
