"""`backfill run` that does not come to its end: what it leaves, and what it says."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from musehub_pipeline.domain.job import INDEX_VERSION
from musehub_pipeline_tests.cli.ended_jobs import OUTDATED, START, indexed, standing
from musehub_pipeline_tests.cli.terminal import call, finish, start, wait_until
from musehub_pipeline_tests.hub import Hub


@pytest.fixture(autouse=True)
def _start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSEHUB_BACKFILL_START", START.isoformat())


@contextmanager
def nothing_can_be_written(hub: Hub, repo_id: str) -> Iterator[None]:
    """Hold up every run that has snapshots of a repo to write, for as long as the block runs."""
    hub.sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$"
    )
    hub.sql(
        "CREATE TRIGGER wait BEFORE INSERT ON musehub_snapshots FOR EACH ROW"
        f" WHEN (NEW.repo_id = '{repo_id}') EXECUTE FUNCTION wait()"
    )
    with psycopg.connect(str(hub.settings.database_url)) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(1)")
        yield


def leased(hub: Hub) -> list[str]:
    rows = hub.sql(
        "SELECT job_id FROM musehub_background_jobs WHERE lease_expires_at > clock_timestamp()"
    )
    return [row["job_id"] for row in rows]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_told_to_stop_it_leaves_what_is_done_and_goes_on_from_there(
    hub: Hub, number: signal.Signals
) -> None:
    tune = hub.create_repo("tune")
    first, second = indexed(hub, hub.create_repo("song"), 0), indexed(hub, tune, 1)
    result = hub.job(second)["result"]
    with nothing_can_be_written(hub, tune):
        process = start("backfill", "run", "--json")
        wait_until(process, lambda: leased(hub) == [second])
        told = call("backfill", "status", "--json").json

        process.send_signal(number)
        finished = finish(process)

        assert finished.code == 130
        assert finished.err.endswith("stopped\n")
        assert "Traceback" not in finished.err
        assert finished.err.count("was stopped: 1 jobs are given back\n") == 1
        assert leased(hub) == []
    assert (told["leased"], told["runs"], told["current"], told["outdated"]) == (1, 1, 1, 1)
    assert standing(hub, first, second) == [
        ("done", 2, INDEX_VERSION, None),
        ("done", 1, OUTDATED, None),
    ]
    assert hub.job(second)["result"] == result
    done = json.loads(finished.out)
    assert [done[name] for name in ("days", "planned", "given_up", "indexed")] == [2, 2, 0, 1]
    assert done["run_ids"] == [hub.job(first)["result"]["run_id"]]
    assert done["mpack_bytes"] == hub.job(first)["result"]["mpack_size_bytes"]
    went_on = call("backfill", "run", "--strict", "--json").json
    assert (went_on["planned"], went_on["indexed"]) == (1, 1)
    assert standing(hub, second) == [("done", 2, INDEX_VERSION, None)]


def test_a_database_that_is_away_ends_it_and_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed(hub, hub.create_repo(), 0)
    monkeypatch.setenv("MUSEHUB_DATABASE_URL", "postgresql://ada:secret@localhost:1/none")

    finished = call("backfill", "run", "--json")

    assert (finished.code, finished.out) == (1, "")
    assert finished.err.startswith("error: DATABASE_UNAVAILABLE: ")
    assert "secret" not in finished.err
