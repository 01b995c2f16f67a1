"""Spare processes: each has Dagster and the definitions loaded, waits for a run, and ends with it.

They are forked by a process that has loaded them and does nothing else, the fork server, and one
that is taken is replaced at once. A run has a process of its own, as it has without them.

All that passes over the socket between the launcher and the fork server is here, a line of JSON
each. A spare says when it stands, and the fork server when a process has ended; it is told which
spare is to begin which run. Where the launcher's end closes, the spares end, and once no run is
left, so does the fork server.
"""

import gc
import importlib
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Thread
from typing import TextIO

import dagster as dg
from dagster import _check as check
from dagster._core.instance import InstanceRef
from dagster._serdes import deserialize_value, serialize_value
from dagster._utils.interrupts import capture_interrupts
from setproctitle import setproctitle

from musehub_pipeline.orchestration.instance import RUN_TITLE
from musehub_pipeline.parallel import share_what_is_free
from musehub_pipeline.postgres import migrate

DEFINITIONS = "musehub_pipeline.definitions"

_MODULE = "musehub_pipeline.orchestration.spares"
_LOADED = (DEFINITIONS, "dagster._cli.api", "dagster_postgres")
_FORK_SECONDS = 10
_PAUSE_SECONDS = 1.0
_READ_BYTES = 1 << 16

_log = logging.getLogger("musehub_pipeline.launcher")


class NoSpare(Exception):
    """No process waits for a run."""


class Spares:
    """The spares of a launcher, with the instance of its Dagster.

    `on_end` is called, in a thread of its own, with the pid and the exit code of a process that was
    taken and has ended; the code is negative where a signal ended it.
    """

    def __init__(
        self, number: int, instance: dg.DagsterInstance, *, on_end: Callable[[int, int], None]
    ) -> None:
        self._on_end = on_end
        self._standing: list[int] = []
        self._changed = Condition()
        self._ended = False
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._fork_server = subprocess.Popen(
                [sys.executable, "-m", _MODULE, str(theirs.fileno()), str(number)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        _say(self._socket, instance=serialize_value(instance.get_ref()))
        Thread(target=self._listen, name="spares", daemon=True).start()

    @property
    def stand(self) -> bool:
        """Whether one stands now."""
        return bool(self._standing)

    @property
    def ended(self) -> bool:
        """Whether the fork server is gone: no more will stand."""
        return self._ended

    def take(self) -> int:
        """Return the pid of a spare, which is nobody else's from then on.

        Raises:
            NoSpare: none comes to stand within some seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._standing or self._ended, _FORK_SECONDS)
            if not self._standing:
                raise NoSpare
            return self._standing.pop(0)

    def begin(self, pid: int, run_id: str) -> None:
        """Have a spare that was taken execute a run.

        Raises:
            NoSpare: the fork server is gone.
        """
        try:
            with self._changed:
                _say(self._socket, spare=pid, run_id=run_id)
        except OSError as error:
            raise NoSpare from error

    def close(self) -> None:
        """Let the spares end. Runs go on, and it is still told what becomes of them."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _listen(self) -> None:
        with self._socket, self._socket.makefile("rb") as lines, suppress(ConnectionError):
            for line in lines:
                match json.loads(line):
                    case {"stands": pid}:
                        with self._changed:
                            self._standing.append(pid)
                            self._changed.notify()
                    case {"ended": pid, "code": code}:
                        with self._changed:
                            stood = pid in self._standing
                            if stood:
                                self._standing.remove(pid)
                        if not stood:
                            self._tell_end(pid, code)
        self._fork_server.wait()
        with self._changed:
            self._ended = True
            self._standing.clear()
            self._changed.notify_all()

    def _tell_end(self, pid: int, code: int) -> None:
        try:
            self._on_end(pid, code)
        except Exception:
            # Its heartbeat will tell, too. Here it is listened on.
            _log.exception("process %d has ended with %d, which could not be reported", pid, code)


class _ForkServer:
    """The process that forks spares. It has one thread, as what forks must have."""

    def __init__(self, launcher: socket.socket, number: int) -> None:
        self._launcher = launcher
        self._number = number
        self._instance: InstanceRef | None = None
        self._unread = b""
        self._pipes: dict[int, int] = {}  # pid of a spare → where it is told its run
        self._running: set[int] = set()
        self._open = True
        self._pause: float | None = None  # seconds until a spare that died is replaced

    def serve(self) -> None:
        """Keep spares until the launcher has gone and no run is left. It returns in spares, too."""
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it wakes; `_reap` does the rest
        with selectors.DefaultSelector() as selector:
            selector.register(woken, selectors.EVENT_READ, lambda: os.read(woken, _READ_BYTES))
            selector.register(self._launcher, selectors.EVENT_READ, self._hear)
            while self._open or self._running:
                while self._may_fork():
                    if not self._fork():
                        return
                ready = selector.select(self._pause)
                self._pause = None
                for key, _ in ready:
                    key.data()
                self._reap()
                if not self._open and self._launcher in selector.get_map():
                    selector.unregister(self._launcher)

    def _may_fork(self) -> bool:
        told = self._open and self._instance is not None
        return told and self._pause is None and len(self._pipes) < self._number

    def _fork(self) -> bool:
        """Fork a spare; return True here, and False there, when its run has ended."""
        mine, theirs = os.pipe()
        if pid := os.fork():
            os.close(mine)
            self._pipes[pid] = theirs
            return True
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for pipe in (theirs, *self._pipes.values()):  # else others would not see theirs end
            os.close(pipe)
        with os.fdopen(mine) as told:
            _be_spare(check.not_none(self._instance), self._launcher, told)
        return False

    def _hear(self) -> None:
        heard = b""
        with suppress(ConnectionError):  # it was killed
            heard = self._launcher.recv(_READ_BYTES)
        self._open = bool(heard)
        *lines, self._unread = (self._unread + heard).split(b"\n")
        for line in lines:
            match json.loads(line):
                case {"instance": ref}:
                    self._instance = deserialize_value(ref, InstanceRef)
                case {"spare": pid, "run_id": run_id} if pid in self._pipes:
                    self._running.add(pid)
                    with suppress(BrokenPipeError), os.fdopen(self._pipes.pop(pid), "w") as spare:
                        spare.write(run_id)
                case _:  # it has died, which has been said
                    pass
        if not self._open:
            for pipe in self._pipes.values():
                os.close(pipe)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = ended
                self._running.discard(pid)
                if pipe := self._pipes.pop(pid, None):
                    os.close(pipe)
                    self._pause = _PAUSE_SECONDS  # as the next one may, where a database is away
                with suppress(OSError):  # the launcher has gone
                    _say(self._launcher, ended=pid, code=os.waitstatus_to_exitcode(status))


def _be_spare(ref: InstanceRef, launcher: socket.socket, told: TextIO) -> None:
    """Open what a run needs, say so, and execute the run that is told, if one is."""
    from dagster._cli.api import _execute_run_command_body  # all that `dagster api` adds is argv

    setproctitle("musehub-pipeline spare")
    with dg.DagsterInstance.from_ref(ref) as instance:
        instance.get_run_by_id("none")  # what is asked once about Dagster's tables is asked now
        with launcher, suppress(OSError):
            _say(launcher, stands=os.getpid())
        if run_id := told.read():
            setproctitle(f"{RUN_TITLE} {run_id}")
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with capture_interrupts():
                _execute_run_command_body(
                    run_id, instance, lambda _: None, set_exit_code_on_failure=False
                )


def _say(connection: socket.socket, **said: int | str) -> None:
    connection.sendall(f"{json.dumps(said)}\n".encode())


def rehearse() -> None:
    """Do what a process does in its first run, for all spares: import the rest, build, compile."""
    migrate.latest()
    for job in importlib.import_module(DEFINITIONS).defs.get_repository_def().get_all_jobs():
        job.get_job_snapshot_id()

    @dg.op
    def play() -> None:
        pass

    @dg.job
    def rehearsal() -> None:
        play()

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        rehearsal.execute_in_process(instance=instance, run_config=quiet)


def _main(descriptor: str, number: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's
    share_what_is_free()
    for module in _LOADED:
        importlib.import_module(module)
    rehearse()
    setproctitle("musehub-pipeline forkserver")
    gc.freeze()  # what is shared stays shared
    _ForkServer(socket.socket(fileno=int(descriptor)), int(number)).serve()


if __name__ == "__main__":
    _main(*sys.argv[1:])
