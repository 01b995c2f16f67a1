"""A backfill whose database goes away for a moment, wherever it asks for something of its own."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest

from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.backfilling import attempts, backfill, fared, old_pushes
from musehub_pipeline_tests.servers.cable import Cable

STATEMENTS = {
    "begin_run": "INSERT INTO musehub_pipeline_runs",
    "repo_by_id": "SELECT repo_id, default_branch, deleted_at FROM musehub_repos",
    "past_jobs": "AS unread_key",
    "past_days": "date_trunc('day'",
    "backlog": "AS under_way",
    "claim_past": "AS planned (job_id, attempt)",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="cable-") as path:  # short, as sockets want it
        yield Path(path)


def test_a_connection_that_breaks_in_the_midst_of_it_costs_nothing(
    hub: Hub, instance: dg.DagsterInstance, folder: Path
) -> None:
    [job_id, other] = old_pushes(hub, "ab")
    tags = {"musehub/repo": "repo-a"}

    with Cable(str(hub.settings.database_url), folder, breaks=list(STATEMENTS.values())) as cable:
        run = backfill(hub, instance, tags=tags, database_url=cable.url)

    assert cable.broken == list(STATEMENTS.values())
    assert fared(run) == (1, 1, {}, {})
    assert attempts(hub, [job_id]) == [2]
    assert hub.job(other)["attempt"] == 1
