"""Copying streams of bytes into scratch files, hashed on the way."""

import ctypes
import errno
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import cycle
from pathlib import Path

from obstore import Bytes

from musehub_pipeline.domain.errors import Transient, Trouble
from musehub_pipeline.parallel import behind

Buffer = bytes | memoryview | Bytes

CHUNK_BYTES = 1 << 20
"""Chunks that stay in the processor's cache between being read, written and hashed."""

_UNDER_WAY = 3  # chunks at a time that wait to be written
_CANNOT = {errno.EOPNOTSUPP, errno.ENOSYS}


def read_file(path: Path) -> tuple[int, Iterator[Buffer]]:
    """Return the size of a file and its chunks; each is valid until it is written.

    Raises:
        FileNotFoundError: there is none.
    """
    size = path.stat().st_size

    def chunks() -> Iterator[Buffer]:
        # Those that are under way, and the one that is read meanwhile.
        buffers = [memoryview(bytearray(min(size, CHUNK_BYTES))) for _ in range(_UNDER_WAY + 1)]
        with path.open("rb", buffering=0) as file:
            for buffer in cycle(buffers):
                if not (read := file.readinto(buffer)):
                    break
                yield buffer[:read]

    return size, chunks()


def write_hashing(chunks: Iterable[Buffer], destination: Path, *, size: int) -> str:
    """Write chunks, `size` bytes in all, to a new file and return the hex sha256 of them.

    A thread writes and hashes while the next chunks are fetched: a few, so that neither waits
    whenever the other is slow. The space is taken first, where that can be done: then a full disk
    is known at once.

    Raises:
        Transient: SCRATCH_UNAVAILABLE.
    """
    digest = sha256()
    with _new_file(destination, size) as write:

        def take(chunk: Buffer) -> None:
            view = memoryview(chunk)
            write(view)
            digest.update(view)

        if size <= CHUNK_BYTES:  # not worth a thread
            for chunk in chunks:
                take(chunk)
        else:
            behind(take, chunks, most=_UNDER_WAY)
    return digest.hexdigest()


@contextmanager
def removed_on_error(path: Path) -> Generator[None]:
    """Remove a file that did not become what it should, and pass the error on."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def _new_file(path: Path, size: int) -> Generator[Callable[[memoryview], None]]:
    """Open a scratch file; its troubles are not those of the storage that is read meanwhile."""
    with _scratch_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(view: memoryview) -> None:
        with _scratch_errors(path):
            while view:
                view = view[os.write(descriptor, view) :]

    try:
        with _scratch_errors(path):
            _take_space(descriptor, size)
        yield write
    finally:
        os.close(descriptor)


def _take_space(descriptor: int, size: int) -> None:
    """Have a file's space set aside, where the system and the file system can do that.

    Not by `os.posix_fallocate`: where they cannot, that writes into every block instead.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not size or not hasattr(libc, "fallocate"):
        return
    begin, length = ctypes.c_int64(0), ctypes.c_int64(size)
    while libc.fallocate(descriptor, 0, begin, length) != 0:
        number = ctypes.get_errno()
        if number in _CANNOT:
            return
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


@contextmanager
def _scratch_errors(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise Transient(Trouble.SCRATCH_UNAVAILABLE, f"{path}: {error.strerror}") from error
