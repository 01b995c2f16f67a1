"""Object storage, on S3 or in a directory: opened, asked, listed, made durable, and closed."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Self

from obstore import exceptions

from musehub_pipeline.domain.errors import Transient, Trouble
from musehub_pipeline.objects.directory import create_file, sync_filesystem
from musehub_pipeline.objects.refusals import (
    is_unanswered,
    knows_no_condition,
    lacks_a_right,
    names_its_reason,
    reason_of,
    wants_a_checksum,
)
from musehub_pipeline.objects.scratch import Buffer
from musehub_pipeline.objects.storage_client import S3Options, Store, open_store, parse_storage_url

if TYPE_CHECKING:
    from obstore import ObjectMeta  # there for type checkers only

PART_BYTES = 8 << 20
"""What is put in one request at the most; more is a multipart upload."""

_LISTED_AT_ONCE = 1_000
_RIGHTS = (
    "needed are s3:GetObject, s3:PutObject and s3:ListBucket, to remove also s3:DeleteObject;"
    " without s3:ListBucket, what is missing is denied, too"
)
_RIGHTS_OR_ELSE = f"{_RIGHTS}; so is all where the credentials or the clock are wrong"

_log = logging.getLogger("musehub_pipeline.objects")


class Denied(Transient):
    """The request is not permitted. Without s3:ListBucket, S3 also says so of missing keys."""


class Storage:
    """What mpacks and objects lie in. Safe to share between threads.

    Servers differ: some know no conditional puts, some ask for checksums. The first refusal tells.
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
        self._knows_conditions = True
        self._with_checksums: Store | None = None  # a client that sends them
        self._learning = Lock()
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

    def _create(self, key: str, content: bytes) -> bool | None:
        """Put what is new; return False where something lies there already.

        It is None where that cannot be told: the server knows no condition, or did not answer.
        """
        if not self._knows_conditions:
            return None
        directory = self._place.directory
        try:
            if directory is None:
                self._send(
                    lambda store: store.put(key, content, mode="create", use_multipart=False)
                )
            else:  # takes half the time that it takes the client
                self._send(lambda _: create_file(directory / key, content))
        except (exceptions.AlreadyExistsError, FileExistsError):
            return False
        except (exceptions.GenericError, NotImplementedError) as error:
            # The client itself says so where AWS_CONDITIONAL_PUT is "disabled".
            if isinstance(error, NotImplementedError) or knows_no_condition(error):
                self._do_without_conditions(error)
            elif not is_unanswered(error):  # which the client does not try again: it may be done
                raise
            return None
        return True

    def _send(self, put: Callable[[Store], object]) -> None:
        """Do a put; again, and with checksums, where the bucket asks for them.

        They cost nothing, for what is put is hashed anyway, but not every server knows them.
        """
        store = self._with_checksums or self._store
        try:
            put(store)
        except exceptions.BaseError as error:
            if not wants_a_checksum(error):
                raise
            put(self._add_checksums(error))

    def _do_without_conditions(self, error: Exception) -> None:
        with self._learning:
            if self._knows_conditions:
                self._knows_conditions = False
                _log.warning(
                    "%s knows no create-only put (%s): it is asked first what is there",
                    self.url,
                    reason_of(error),
                )

    def _add_checksums(self, error: Exception) -> Store:
        with self._learning:
            if self._with_checksums is None:
                self._with_checksums = open_store(
                    self._place, self._s3, connections=self._threads, checksums=True
                )
                _log.warning("%s wants checksums (%s): it gets them", self.url, reason_of(error))
            return self._with_checksums

    def _surely_has(self, key: str, size: int) -> bool:
        """As `_has`, but False where the answer is denied, as it is to whoever may only put.

        A put after that replaces bytes by the same at the worst, and its own refusal has a reason.
        """
        try:
            return self._has(key, size)
        except Denied:
            return False

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
            message = f"{self.url}: {request}: {reason_of(error)}"
            if lacks_a_right(error):
                hint = _RIGHTS if names_its_reason(error) else _RIGHTS_OR_ELSE
                raise Denied(Trouble.STORAGE_UNAVAILABLE, f"{message} ({hint})") from error
            raise Transient(Trouble.STORAGE_UNAVAILABLE, message) from error
