"""The operator's look at job rows."""

from datetime import timedelta
from typing import Any

import pytest

from musehub_pipeline.domain.errors import JobNotFound
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.jobs import Jobs
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import change, claim_one, publish_one


def test_rows_are_found_by_id_status_and_repo_newest_first(
    hub: Hub, queue: Queue, jobs: Jobs
) -> None:
    repo_id = hub.create_repo()
    done, pending = hub.enqueue(repo_id, mpack_key="key"), hub.enqueue("no-repo")
    publish_one(claim_one(queue), {"elapsed_ms": 1.5}, head=None)

    def listed(status: str | None = None, repo: str | None = None, limit: int = 9) -> list[Any]:
        rows = jobs.listed(status=status, repo_id=repo, limit=limit)
        return [(row["job_id"], row["owner"], row["slug"], row["elapsed_ms"]) for row in rows]

    found = [(pending, None, None, None), (done, "ada", "song", 1.5)]
    assert listed() == found
    assert listed("done") == listed(repo=repo_id) == found[1:]
    assert listed(limit=1) == listed("pending") == found[:1]
    assert listed("failed") == []
    assert jobs.require(done) == jobs.find(done) == hub.job(done)
    outcomes = jobs.outcomes([pending, done, "x"])
    assert [row["job_id"] for row in outcomes] == [done, pending]


def test_a_job_of_another_type_or_of_nobody_is_not_found(hub: Hub, jobs: Jobs) -> None:
    other = hub.enqueue("r")
    hub.sql("UPDATE musehub_background_jobs SET job_type = 'mail.send'")

    for job_id in (other, "nobody's"):
        assert jobs.find(job_id) is None
        with pytest.raises(JobNotFound, match=job_id):
            jobs.require(job_id)


def test_rows_of_jobs_that_were_done_long_ago_may_be_forgotten(hub: Hub, jobs: Jobs) -> None:
    old, young, failed = (hub.enqueue("r") for _ in range(3))
    change(hub, old, "status = 'done', finished_at = now() - interval '8 days'")
    change(hub, young, "status = 'done', finished_at = now() - interval '6 days'")
    change(hub, failed, "status = 'failed', finished_at = now() - interval '8 days'")

    assert jobs.prune_done(older_than=timedelta(days=7)) == 1

    left = hub.sql("SELECT job_id FROM musehub_background_jobs")
    assert {row["job_id"] for row in left} == {young, failed}
