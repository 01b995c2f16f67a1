"""Backfills that end before they are through, and go on where they stopped."""

import dagster as dg
import pytest

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.orchestration.backfill_mpacks import BACKFILL_JOB
from musehub_pipeline_tests.audit.checking import found
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all
from musehub_pipeline_tests.orchestration.backfilling import (
    attempts,
    backfill,
    date_back,
    environment,
    fared,
    jobs_by_tags,
    old_pushes,
    report,
)
from musehub_pipeline_tests.orchestration.killing import interfere_no_more, kill_at, when


def job_of_the_environment() -> dg.JobDefinition:
    return build_defs().get_job_def(BACKFILL_JOB)


def successes(hub: Hub, jobs: list[str]) -> list[int]:
    """Return how often each job has been done, the first time included."""
    ended = [hub.job(job_id)["attempts"] for job_id in jobs]
    return [len([one for one in history if one["code"] is None]) for history in ended]


def test_a_batch_that_cannot_be_claimed_fails_the_run_and_no_other_batch(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    jobs = old_pushes(hub, "abcdef")
    when(hub, jobs[2], "NEW.lease_expires_at IS NOT NULL", do="RAISE EXCEPTION 'refused'")
    before = [hub.job(job_id) for job_id in jobs[2:4]]

    run = backfill(hub, instance, batch_jobs=2)

    assert not run.success
    assert attempts(hub, jobs[:2] + jobs[4:]) == [2] * 4
    assert [hub.job(job_id) for job_id in jobs[2:4]] == before
    interfere_no_more(hub)
    assert fared(backfill(hub, instance, batch_jobs=2)) == (2, 2, {}, {})
    assert successes(hub, jobs) == [2] * 6


def test_trouble_keeps_a_job_as_it_was_and_the_next_run_takes_it(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    jobs = old_pushes(hub, "abc")
    published = "NEW.status = 'done' AND NEW.index_version = 1"
    when(hub, jobs[1], published, do="RAISE EXCEPTION 'refused'")
    before = hub.job(jobs[1])

    assert fared(backfill(hub, instance)) == (3, 2, {}, {"INTERNAL_ERROR": 1})

    assert hub.job(jobs[1]) == before
    interfere_no_more(hub)
    assert fared(backfill(hub, instance)) == (1, 1, {}, {})
    assert successes(hub, jobs) == [2] * 3


def test_a_run_that_was_killed_is_gone_on_with_and_every_job_is_done_once(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    """It is killed while it publishes the third of six jobs, the first of its second batch."""
    jobs = old_pushes(hub, "abcdef")
    kill_at(hub, jobs[2], MUSEHUB_BATCH_JOBS="2")

    rows = [hub.job(job_id) for job_id in jobs]
    assert [row["index_version"] for row in rows] == [1, 1, 0, 0, 0, 0]
    assert [row["attempt"] for row in rows] == [2, 2, 2, 2, 1, 1]
    assert {row["status"] for row in rows} == {"done"}
    assert found(hub) == []

    too_early = report(backfill(hub, instance, batch_jobs=2))
    assert [too_early[name] for name in ("planned", "left", "indexed")] == [4, 2, 2]
    hub.sql("UPDATE musehub_background_jobs SET lease_expires_at = now() WHERE index_version = 0")
    assert fared(backfill(hub, instance, batch_jobs=2)) == (2, 2, {}, {})

    assert attempts(hub, jobs) == [2, 2, 3, 3, 2, 2]
    assert successes(hub, jobs) == [2] * 6
    assert found(hub) == []
    assert fared(backfill(hub, instance)) == (0, 0, {}, {})


def test_a_re_execution_leaves_out_what_has_failed_again_since_the_first_run(
    hub: Hub, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a day of jobs that cannot be mended would be begun at its beginning each time."""
    jobs = [hub.push(hub.create_repo(slug), b"\xc1") for slug in "abcd"]
    index_all(hub)
    date_back(hub, jobs)
    when(hub, jobs[2], "NEW.lease_expires_at IS NOT NULL", do="RAISE EXCEPTION 'refused'")
    first = backfill(hub, instance, config={"select": "FAILED"}, batch_jobs=2)
    assert (first.success, [hub.job(job_id)["attempt"] for job_id in jobs]) == (False, [2, 2, 1, 1])
    assert jobs_by_tags(instance, first.run_id) == {
        "musehub/planned": "4",
        "musehub/indexed": "0",
    }
    interfere_no_more(hub)
    for name, value in environment(hub, MUSEHUB_BATCH_JOBS="2").items():
        monkeypatch.setenv(name, value)

    run = instance.get_run_by_id(first.run_id) or first.dagster_run
    with dg.execute_job(
        dg.reconstructable(job_of_the_environment),
        instance=instance,
        run_config=run.run_config,
        tags=run.tags,
        reexecution_options=dg.ReexecutionOptions(parent_run_id=run.run_id),
    ) as again:
        assert again.success

    assert [hub.job(job_id)["attempt"] for job_id in jobs] == [2, 2, 2, 2]
    assert fared(backfill(hub, instance, config={"select": "FAILED"}))[0] == 4
