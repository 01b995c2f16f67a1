"""`dev`: the Dagster UI and daemon in the foreground."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import psutil
import typer

from musehub_pipeline import local
from musehub_pipeline.cli.console import out
from musehub_pipeline.domain.errors import PipelineError
from musehub_pipeline.settings import Settings

_HOST = "127.0.0.1"
_RUNS_STOP_SECONDS = 10
_STOP_SECONDS = 5
_POLL_SECONDS = 0.2
_LOOK_SECONDS = 5


class PortTaken(PipelineError):
    """The port of the UI is in use."""


def dev(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the UI.")] = 3000,
) -> None:
    """Run the Dagster UI and daemon on loopback, with embedded services if none are configured.

    It runs in the foreground; Ctrl-C or SIGTERM stops all of it.
    """
    from musehub_pipeline.orchestration.instance import restore_records, use_dagster_home, workspace

    _check_port(port)
    settings = local.resolve(Settings.load())
    home = use_dagster_home(settings)
    # Dagster warns about its own commands.
    environment = local.environment(settings) | {"PYTHONWARNINGS": "ignore"}
    out.print(f"the UI will be on http://{_HOST}:{port}; runs are kept in {home}")
    command = [sys.executable, "-m", "dagster", "dev", "--host", _HOST, "--port", str(port)]
    command += ["--workspace", str(workspace())]
    look_after = partial(restore_records, settings)
    raise typer.Exit(_run_group(command, environment, folder=home, look_after=look_after))


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise PortTaken(f"port {port} of {_HOST}: {error.strerror}; try --port") from error


def _run_group(
    command: list[str], environment: dict[str, str], *, folder: Path, look_after: Callable[[], None]
) -> int:
    """Run a command in a process group of its own until it ends or this process is told to.

    Meanwhile `look_after` is called again and again.
    """
    told_to_stop = threading.Event()
    # Caught before the child starts: signals that are ignored here would be ignored there too.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    process = subprocess.Popen(command, env=environment, cwd=folder, start_new_session=True)
    looks = (look_after, _CodeServer(process).end_if_dead)
    threading.Thread(target=_repeat, args=(looks, told_to_stop), daemon=True).start()
    try:
        while not told_to_stop.wait(_POLL_SECONDS):
            if (code := process.poll()) is not None:
                return code
        _stop(process)
    finally:
        _end_runs(process)  # where it has ended by itself
        _kill_group(process)
    return 0


def _repeat(looks: Iterable[Callable[[], None]], told_to_stop: threading.Event) -> None:
    while not told_to_stop.wait(_LOOK_SECONDS):
        for look in looks:
            with suppress(PipelineError):  # the server is away; Dagster says so itself
                look()


class _CodeServer:
    """Dagster's code server: a process that hands on what it is asked to another one.

    Dagster starts the former anew where it dies, and never the latter: then no run would start.
    """

    def __init__(self, dagster: subprocess.Popen[bytes]) -> None:
        self._dagster = dagster
        self._served: set[int] = set()

    def end_if_dead(self) -> None:
        """End what has nobody left to hand on to, so that Dagster starts both."""
        for front in _descendants(self._dagster, running="dagster code-server start"):
            if _descendants(front, running="dagster api grpc"):
                self._served.add(front.pid)
            elif front.pid in self._served:
                with suppress(psutil.NoSuchProcess):
                    front.kill()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End what has nothing to lose, as runs have."""
    _end_runs(process)
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)


def _end_runs(leader: subprocess.Popen[bytes]) -> None:
    """Let the runs of a group give their leases back, those too whose code server has died."""
    for daemon in _members(leader, running="dagster._daemon"):  # it would start more
        with suppress(psutil.NoSuchProcess):
            daemon.kill()
    told: set[psutil.Process] = set()
    deadline = time.monotonic() + _RUNS_STOP_SECONDS
    while (runs := _runs(leader)) and time.monotonic() < deadline:
        for run in set(runs) - told:
            with suppress(psutil.NoSuchProcess):
                run.terminate()
        told.update(runs)
        psutil.wait_procs(runs, timeout=_POLL_SECONDS)


def _runs(leader: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the runs of a group: those that began in spares, and as Dagster begins them."""
    from musehub_pipeline.orchestration.instance import RUN_TITLE

    return [
        run
        for title in (RUN_TITLE, "multiprocessing.spawn")
        for run in _members(leader, running=title)
    ]


def _members(leader: subprocess.Popen[bytes], *, running: str) -> list[psutil.Process]:
    """Return the processes of a group in whose command line that stands."""
    return [
        each
        for each in psutil.process_iter()
        if _group(each) == leader.pid and _is_running(each, running)
    ]


def _group(process: psutil.Process) -> int | None:
    with suppress(ProcessLookupError, PermissionError):
        return os.getpgid(process.pid)
    return None


def _descendants(
    process: subprocess.Popen[bytes] | psutil.Process, *, running: str
) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if _is_running(child, running)]
    return []


def _is_running(process: psutil.Process, command: str) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return command in " ".join(process.cmdline())
    return False


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the group; that Dagster left nothing is the usual case."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
