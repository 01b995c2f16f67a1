"""How runs begin on one machine: in spare processes, and live ones without a wait in the queue.

dagster.yaml names both classes. Where there is no spare, they are Dagster's own.
"""

import os
import signal
import socket
import sys
from contextlib import suppress
from threading import Lock
from typing import Any

import dagster as dg
import psutil
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.errors import DagsterCodeLocationLoadError, DagsterUserCodeUnreachableError
from dagster._core.launcher import (
    CheckRunHealthResult,
    LaunchRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES
from dagster._serdes import ConfigurableClassData

from musehub_pipeline.domain.errors import SettingsError
from musehub_pipeline.domain.run_requests import LANE_TAG, LIVE
from musehub_pipeline.orchestration.instance import PROCESS_TAG
from musehub_pipeline.orchestration.spares import DEFINITIONS, NoSpare, Spares
from musehub_pipeline.settings import Settings

_SENSOR_LOOP_SECONDS = 0.5
_SAME_SECONDS = 2  # start times of a process may differ by this: its clock may have been set


class SpareRunLauncher(dg.DefaultRunLauncher):
    """Launches a run in a spare process; without a spare, or for other locations, as Dagster does.

    The spares are loaded when the first run is launched. They are loaded anew when the code
    location is, which shows by another id of its server.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._lock = Lock()
        self._spares: Spares | None = None
        self._server_id: str | None = None
        self._runs: dict[int, str] = {}  # pid → run id

    def launch_run(self, context: LaunchRunContext) -> None:
        """Begin a run that has been created."""
        run_id = context.dagster_run.run_id
        try:
            self._launch_in_spare(run_id, self._current(context))
        except NoSpare:
            run = self._instance.get_run_by_id(run_id)
            if run and PROCESS_TAG in run.tags:
                # Of a spare that died, or of the run that this one repeats.
                self._instance.add_run_tags(run_id, {PROCESS_TAG: ""})
            super().launch_run(context)

    def is_ready(self) -> bool:
        """Tell whether a run would be launched at once, and without the code server."""
        return self._spares is not None and self._spares.stand

    def terminate(self, run_id: str) -> bool:
        """Tell a run to stop, whichever process of this machine has launched it."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or not run.tags.get(PROCESS_TAG):
            return super().terminate(run_id)
        process = _process_of(run)
        if process is None:
            return False
        self._instance.report_run_canceling(run)
        with suppress(psutil.NoSuchProcess):
            process.terminate()
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether Dagster may ask for the health of a run."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell whether a run's process is alive; of what runs elsewhere, its heartbeat tells."""
        ours = run.tags.get(PROCESS_TAG, "").startswith(f"{socket.gethostname()} ")
        if ours and _process_of(run) is None:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process is gone")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def dispose(self) -> None:
        """Let the spares end."""
        if self._spares is not None:
            self._spares.close()

    def _current(self, context: LaunchRunContext) -> Spares:
        """Return spares that have loaded what the run's code location has."""
        if not _is_ours(context.dagster_run):
            raise NoSpare
        server_id = _server_id(context)
        with self._lock:
            if self._spares and not self._spares.ended and server_id in {None, self._server_id}:
                return self._spares
            self.dispose()
            number = _wanted()
            self._spares = Spares(number, self._instance, on_end=self._note_end) if number else None
            self._server_id = server_id
            raise NoSpare  # none stands for seconds

    def _launch_in_spare(self, run_id: str, spares: Spares) -> None:
        pid = spares.take()
        self._runs[pid] = run_id
        try:
            self._instance.add_run_tags(run_id, {PROCESS_TAG: _named(pid)})
            spares.begin(pid, run_id)
        except (psutil.NoSuchProcess, NoSpare) as error:
            if self._runs.pop(pid, None):  # else its end has been noted, and the run has failed
                raise NoSpare from error

    def _note_end(self, pid: int, code: int) -> None:
        """Report a run whose process has ended and has not said what became of it."""
        run_id = self._runs.pop(pid, None)
        if run_id is None or not self.has_instance:
            return
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        message = f"The run's process has ended with {how}."
        if run.status == dg.DagsterRunStatus.CANCELING:
            self._instance.report_run_canceled(run, message)
        else:
            self._instance.report_run_failed(run, message)


class LaneRunCoordinator(dg.QueuedRunCoordinator):
    """Launches live runs at once, where there is room and that takes no time; it queues others."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        # Dagster looks at its sensors every 5 s, and no setting says otherwise: a push that came
        # between two ticks of ours would wait for that.
        if daemon := sys.modules.get("dagster._daemon.sensor"):
            daemon.__dict__.update(MIN_INTERVAL_LOOP_TIME=_SENSOR_LOOP_SECONDS)

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Launch a run, or enqueue it."""
        run = context.dagster_run
        launcher = self._instance.run_launcher
        if (
            run.tags.get(LANE_TAG) == LIVE
            and run.status == dg.DagsterRunStatus.NOT_STARTED
            and _is_ready(launcher)
            and self._has_room()
        ):
            return self._instance.launch_run(run.run_id, context.workspace)
        return super().submit_run(context)

    def _has_room(self) -> bool:
        most = self.get_run_queue_config().max_concurrent_runs
        under_way = dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES)
        return most < 0 or self._instance.get_runs_count(under_way) < most


def _is_ready(launcher: RunLauncher) -> bool:
    """Tell whether it launches at once: into a spare, or to others, as Celery's workers."""
    if isinstance(launcher, SpareRunLauncher):
        return launcher.is_ready()
    return not isinstance(launcher, dg.DefaultRunLauncher)


def _wanted() -> int:
    try:
        return Settings.load().spare_runs
    except SettingsError:  # which the run will say
        return 0


def _is_ours(run: dg.DagsterRun) -> bool:
    """Tell whether a run needs what the spares have loaded, by the interpreter that loaded it."""
    origin = run.job_code_origin
    if origin is None or not hasattr(os, "fork"):
        return False
    repository = origin.repository_origin
    pointer = repository.code_pointer
    return (
        isinstance(pointer, ModuleCodePointer)
        and pointer.module == DEFINITIONS
        and repository.executable_path == sys.executable
    )


def _server_id(context: LaunchRunContext) -> str | None:
    """Return which server has loaded the code location of a run; None where that cannot be said."""
    origin = context.dagster_run.remote_job_origin
    if context.workspace is None or origin is None:
        return None
    with suppress(DagsterUserCodeUnreachableError, DagsterCodeLocationLoadError):
        name = origin.repository_origin.code_location_origin.location_name
        location = context.workspace.get_code_location(name)
        if isinstance(location, GrpcServerCodeLocation):
            return location.server_id
    return None


def _named(pid: int) -> str:
    return f"{socket.gethostname()} {pid} {psutil.Process(pid).create_time():.0f}"


def _process_of(run: dg.DagsterRun) -> psutil.Process | None:
    """Return the process of a run; None where it is gone, or on another machine."""
    host, pid, began = run.tags[PROCESS_TAG].rsplit(" ", 2)
    if host != socket.gethostname():
        return None
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(began)) <= _SAME_SECONDS
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None
