"""Ninety days of a busy hub's runs in Dagster's tables: what is pruned every night, and the UI."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import LiteralString, cast
from unittest.mock import patch

import dagster as dg
import psycopg
from psycopg import sql

from musehub_pipeline.orchestration.instance import (
    code_locations,
    dagster_instance,
    use_dagster_home,
)
from musehub_pipeline.orchestration.prune_history import prune_runs
from musehub_pipeline_tests.acceptance.browser import Browser, open_browser
from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.benchmarks.bench import Bench
from musehub_pipeline_tests.benchmarks.figures import Figure, Pair, amount, growth, seconds
from musehub_pipeline_tests.benchmarks.lone_push import push_alone, running_dev

_DAYS = 90
_KEPT_DAYS = 30
_RUNS_A_DAY = 1_728  # a hundredth of two a second, as ten pushes a second have
_LOOKS = 5
_PAGE_SECONDS = 2
_BARS = 9

_COLUMNS: LiteralString = """
    SELECT column_name, data_type FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = %s AND column_name <> 'id'
    ORDER BY ordinal_position
"""
_WITH_RUNS: LiteralString = """
    SELECT table_name FROM information_schema.columns
    WHERE table_schema = 'public' AND column_name = 'run_id'
    ORDER BY table_name = 'runs' DESC, table_name
"""


def ninety_days(bench: Bench) -> Iterator[Figure]:
    """Add a day's runs and prune, ninety times; then open pages in a browser."""
    runs_a_day = bench.some(_RUNS_A_DAY)
    with running_dev(bench) as dev, patch.dict(os.environ):
        push_alone(dev, "song")
        use_dagster_home(dev.hub.settings)
        with (
            dagster_instance() as instance,
            psycopg.connect(dev.dagster_database_url, autocommit=True) as connection,
        ):
            history = _History(instance, connection)
            before = _pages(bench, dev, history.run_id)
            sizes, nights = [history.size_bytes()], list[float]()
            for day in range(_DAYS):
                history.add(runs_a_day, age=timedelta(days=_DAYS - 1 - day))
                older_than = timedelta(days=_KEPT_DAYS + _DAYS - 1 - day)
                nights.append(seconds(lambda older_than=older_than: history.prune(older_than)))
                sizes.append(history.size_bytes())
            after = _pages(bench, dev, history.run_id)
    what = f"{_DAYS} days with {runs_a_day:,} runs each, of which {_KEPT_DAYS} are kept"
    size = growth(
        "history_size",
        f"{what}: Dagster's database, against what it had after {_KEPT_DAYS} days",
        [Pair(sizes[-1] / 1e6, sizes[_KEPT_DAYS] / 1e6)],
        limit=1.25,
    )
    yield replace(size, unit="MB")
    yield amount(
        "history_night",
        f"{what}: a night's pruning",
        [Pair(night, 0) for night in nights[_KEPT_DAYS + 1 :]],
        unit="s",
        limit=None,
        note=f"{runs_a_day / (sum(nights[-10:]) / 10):.0f} runs a second",
    )
    for name, page in (("list", "the list of runs"), ("run", "the page of a run")):
        yield amount(
            f"history_{name}_page",
            f"{what}: {page} in a browser, beside that of an empty history",
            [Pair(*pair) for pair in zip(after[name], before[name], strict=True)],
            unit="s",
            limit=_PAGE_SECONDS,
        )


def _pages(bench: Bench, dev: Dev, run_id: str) -> dict[str, list[float]]:
    """Open each page some times; return how long it took until it showed what it is for."""
    folder = bench.new_folder("browser")
    taken: dict[str, list[float]] = {"list": [], "run": []}
    with open_browser(url=dev.url, pictures=folder / "pictures", home=folder) as browser:
        for number in range(_LOOKS + 1):
            looks = {
                "list": seconds(lambda: _list_of_runs(browser)),
                "run": seconds(lambda: _run(browser, run_id)),
            }
            for name, look in looks.items():
                if number:  # the first has to load the UI itself
                    taken[name].append(look)
    return taken


def _list_of_runs(browser: Browser) -> None:
    browser.open("/runs")
    browser.page.get_by_role("link", name="index_mpacks").first.wait_for()


def _run(browser: Browser, run_id: str) -> None:
    browser.open(f"/runs/{run_id}")
    browser.bars(_BARS)


class _History:
    """The runs of a Dagster, and copies of one of them."""

    def __init__(
        self, instance: dg.DagsterInstance, connection: psycopg.Connection[tuple[object, ...]]
    ) -> None:
        self._instance = instance
        self._connection = connection
        [run] = instance.get_runs(limit=1)
        while not run.is_finished:
            time.sleep(0.1)
            [run] = instance.get_runs(limit=1)
        self.run_id = run.run_id
        self._tables = [str(name) for (name,) in connection.execute(_WITH_RUNS)]

    def add(self, runs: int, *, age: timedelta) -> None:
        """Add copies of the run, with all its events, spread over a day that ended so long ago."""
        with self._connection.transaction():
            self._connection.execute(
                "CREATE TEMPORARY TABLE copies ON COMMIT DROP AS"
                " SELECT gen_random_uuid()::text AS run_id,"
                "   now() - %s - random() * interval '1 day' AS moment"
                " FROM generate_series(1, %s)",
                [age, runs],
            )
            for table in self._tables:
                self._copy(table)

    def _copy(self, table: str) -> None:
        columns = self._connection.execute(_COLUMNS, [table]).fetchall()
        names, values = list[sql.Composable](), list[sql.Composable]()
        for name, kind in columns:
            column = sql.Identifier("original", str(name))
            names.append(sql.Identifier(str(name)))
            if kind in {"text", "character varying"}:
                values.append(sql.SQL("replace({}, {}, copies.run_id)").format(column, self.run_id))
            elif str(kind).startswith("timestamp"):
                values.append(sql.SQL("copies.moment"))
            elif name in {"start_time", "end_time"}:
                values.append(sql.SQL("extract(epoch FROM copies.moment)"))
            else:
                values.append(column)
        self._connection.execute(
            sql.SQL(
                "INSERT INTO {table} ({names}) SELECT {values}"
                " FROM copies, {table} AS original WHERE original.run_id = {run_id}"
            ).format(
                table=sql.Identifier(table),
                names=sql.SQL(", ").join(names),
                values=sql.SQL(", ").join(values),
                run_id=self.run_id,
            )
        )

    def prune(self, older_than: timedelta) -> None:
        """Prune as every night, and clean up as autovacuum would."""
        prune_runs(self._instance, code_locations(None), older_than=older_than)
        self._connection.execute("VACUUM ANALYZE")

    def size_bytes(self) -> int:
        """Return what Dagster's database takes."""
        [size] = self._connection.execute(
            "SELECT pg_database_size(current_database())"
        ).fetchone() or [0]
        return cast("int", size)
