"""An upgrade while workers run: the tables first, so that older ones find more than they know of.

What an upgrade adds, postgres/test_migrate.py says for each that there is; here, one that is yet to
come adds of everything.
"""

import subprocess
from collections.abc import Iterator

import pytest

from musehub_pipeline.postgres.migrate import latest
from musehub_pipeline.postgres.schema import metadata
from musehub_pipeline_tests.cli.terminal import Finished, call, start
from musehub_pipeline_tests.cli.test_watch import push, told
from musehub_pipeline_tests.hub import Hub

LATER = "9999"
PUSHES = 6  # from its fifth time on, a statement is prepared


def upgrade_to_a_later_version(hub: Hub) -> None:
    """Add to each table what older code is not to mind, in one transaction, as an upgrade does."""
    additions = [
        f"ALTER TABLE {table} ADD later text, ADD too jsonb NOT NULL DEFAULT '{{}}';"
        f"CREATE INDEX ON {table} (later)"
        for table in metadata.tables
    ]
    version = f"UPDATE musehub_pipeline_version SET version_num = '{LATER}'"
    hub.sql(";".join([*additions, "CREATE TABLE musehub_later (id text)", version]))


@pytest.fixture
def upgraded(hub: Hub) -> Hub:
    upgrade_to_a_later_version(hub)
    return hub


@pytest.fixture
def worker(hub: Hub) -> Iterator[subprocess.Popen[str]]:
    with start("index", "--watch", "--json") as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_worker_goes_on_while_the_tables_are_upgraded(
    hub: Hub, worker: subprocess.Popen[str]
) -> None:
    before = [push(hub, f"before-{number}") for number in range(PUSHES)]
    assert {told(worker) for _ in before} == {(job, "done") for job in before}

    upgrade_to_a_later_version(hub)
    after = [push(hub, f"after-{number}") for number in range(PUSHES)]

    assert {told(worker) for _ in after} == {(job, "done") for job in after}
    assert {hub.job(job)["attempt"] for job in before + after} == {1}


def test_a_version_works_on_the_tables_of_a_later_one(upgraded: Hub) -> None:
    job = push(upgraded, "song")

    assert call("index").code == 0
    assert upgraded.job(job)["status"] == "done"
    assert call("jobs", "show", job, "--json").json["status"] == "done"
    assert call("fsck", "--json").json["breaches"] == []
    assert call("doctor").code == 0


def test_an_older_version_leaves_later_tables_as_they_are(upgraded: Hub) -> None:
    assert call("db", "upgrade") == Finished(0, f"the tables are at revision {LATER}\n", "")
    assert call("db", "current", "--json").json == {"revision": LATER, "latest": latest()}
