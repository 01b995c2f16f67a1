"""Copying streams of bytes into scratch files, hashed on the way."""

import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from obstore import Bytes

from musehub_pipeline.domain.errors import Transient, Trouble

Buffer = bytes | memoryview | Bytes

CHUNK_BYTES = 1 << 20
"""Chunks that stay in the processor's cache between being read, hashed and written."""


def read_file(path: Path) -> tuple[int, Iterator[Buffer]]:
    """Return the size of a file and its chunks; each is valid until the next but one is taken.

    Raises:
        FileNotFoundError: there is none.
    """
    size = path.stat().st_size

    def chunks() -> Iterator[Buffer]:
        buffers = [memoryview(bytearray(min(size, CHUNK_BYTES))) for _ in range(2)]
        with path.open("rb", buffering=0) as file:
            while read := file.readinto(buffers[0]):
                yield buffers[0][:read]
                buffers.reverse()

    return size, chunks()


def write_hashing(chunks: Iterator[Buffer], destination: Path, *, pool: Executor) -> str:
    """Write chunks to a new file and return the hex sha256 of them all.

    A chunk is hashed, in a thread of `pool`, while it is written and the next one is fetched.

    Raises:
        Transient: SCRATCH_UNAVAILABLE.
    """
    digest = sha256()
    hashing = None
    with _new_file(destination) as write:
        for chunk in chunks:
            view = memoryview(chunk)
            if hashing is not None:
                hashing.result()
            hashing = pool.submit(digest.update, view)
            write(view)
    if hashing is not None:
        hashing.result()
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
def _new_file(path: Path) -> Generator[Callable[[memoryview], None]]:
    """Open a scratch file; its troubles are not those of the storage that is read meanwhile."""
    with _scratch_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(view: memoryview) -> None:
        with _scratch_errors(path):
            while view:
                view = view[os.write(descriptor, view) :]

    try:
        yield write
    finally:
        os.close(descriptor)


@contextmanager
def _scratch_errors(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise Transient(Trouble.SCRATCH_UNAVAILABLE, f"{path}: {error.strerror}") from error
