"""Backfills of jobs whose mpacks nobody has measured: a batch is no larger than a run can hold."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from musehub_pipeline.domain.backfill import PastJob, Select, Selection
from musehub_pipeline.phases.plan_backfill import plan_backfill
from musehub_pipeline.phases.services import open_services
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all
from musehub_pipeline_tests.orchestration.backfilling import (
    DAY,
    backfill,
    date_back,
    fared,
    old_pushes,
)

MIDNIGHT = datetime.fromisoformat(DAY).replace(tzinfo=UTC)
CONTENTS = [bytes([number]) * (10_000 + number) for number in range(5)]


def mpack(content: bytes) -> bytes:
    history = History()
    history.commit({"file": content})
    return history.mpack()


@pytest.fixture
def failed(hub: Hub) -> list[str]:
    """Jobs that failed on the day, and would not fail again."""
    jobs = [
        hub.push(hub.create_repo(f"{number}"), mpack(content), declared_objects_count=2)
        for number, content in enumerate(CONTENTS)
    ]
    index_all(hub)
    date_back(hub, jobs)
    assert {hub.job(job_id)["error_code"] for job_id in jobs} == {"COUNT_MISMATCH"}
    hub.sql("UPDATE musehub_background_jobs SET payload = payload - 'declared_objects_count'")
    return jobs


def test_what_failed_is_indexed_by_one_run_though_it_is_larger_than_a_batch(
    hub: Hub, instance: dg.DagsterInstance, failed: list[str]
) -> None:
    two = len(mpack(CONTENTS[-1])) * 2

    run = backfill(hub, instance, config={"select": "FAILED"}, batch_bytes=two)

    assert fared(run) == (5, 5, {}, {})
    results = [hub.job(job_id)["result"] for job_id in failed]
    assert [result["batch_jobs"] for result in results] == [2, 2, 2, 2, 1]
    assert sorted(hub.stored_objects().values()) == CONTENTS


def test_a_plan_asks_storage_for_the_sizes_that_were_never_noted(
    hub: Hub, failed: list[str]
) -> None:
    [noted] = old_pushes(hub, "a")
    bare, missing, odd, none, large = (
        *(hub.enqueue("repo-a", mpack_key=hub.upload(b"\xc1")[-64:]),),
        *(hub.enqueue("repo-a", mpack_key=key) for key in ("0" * 64, "../key")),
        *(hub.enqueue("repo-a"), hub.push("repo-a", b"\xc1" * 1_000)),
    )
    index_all(hub)
    date_back(hub, [*failed, noted, bare, missing, odd, none, large])
    size = hub.job(noted)["result"]["mpack_size_bytes"]
    hub.sql(
        "UPDATE musehub_background_jobs SET result = '{}', status = 'done', index_version = 0"
        " WHERE job_id = %(id)s",
        {"id": large},
    )

    with open_services(hub.settings) as services:
        jobs = plan_backfill(
            services,
            Selection(since=MIDNIGHT, before=MIDNIGHT + timedelta(days=1), select=Select.ALL),
        )

    keys = {job_id: hub.job(job_id)["payload"].get("mpack_key") for job_id in (*failed, bare)}
    assert jobs == [
        *(
            PastJob(job_id, 1, len(mpack(content)), unread_key=keys[job_id])
            for job_id, content in zip(failed, CONTENTS, strict=True)
        ),
        PastJob(noted, 1, size),
        PastJob(bare, 1, 1, unread_key=keys[bare]),
        PastJob(missing, 1, 0, unread_key="0" * 64),
        PastJob(odd, 1, 0, unread_key="../key"),
        PastJob(none, 1, 0),
        PastJob(large, 1, 1_000, unread_key=hub.job(large)["payload"]["mpack_key"]),
    ]
