"""Scratch files: where an mpack lies while a run works on it. They never outlive their run."""

import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from obstore import Bytes

from musehub_pipeline.domain.errors import Transient, Trouble
from musehub_pipeline.parallel import behind

Buffer = bytes | memoryview | Bytes

CHUNK_BYTES = 1 << 20
"""Chunks that stay in the processor's cache between being read, written and hashed."""

CHUNKS_UNDER_WAY = 3
"""Chunks at a time that wait to be written."""

_CANNOT = {errno.EOPNOTSUPP, errno.ENOSYS}
_LOCK = "in-use"


@dataclass(frozen=True)
class ScratchFile:
    """A complete, private file of the run; implements the mpack reader's `Source`."""

    path: Path
    size: int

    @cached_property
    def _descriptor(self) -> int:
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer at the end; from any thread.

        Raises:
            Transient: SCRATCH_UNAVAILABLE.
        """
        try:  # a context manager would cost as much as a small read
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise _unavailable(self.path, error) from error

    def close(self) -> None:
        """Give the file and its space back."""
        if "_descriptor" in self.__dict__:
            os.close(self.__dict__.pop("_descriptor"))
        self.path.unlink(missing_ok=True)


@contextmanager
def scratch_folder(root: Path) -> Generator[Path]:
    """Make a folder of this run's own under `root`, and remove it in the end.

    Folders that a killed run left behind are removed first: nobody holds their lock any more.

    Raises:
        Transient: SCRATCH_UNAVAILABLE.
    """
    with _scratch_errors(root):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)  # what was pushed is not for all
        with _locked(root / "lock"):  # else a sweep could take a new folder for an abandoned one
            _sweep(root)
            folder = Path(tempfile.mkdtemp(prefix="run-", dir=root))
            lock = _open_lock(folder / _LOCK)
            fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


@contextmanager
def _locked(path: Path) -> Generator[None]:
    lock = _open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _sweep(root: Path) -> None:
    for folder in root.glob("run-*"):
        with suppress(OSError):
            lock = _open_lock(folder / _LOCK)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def hash_of(chunks: Iterable[Buffer]) -> str:
    """Return the hex sha256 of chunks."""
    digest = sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


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
            behind(take, chunks, most=CHUNKS_UNDER_WAY)
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
        raise _unavailable(path, error) from error


def _unavailable(path: Path, error: OSError) -> Transient:
    return Transient(Trouble.SCRATCH_UNAVAILABLE, f"{path}: {error.strerror}")
