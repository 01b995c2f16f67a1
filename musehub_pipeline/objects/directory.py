"""A directory as storage: its files read and written faster than by a client, and made durable."""

import ctypes
import errno
import os
import secrets
import time
from collections.abc import Iterator
from hashlib import sha256
from itertools import cycle
from pathlib import Path

from musehub_pipeline.domain.errors import Transient, Trouble
from musehub_pipeline.objects.scratch import CHUNK_BYTES, CHUNKS_UNDER_WAY, Buffer

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_TICK_NS = 100_000_000  # ten times the longest tick of the clocks that date files


class StoredFile:
    """A file, read where it lies for as long as nobody writes to it.

    Replacing it by another file, as every client does, leaves the open one as it was.
    """

    def __init__(self, path: Path) -> None:
        """Open the file at `path`.

        Raises:
            FileNotFoundError: there is none.
        """
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._found = self._state()
        self.size = self._found[0]

    @property
    def is_settled(self) -> bool:
        """Whether another write would change its time: one in the same clock tick would not."""
        return time.time_ns() - self._found[1] > _TICK_NS

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer at the end; from any thread.

        Raises:
            Transient: STORAGE_UNAVAILABLE, also where the file is no longer as it was found.
        """
        try:
            content = os.pread(self._descriptor, size, offset)
            state = self._state()
        except OSError as error:
            raise Transient(
                Trouble.STORAGE_UNAVAILABLE, f"{self.path}: {error.strerror}"
            ) from error
        if state != self._found:
            raise Transient(
                Trouble.STORAGE_UNAVAILABLE, f"{self.path} was written to while it was read"
            )
        return content

    def chunks(self) -> Iterator[Buffer]:
        """Yield all of the file; each chunk is valid until it is written, or hashed."""
        # Those that are under way, and the one that is read meanwhile.
        buffers = [
            memoryview(bytearray(min(self.size, CHUNK_BYTES))) for _ in range(CHUNKS_UNDER_WAY + 1)
        ]
        offset = 0
        for buffer in cycle(buffers):
            if not (read := os.preadv(self._descriptor, [buffer], offset)):
                break
            offset += read
            yield buffer[:read]

    def close(self) -> None:
        """Let the file go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _state(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns


def hash_file(path: str, buffer: memoryview) -> tuple[int, bytes]:
    """Return how many bytes of a file can be read, and their sha256.

    They are read through a buffer that is used again. Where the disk cannot read on, they end.

    Raises:
        FileNotFoundError: there is none.
    """
    hashed = sha256()
    size = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while read := os.readv(descriptor, (buffer,)):
            hashed.update(buffer[:read])
            size += read
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    finally:
        os.close(descriptor)
    return size, hashed.digest()


def create_file(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; make the two folders in which it lies.

    What a kill leaves of it is named as the client names its own: no listing shows it.

    Raises:
        FileExistsError: it is there already.
        FileNotFoundError: so much as the place of its folders is missing.
    """
    part = f"{path}#{secrets.randbits(63)}"
    try:
        descriptor = os.open(part, _NEW, 0o666)
    except FileNotFoundError:
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(exist_ok=True)
        descriptor = os.open(part, _NEW, 0o666)
    try:
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)
        os.link(part, path)
    finally:
        Path(part).unlink()


def sync_filesystem(folder: Path) -> None:
    """Write everything that lies on the file system of `folder` to its disk, and wait.

    One syncfs(2) for a batch of thousands of files costs a small part of an fsync(2) of each.

    Raises:
        OSError: the disk did not take it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
