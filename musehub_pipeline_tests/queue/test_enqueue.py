"""Rows for mpacks that no job of one names: each once, however often asked."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.types.json import Jsonb

from musehub_pipeline.domain.errors import RepoNotFound
from musehub_pipeline.domain.job import payload_of
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.enqueue import Pushes
from musehub_pipeline_tests.hub import Hub

SECONDS = 30
REPO = "repo-song"
KEYS = [f"sha256:{number:064x}" for number in range(4)]
PAYLOADS = [payload_of(mpack_key=key) for key in KEYS]


@pytest.fixture
def pushes(hub: Hub) -> Iterator[Pushes]:
    hub.create_repo()
    with Database(str(hub.settings.database_url)) as database:
        yield Pushes(database)


def wait_for_a_lock(hub: Hub) -> None:
    """Return when somebody waits for a lock."""
    deadline = time.monotonic() + SECONDS
    while not hub.sql("SELECT FROM pg_locks WHERE NOT granted"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rows(hub: Hub) -> list[tuple[str, str]]:
    found = hub.sql("SELECT * FROM musehub_background_jobs ORDER BY created_at, job_id")
    return [(row["job_id"], row["payload"]["mpack_key"]) for row in found]


def test_rows_are_made_in_the_order_given(hub: Hub, pushes: Pushes) -> None:
    enqueued, present = pushes.enqueue_unnamed(REPO, PAYLOADS[::-1])

    assert list(enqueued) == KEYS[::-1]
    assert rows(hub) == [(enqueued[key], key) for key in KEYS[::-1]]
    assert present == {}


def test_what_a_job_of_the_repo_names_gets_no_second_one(hub: Hub, pushes: Pushes) -> None:
    hub.create_repo("talk")
    bare, prefixed = (hub.enqueue("repo-song", mpack_key=key) for key in (KEYS[0][7:], KEYS[1]))
    hub.sql("UPDATE musehub_background_jobs SET status = 'failed'")
    newest = hub.enqueue("repo-song", mpack_key=KEYS[1][7:])
    hub.enqueue("repo-talk", mpack_key=KEYS[2])

    enqueued, present = pushes.enqueue_unnamed(REPO, PAYLOADS)

    assert present == {KEYS[0]: bare, KEYS[1]: newest}
    assert list(enqueued) == KEYS[2:]
    assert len({bare, prefixed, newest, *enqueued.values()}) == 5
    assert len(rows(hub)) == 6


def test_who_enqueues_meanwhile_is_waited_for(hub: Hub, pushes: Pushes) -> None:
    with ThreadPoolExecutor(1) as pool:
        with psycopg.connect(str(hub.settings.database_url)) as rival:
            rival.execute("SELECT FROM musehub_repos FOR NO KEY UPDATE")
            waiting = pool.submit(pushes.enqueue_unnamed, REPO, PAYLOADS)
            wait_for_a_lock(hub)
            rival.execute(
                "INSERT INTO musehub_background_jobs (job_id, repo_id, job_type, payload)"
                " VALUES ('rival', %s, 'mpack.index', %s)",
                [REPO, Jsonb({"mpack_key": KEYS[2]})],
            )
        enqueued, present = waiting.result(SECONDS)

    assert (list(enqueued), present) == ([KEYS[0], KEYS[1], KEYS[3]], {KEYS[2]: "rival"})
    assert len(rows(hub)) == 4


def test_a_repo_that_was_deleted_meanwhile_gets_nothing(hub: Hub, pushes: Pushes) -> None:
    hub.sql("UPDATE musehub_repos SET deleted_at = now()")

    with pytest.raises(RepoNotFound, match="'repo-song' has been deleted"):
        pushes.enqueue_unnamed(REPO, PAYLOADS)

    assert rows(hub) == []
