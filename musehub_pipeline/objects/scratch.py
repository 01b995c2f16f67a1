"""Scratch files: where an mpack lies while a run works on it. They never outlive their run."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from musehub_pipeline.domain.errors import Transient, Trouble

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
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise Transient(
                Trouble.SCRATCH_UNAVAILABLE, f"{self.path}: {error.strerror}"
            ) from error

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
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / "lock"):  # else a sweep could take a new folder for an abandoned one
            _sweep(root)
            folder = Path(tempfile.mkdtemp(prefix="run-", dir=root))
            lock = _open_lock(folder / _LOCK)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise Transient(Trouble.SCRATCH_UNAVAILABLE, f"{root}: {error.strerror}") from error
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
