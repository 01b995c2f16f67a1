"""`musehub-pipeline dev` as an operator runs it, on a database and a directory of the test."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy import make_url

from musehub_pipeline.audit.fsck import Breach
from musehub_pipeline.postgres.schema import metadata
from musehub_pipeline_tests.audit.checking import check
from musehub_pipeline_tests.cli.terminal import PROGRAM
from musehub_pipeline_tests.hub import Hub

_FOLDER = files("musehub_pipeline.orchestration")
_START_SECONDS = 180
_STOP_SECONDS = 60
_DEQUEUE = "dequeue_interval_seconds: {}\n"
_IMPATIENT = """
scheduler:
  module: musehub_pipeline_tests.acceptance.impatience
  class: ImpatientScheduler
"""
LEASE_SECONDS = 5
RUN = "musehub-pipeline run|multiprocessing.spawn"
"""What the command line of a run's process holds: that of a spare, or one of Dagster's own."""
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
"""What Dagster calls runs that are over."""
_OVER = {"done", "failed"}
_DAGSTERS_PAST = (
    *("runs", "run_tags", "event_logs", "bulk_actions", "backfill_tags"),
    *("asset_keys", "asset_event_tags", "asset_check_executions"),
)
_OF_TESTS = """
    DROP FUNCTION IF EXISTS stop, note, interfere CASCADE;
    DROP TABLE IF EXISTS stops, published;
"""


class Dev:
    """The UI, the daemon and the code server, in processes of their own."""

    def __init__(
        self, hub: Hub, folder: Path, *, records: str = "dagster", **variables: object
    ) -> None:
        self.hub = hub
        url = make_url(str(hub.settings.database_url))
        beside = url.set(database=f"{url.database}_{records}")
        self.dagster_database_url = beside.render_as_string(hide_password=False)
        self.environment = dict(os.environ) | {
            "MUSEHUB_HOME": str(folder / "home"),
            "MUSEHUB_DATABASE_URL": str(hub.settings.database_url),
            "MUSEHUB_STORAGE_URL": str(hub.settings.storage_url),
            "MUSEHUB_LEASE_SECONDS": str(LEASE_SECONDS),
            **{name: str(value) for name, value in variables.items()},
        }
        self.url = ""
        self._dagster_home = folder / "home" / "dagster"
        self._log = folder / "dev.log"
        self._log.touch()
        self._process: subprocess.Popen[bytes] | None = None
        self._beside: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        """Start it and wait until the UI answers."""
        self.begin_to_start()
        self.wait_until_started()

    def begin_to_start(self) -> None:
        """Start it, and do not wait."""
        self._configure()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "dev", "--port", str(port)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_started(self) -> None:
        """Wait until the UI answers."""
        self.wait(self._answers, seconds=_START_SECONDS)

    def _configure(self) -> None:
        parts = [_FOLDER.joinpath(name).read_text() for name in ("dagster.yaml", "storage.yaml")]
        self._dagster_home.mkdir(parents=True, exist_ok=True)
        patient = "".join([*parts, _IMPATIENT])
        assert _DEQUEUE.format(2) in patient
        (self._dagster_home / "dagster.yaml").write_text(
            patient.replace(_DEQUEUE.format(2), _DEQUEUE.format(1))
        )

    def begin_anew(self) -> None:
        """Run as if nothing had been pushed before, to this hub or any other.

        It is started where it does not run, for it is the first time or the last test failed.
        """
        _forget(str(self.hub.settings.database_url), metadata.tables)
        for place in _folder_of(self.hub).iterdir():
            shutil.rmtree(place)
        if not self.lives():
            self.start()
        _forget(self.dagster_database_url, _DAGSTERS_PAST)

    def lives(self) -> bool:
        """Tell whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def settle(self) -> None:
        """Wait until every job has ended, and every run."""
        self.wait(self._is_idle, seconds=180)

    def _is_idle(self) -> bool:
        runs = {run["status"] for run in self.records("SELECT status FROM runs")}
        return self.statuses().keys() <= _OVER and runs <= ENDED and not self.processes(RUN)

    def start_beside(
        self, *arguments: object, through: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        """Start a command on the same settings, `through` another one where that is given."""
        process = subprocess.Popen(
            [*through, PROGRAM, *map(str, arguments)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._beside.append(process)
        return process

    def breaches(self) -> list[Breach]:
        """Return what `fsck` finds."""
        found, _ = check(self.hub)
        return found

    def _answers(self) -> bool:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{self.url}/server_info", timeout=10)
            return True
        return False

    def kill(self, running: str) -> None:
        """Kill those of its processes whose command line holds what matches that."""
        assert self._process is not None
        victims = self.processes(running)
        if not running:
            victims.append(psutil.Process(self._process.pid))
        assert victims
        for process in victims:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def wait_until_ended(self) -> None:
        """Wait until it has ended, as it does without its daemon."""
        assert self._process is not None
        self._process.wait(_STOP_SECONDS)

    def tell_to_stop(self) -> None:
        """Send SIGTERM."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Tell it to stop, and return its exit code."""
        assert self._process is not None
        self.tell_to_stop()
        return self._process.wait(_STOP_SECONDS)

    def end(self) -> None:
        """Leave nothing behind, whatever became of the test."""
        if self._process is not None and self.lives():
            for group in psutil.Process(self._process.pid).children():
                with suppress(ProcessLookupError):
                    os.killpg(group.pid, signal.SIGKILL)  # with runs whose code server has died
            self._process.kill()
            self._process.wait()
        for process in self._beside:
            with process:  # closes its pipes
                process.kill()  # one that has ended is left alone

    def processes(self, running: str) -> list[psutil.Process]:
        """Return those of its processes whose command line holds what matches that."""
        found: list[psutil.Process] = []
        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if re.search(running, " ".join(child.cmdline())):
                        found.append(child)
        return found

    def wait(self, until: Callable[[], bool], *, seconds: float) -> None:
        """Wait until something is so; fail with the end of the log where it does not come about."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                message = f"waited {seconds} s in vain\n{self.statuses()}\n{self.log()[-4000:]}"
                raise AssertionError(message)
            time.sleep(0.2)

    def log(self) -> str:
        """Return what its processes have written to stdout and stderr."""
        return self._log.read_text(errors="replace")

    def statuses(self) -> dict[str, int]:
        """Return how many jobs there are of each status."""
        rows = self.hub.sql(
            "SELECT status, count(*) AS jobs FROM musehub_background_jobs GROUP BY status"
        )
        return {row["status"]: row["jobs"] for row in rows}

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return what the UI's server answers to a question of GraphQL."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as refusal:  # it has errors, too
            raise AssertionError(refusal.read()) from refusal
        assert "errors" not in told, told
        return told["data"]

    def runs(self, job: str = "index_mpacks") -> list[dict[str, Any]]:
        """Return Dagster's runs of a job: run_id, status, tags, and their times."""
        return self.records(
            "SELECT run_id, status, run_body::jsonb -> 'tags' AS tags,"
            "   create_timestamp AT TIME ZONE 'UTC' AS requested_at,"
            "   to_timestamp(start_time) AS started_at, to_timestamp(end_time) AS ended_at"
            " FROM runs WHERE pipeline_name = %(job)s ORDER BY id",
            job=job,
        )

    def said(self, run_id: str) -> list[str]:
        """Return what a run has put into Dagster's log itself, oldest first."""
        rows = self.records(
            "SELECT event::jsonb ->> 'user_message' AS line FROM event_logs"
            " WHERE run_id = %(run_id)s AND dagster_event_type IS NULL ORDER BY id",
            run_id=run_id,
        )
        return [row["line"] for row in rows]

    def records(self, statement: LiteralString, **parameters: str) -> list[dict[str, Any]]:
        """Return what Dagster's own database answers."""
        with psycopg.connect(self.dagster_database_url, row_factory=dict_row) as connection:
            return connection.execute(statement, parameters).fetchall()


def _forget(database_url: str, tables: Iterable[str]) -> None:
    """Delete the rows of tables, and what tests have put into a database beside them."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_OF_TESTS)
        connection.execute("SET session_replication_role = replica")  # foreign keys do not matter
        for table in tables:
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


def _folder_of(hub: Hub) -> Path:
    return Path(urlsplit(str(hub.settings.storage_url)).path)
