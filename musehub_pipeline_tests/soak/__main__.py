"""A hub under load and under fire: ``python -m musehub_pipeline_tests.soak [--minutes N]``.

Pushes of all kinds go to `musehub-pipeline dev` and to a worker beside it, on PostgreSQL and on
Ceph behind a proxy. Meanwhile runs are killed, connections are cut, and storage fails. Every minute
`fsck` looks. In the end each push must have ended as it had to, and no process may have grown. The
exit code is 1 where anything is otherwise.
"""

import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import psutil
import psycopg
import typer
from rich.console import Console
from rich.table import Table

from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.acceptance.dev import RUN, Dev
from musehub_pipeline_tests.cli.terminal import finish
from musehub_pipeline_tests.conftest import bare_environment, s3_settings, settings_of
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.servers import ceph, debian, faults
from musehub_pipeline_tests.servers.faulty_s3 import Ask, FaultyS3, Reply, Request, sound
from musehub_pipeline_tests.servers.postgres import Postgres
from musehub_pipeline_tests.soak.gauges import Gauge, Gauges
from musehub_pipeline_tests.soak.pushes import Pushes

_LOOK_SECONDS = 5
_FSCK_SECONDS = 60
_HARM_SECONDS = 15
_STORAGE_SECONDS = 5
_SETTLE_SECONDS = 600
_ROLES = {
    "daemon": "dagster._daemon|dagster-daemon",
    "code server": "api grpc",
    "UI": "dagster_webserver|dagster-webserver",
    "fork server": "musehub-pipeline forkserver",
}
_STORAGE_FAULTS = (
    faults.busy,
    faults.reset,
    faults.cut_off,
    faults.hung_up,
    faults.unanswered,
    faults.spoiled,
)


class Soak:
    """A hub, what works for it, and what is done to both."""

    def __init__(self, dev: Dev, storage: FaultyS3, *, repos: int, seed: int) -> None:
        self.pushes = Pushes(dev.hub, repos=repos, seed=seed)
        self.gauges = Gauges()
        self.harm: Counter[str] = Counter()
        self.checks: Counter[str] = Counter()
        self.breaches: list[dict[str, Any]] = []
        self._dev = dev
        self._storage = storage
        self._dice = random.Random(seed)
        self._worker = dev.start_beside("index", "--watch")

    def load(self, *, seconds: float, per_second: float, say: Callable[[str], None]) -> None:
        """Push, harm, check and look, for so long."""
        start = time.monotonic()
        due = {
            self.pushes.push: 1 / per_second,
            self._look: _LOOK_SECONDS,
            self._do_harm: _HARM_SECONDS,
            self._check: _FSCK_SECONDS,
            lambda: say(self._standing(start)): _FSCK_SECONDS,
        }
        at = dict.fromkeys(due, start)
        while (now := time.monotonic()) < start + seconds:
            for act, pause in due.items():
                if now >= at[act]:
                    act()
                    at[act] = max(at[act] + pause, now)
            time.sleep(max(0.0, min(at.values()) - time.monotonic()))

    def settle(self) -> None:
        """Do no more harm, and wait until all that was pushed has ended; then look once more."""
        self._storage.fault = sound
        self._dev.wait(self._has_settled, seconds=_SETTLE_SECONDS)
        self._check()

    def _has_settled(self) -> bool:
        return self._dev.statuses().keys() <= {"done", "failed"}

    def _standing(self, start: float) -> str:
        return f"{time.monotonic() - start:.0f} s: {self._dev.statuses()}, {dict(self.harm)}"

    def _look(self) -> None:
        processes = {"worker": psutil.Process(self._worker.pid)}
        for role, title in _ROLES.items():
            for process in self._dev.processes(title)[:1]:
                processes[role] = process
        self.gauges.read(processes, str(self._dev.hub.settings.database_url))

    def _do_harm(self) -> None:
        kinds = (self._kill_a_run, self._kill_the_worker, self._cut_connections, self._fail_storage)
        kind = self._dice.choices(kinds, (5, 1, 3, 5))[0]
        self._storage.fault = sound
        kind()
        self.harm[kind.__name__.strip("_").replace("_", " ")] += 1

    def _kill_a_run(self) -> None:
        for process in self._dev.processes(RUN)[:1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _kill_the_worker(self) -> None:
        self._worker.kill()
        self._worker = self._dev.start_beside("index", "--watch")

    def _cut_connections(self) -> None:
        with psycopg.connect(str(self._dev.hub.settings.database_url)) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def _fail_storage(self) -> None:
        """Have a third of all requests fail in one way, until a while has gone by."""
        fault, dice = self._dice.choice(_STORAGE_FAULTS), self._dice
        until = time.monotonic() + _STORAGE_SECONDS

        def fail(request: Request, ask: Ask) -> Reply | None:
            failing = time.monotonic() < until and dice.random() < 1 / 3
            return (fault if failing else sound)(request, ask)

        self._storage.fault = fail

    def _check(self) -> None:
        """Look for breaches, while storage is sound; connections may be cut meanwhile."""
        self._storage.fault = sound
        self._storage.asked.clear()
        ended = finish(self._dev.start_beside("fsck", "--json"))
        if ended.code in {0, 3}:
            found: list[dict[str, Any]] = ended.json["breaches"]
            self.breaches += found
            self.checks["breached" if found else "sound"] += 1
        else:
            self.checks[ended.err.strip()[-200:]] += 1


@contextmanager
def _soaking(folder: Path, *, repos: int, seed: int) -> Iterator[Soak]:
    with ExitStack() as stack:
        stack.enter_context(bare_environment())
        postgres = stack.enter_context(Postgres())
        server = stack.enter_context(ceph.CephS3())
        storage = stack.enter_context(FaultyS3(server, sound))
        database_url = postgres.create_database("soak")
        with Database(database_url) as database:
            migrate.upgrade(database)
        hub = Hub(s3_settings(settings_of(database_url, folder), server))
        dev = Dev(
            hub,
            folder,
            **storage.aws_environment(),
            MUSEHUB_MAX_KILLS=1_000,  # which are many, and no push's fault
            MUSEHUB_READ_AGAIN_SECONDS=30,
            MUSEHUB_RETRY_CAP_SECONDS=10,
        )
        stack.callback(dev.end)
        dev.start()
        yield Soak(dev, storage, repos=repos, seed=seed)


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long pushes come.")] = 10,
    rate: Annotated[float, typer.Option(min=0.1, max=50, help="Pushes a second.")] = 3,
    repos: Annotated[int, typer.Option(min=1, help="Repositories that are pushed to.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the dice.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Keep a hub under load and under fire, and look what becomes of it."""
    debian.require(ceph.missing_packages())
    err = Console(stderr=True, highlight=False)
    with (
        tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder,
        _soaking(Path(folder), repos=repos, seed=seed) as soak,
    ):
        soak.load(seconds=minutes * 60, per_second=rate, say=err.print)
        soak.settle()
        mistakes, gauges = soak.pushes.mistakes(), soak.gauges.all()
    grown = [gauge for gauge in gauges if gauge.grew]
    found = {
        "seed": seed,
        "minutes": minutes,
        "pushes": dict(soak.pushes.kinds),
        "harm": dict(soak.harm),
        "fsck": dict(soak.checks),
        "breaches": soak.breaches,
        "mistakes": mistakes,
        "grown": [gauge.name for gauge in grown],
        "gauges": [asdict(gauge) for gauge in gauges],
    }
    if as_json:
        json.dump(found, sys.stdout, indent=2)
    else:
        _show(found, gauges)
    if mistakes or grown or soak.breaches or not soak.checks["sound"]:
        raise typer.Exit(1)


def _show(found: dict[str, Any], gauges: list[Gauge]) -> None:
    out = Console(highlight=False)
    for name, value in found.items():
        if name != "gauges":
            out.print(f"{name}: {value}", soft_wrap=True)
    table = Table("", "unit", "second quarter", "last quarter", "")
    for gauge in gauges:
        grew = "grew" if gauge.grew else ""
        table.add_row(gauge.name, gauge.unit, f"{gauge.before:.1f}", f"{gauge.after:.1f}", grew)
    out.print(table)


if __name__ == "__main__":
    typer.run(main)
