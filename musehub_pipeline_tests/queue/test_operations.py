"""The operator's look at the queue."""

from collections.abc import Iterator
from typing import Any

import pytest

from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.operations import Operations
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import BACKOFF, LEASE


@pytest.fixture
def database(hub: Hub) -> Iterator[Database]:
    with Database(str(hub.settings.database_url)) as database:
        yield database


def test_rows_are_found_by_id_status_and_repo_newest_first(hub: Hub, database: Database) -> None:
    queue = Queue(database, lease=LEASE, backoff=BACKOFF, max_kills=3)
    operations = Operations(database)
    repo_id = hub.create_repo()
    done, pending = hub.enqueue(repo_id, mpack_key="key"), hub.enqueue("no-repo")
    [lease] = queue.claim(run_id="run", limit=1)
    lease.publish({"elapsed_ms": 1.5}, head=None)

    def listed(status: str | None = None, repo: str | None = None, limit: int = 9) -> list[Any]:
        rows = operations.jobs(status=status, repo_id=repo, limit=limit)
        return [(row["job_id"], row["owner"], row["slug"], row["elapsed_ms"]) for row in rows]

    found = [(pending, None, None, None), (done, "ada", "song", 1.5)]
    assert listed() == found
    assert listed("done") == listed(repo=repo_id) == found[1:]
    assert listed(limit=1) == listed("pending") == found[:1]
    assert listed("failed") == []
    assert queue.require(done) == queue.job(done) == hub.job(done)
    outcomes = operations.outcomes([pending, done, "x"])
    assert [row["job_id"] for row in outcomes] == [done, pending]
