"""The commands behind a pooler that lends a session for each transaction."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from musehub_pipeline_tests.cli.orphans import backdate
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.pooled import kept, through
from musehub_pipeline_tests.servers.pgbouncer import PgBouncer
from musehub_pipeline_tests.servers.postgres import Postgres

COMMANDS = (
    ["status", "--json"],
    ["jobs", "list", "--json"],
    ["fsck", "--json"],
    ["fsck", "--deep", "--json"],
    ["fsck", "--repair", "--json"],
    ["fsck", "--orphans", "--json"],
    ["fsck", "--prune-orphans", "--older-than", "1d", "--json"],
    ["fsck", "--names", "--json"],
    ["backfill", "status", "--json"],
    ["backfill", "plan", "--json"],
    ["backfill", "discover", "--json"],
    ["db", "current", "--json"],
    ["db", "query", "SHOW server_version", "--json"],
)


@pytest.fixture
def pooled(hub: Hub, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """What the environment describes: the hub, by way of a pooler."""
    with PgBouncer(postgres, mode="transaction") as pooler:
        pooled = through(pooler, hub)
        monkeypatch.setenv("MUSEHUB_DATABASE_URL", str(pooled.settings.database_url))
        yield pooled


@pytest.mark.slow
def test_each_command_works_and_leaves_nothing_in_sessions(hub: Hub, pooled: Hub) -> None:
    backdate(hub, hub.upload(b"an mpack that no job names"), timedelta(days=3))
    job_id = hub.push(hub.create_repo(), small_history().mpack())

    indexed = call("index", "--json")
    codes = {" ".join(command): call(*command).code for command in COMMANDS}

    assert [(row["job_id"], row["status"]) for row in indexed.json] == [(job_id, "done")]
    assert {command: code for command, code in codes.items() if code} == {}
    assert kept(str(hub.settings.database_url), str(pooled.settings.database_url)) == []
