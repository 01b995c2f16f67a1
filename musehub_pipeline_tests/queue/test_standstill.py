"""While the queue is at a standstill nothing begins, be it live or indexed again."""

from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest

from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.standstill import UnderWay, standstill
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_again, index_all, index_batch
from musehub_pipeline_tests.waiting import wait_for

MPACK = small_history().mpack()
WAITS = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def under_way(hub: Hub) -> UnderWay:
    with Database(str(hub.settings.database_url)) as database, standstill(database) as still:
        return still.under_way


@pytest.mark.parametrize("begin", [index_batch, index_again])
def test_whoever_would_claim_waits_until_it_ends(hub: Hub, begin: Callable[[Hub], Any]) -> None:
    job_id = hub.push(hub.create_repo(), MPACK)
    if begin is index_again:
        index_all(hub)
    claiming = Thread(target=begin, args=(hub,))
    attempts = hub.job(job_id)["attempt"]

    with Database(str(hub.settings.database_url)) as database, standstill(database) as still:
        assert still.under_way == UnderWay(0, 0)
        claiming.start()
        wait_for(lambda: bool(hub.sql(WAITS)))
        assert hub.job(job_id)["attempt"] == attempts
    claiming.join()

    assert (hub.job(job_id)["status"], hub.job(job_id)["attempt"]) == ("done", attempts + 1)


def test_jobs_that_runs_have_are_counted_live_or_again_silent_or_not(hub: Hub) -> None:
    repo_id = hub.create_repo()
    jobs = [hub.push(repo_id, MPACK) for _ in range(6)]
    assert under_way(hub) == UnderWay(0, 0)

    hour = timedelta(hours=1)
    for job_id, (status, lease) in zip(
        jobs,
        [
            ("running", hour),
            ("running", -hour),
            ("running", None),
            ("done", hour),
            ("failed", hour),
            ("done", -hour),  # a backfill that died long ago
        ],
        strict=True,
    ):
        hub.sql(
            "UPDATE musehub_background_jobs SET status = %(s)s, lease_expires_at = now() + %(l)s"
            " WHERE job_id = %(j)s",
            {"s": status, "l": lease, "j": job_id},
        )

    assert under_way(hub) == UnderWay(5, 2)
