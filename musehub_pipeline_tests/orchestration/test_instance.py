"""Dagster's records in PostgreSQL: written over few connections, which a restart does not spoil."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.execution.stats import StepEventStatus
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy import make_url

from musehub_pipeline.orchestration.in_process import Runner
from musehub_pipeline.orchestration.instance import (
    RecordsUnavailable,
    dagster_instance,
    use_dagster_home,
)
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.waiting import wait_for


@pytest.fixture
def records(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """A connection to the database of Dagster's home; the home is in the environment."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("MUSEHUB_DAGSTER_DATABASE_URL", "")
    use_dagster_home(hub.settings)
    url = make_url(str(hub.settings.database_url))
    beside = url.set(database=f"{url.database}_dagster").render_as_string(hide_password=False)
    with psycopg.connect(beside, autocommit=True) as connection:
        yield connection


def number(records: psycopg.Connection, query: bytes) -> int:
    [[value]] = records.execute(query).fetchall()
    return value


SESSIONS = b"SELECT sessions FROM pg_stat_database WHERE datname = current_database()"


def test_a_run_does_not_connect_for_each_event(hub: Hub, records: psycopg.Connection) -> None:
    hub.push(hub.create_repo(), small_history().mpack())
    with dagster_instance() as instance:
        runner = Runner(hub.settings, instance)
        before = number(records, SESSIONS)

        runner.run()

    events = number(records, b"SELECT count(*) FROM event_logs")
    time.sleep(1)  # the server counts a session when it has ended
    assert events > 50
    assert 0 < number(records, SESSIONS) - before < 5


def test_the_ui_asks_on_after_its_connections_were_ended(records: psycopg.Connection) -> None:
    @dg.job
    def nothing() -> None: ...

    with dagster_instance() as instance:
        instance.optimize_for_webserver(statement_timeout=5_000, pool_recycle=3_600, max_overflow=9)
        run_id = instance.create_run_for_job(nothing).run_id

        def asks() -> list[object]:
            return [
                instance.get_run_by_id(run_id) is not None,
                instance.all_logs(run_id),
                instance.all_instigator_state(),
            ]

        before = asks()
        ended = number(
            records,
            b"SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
            b" WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        after = asks()

    assert ended >= 3
    assert before == after == [True, [], []]


def test_tables_that_another_process_makes_are_waited_for(
    records: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    records.execute("CREATE TYPE run_tags AS ENUM ()")  # the table's type, not yet the table

    def make() -> int:
        with dagster_instance() as instance:
            return instance.get_runs_count()

    with ThreadPoolExecutor() as beside:
        runs = beside.submit(make)
        wait_for(lambda: "another process" in caplog.text or runs.done())
        records.execute("DROP TYPE run_tags")

        assert runs.result() == 0


def test_what_a_step_says_is_seen_while_it_runs(
    records: psycopg.Connection, tmp_path: Path
) -> None:
    may_end = tmp_path / "may_end"

    @dg.op
    def long_one() -> None:
        wait_for(may_end.exists)

    @dg.job
    def long_job() -> None:
        long_one()

    def began() -> bool:
        return number(records, b"SELECT count(*) FROM event_logs WHERE step_key = 'long_one'") > 0

    with dagster_instance() as instance, ThreadPoolExecutor() as beside:
        run = beside.submit(lambda: long_job.execute_in_process(instance=instance).success)
        try:
            wait_for(began)
        finally:
            may_end.touch()
        assert run.result()


def test_the_records_are_those_that_dagster_writes(hub: Hub, records: psycopg.Connection) -> None:
    result = hub.index(hub.push(hub.create_repo(), small_history().mpack()))

    stored = PostgresEventLogStorage(os.environ["MUSEHUB_DAGSTER_DATABASE_URL"])
    try:
        read = [event.timestamp for event in stored.get_logs_for_run(result["run_id"])]
        stats = stored.get_step_stats_for_run(result["run_id"])
    finally:
        stored.dispose()
    assert read == sorted(read)
    steps = [step for step in stats if step.status == StepEventStatus.SUCCESS]
    assert len(steps) == len(PHASES) + 2


@pytest.mark.parametrize("refused", [False, True], ids=["together", "one by one"])
def test_what_a_run_made_is_stored_as_dagster_stores_it(
    records: psycopg.Connection, refused: bool
) -> None:
    keys = [dg.AssetKey(["it", name]) for name in "cab"]
    tags = {"dagster/data_version": "1"}

    @dg.op
    def make(context: dg.OpExecutionContext) -> None:
        for place, key in enumerate([*keys, *keys]):
            metadata = {"place": place}
            context.log_event(dg.AssetMaterialization(key, metadata=metadata, tags=tags))

    @dg.job
    def making() -> None:
        make()

    with dagster_instance() as instance:
        if refused:
            records.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " IF (SELECT count(*) FROM made) > 1 THEN RAISE 'no'; END IF; RETURN NULL; END $$"
            )
            records.execute(
                "CREATE TRIGGER alone AFTER INSERT ON event_logs REFERENCING NEW TABLE AS made"
                " EXECUTE FUNCTION refuse()"
            )
        for _ in range(2):
            making.execute_in_process(instance=instance)

    stored = PostgresEventLogStorage(os.environ["MUSEHUB_DAGSTER_DATABASE_URL"])
    try:
        told = {key: stored.fetch_materializations(key, limit=100).records for key in keys}
        latest = stored.get_latest_materialization_events(keys)
        assert set(stored.all_asset_keys()) == set(keys)
        for key, places in zip(keys, ([3, 0], [4, 1], [5, 2]), strict=True):
            found = [record.asset_materialization for record in told[key]]
            assert [m.metadata["place"].value for m in found if m] == 2 * places
            assert latest[key] == told[key][0].event_log_entry
            assert stored.get_event_tags_for_asset(key) == 4 * [tags]
            [asset] = stored.get_asset_records([key])
            assert asset.asset_entry.last_materialization_record == told[key][0]
            assert asset.asset_entry.last_run_id == told[key][0].run_id
    finally:
        stored.dispose()
    assert (number(records, WRITES) == 2 * 2 * len(keys)) is refused


WRITES = b"""
SELECT count(DISTINCT xmin::text) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'
"""


def test_a_connection_that_the_server_closed_is_not_used_again(
    records: psycopg.Connection,
) -> None:
    with dagster_instance() as instance:
        assert instance.get_runs_count() == 0
        closed = number(
            records,
            b"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            b" WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        assert closed == 1

        assert instance.get_runs_count() == 0


def test_a_database_that_is_given_keeps_the_runs(
    hub: Hub, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("MUSEHUB_DAGSTER_DATABASE_URL", "")
    given = {"dagster_database_url": empty_database_url}
    use_dagster_home(hub.settings.model_copy(update=given))

    result = hub.index(hub.push(hub.create_repo(), small_history().mpack()))

    with dg.DagsterInstance.get() as instance:
        kept = [(run.run_id, run.status) for run in instance.get_runs()]
    assert kept == [(result["run_id"], dg.DagsterRunStatus.SUCCESS)]


def test_a_database_that_cannot_be_reached_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("MUSEHUB_DAGSTER_DATABASE_URL", "")
    given = {"dagster_database_url": "postgresql://nobody@127.0.0.1:1/none"}
    use_dagster_home(hub.settings.model_copy(update=given))

    with (
        pytest.raises(RecordsUnavailable, match=r"^Dagster's database: .*refused"),
        dagster_instance(),
    ):
        pass


def test_where_it_goes_away_under_a_run_the_jobs_are_given_back(
    hub: Hub, records: psycopg.Connection
) -> None:
    job_id = hub.push(hub.create_repo(), small_history().mpack())
    with dagster_instance() as instance:
        records.execute(
            "CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        records.execute(
            "CREATE TRIGGER away BEFORE INSERT ON event_logs FOR EACH ROW"
            " WHEN (NEW.step_key = 'unpack') EXECUTE FUNCTION end_session()"
        )

        with pytest.raises(RecordsUnavailable, match=r"^Dagster's database: "):
            Runner(hub.settings, instance).run()

    row = hub.job(job_id)
    assert (row["status"], row["attempt"], row["lease_expires_at"]) == ("pending", 0, None)
