"""Work that is told to stop, by a signal or in the UI, gives its jobs back as it found them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import psycopg

from musehub_pipeline.orchestration.backfill_mpacks import BACKFILL_JOB
from musehub_pipeline_tests.acceptance.backfills import Backfills
from musehub_pipeline_tests.acceptance.conftest import RUN, Dev
from musehub_pipeline_tests.acceptance.pushes import make_past, push_many
from musehub_pipeline_tests.indexing import index_all

JOBS = 8
DAY = date(2025, 1, 6)
SECONDS = 10
"""What is promised. The test looks ten times a second, so it needs no more for its looking."""

_TERMINATE = """
    mutation ($run: String!) { terminateRun(runId: $run) { __typename } }
"""
_LEASED = "SELECT job_id FROM musehub_background_jobs WHERE lease_expires_at IS NOT NULL"


@contextmanager
def work_in_progress(dev: Dev) -> Iterator[dict[str, dict[str, Any]]]:
    """Start it and have a run stand in the midst of its jobs; yield their rows before that."""
    jobs = push_many(dev.hub, repos=JOBS, each=1)
    before = {job_id: dev.hub.job(job_id) for job_id in jobs}
    dev.environment["MUSEHUB_LEASE_SECONDS"] = "60"  # so that it is not the lease that ends
    dev.start()
    with psycopg.connect(str(dev.hub.settings.database_url)) as held:
        held.execute("LOCK TABLE musehub_snapshots IN SHARE MODE")  # nobody may insert
        dev.wait(lambda: dev.statuses() == {"running": JOBS}, seconds=180)
        yield before


def test_a_stop_gives_the_jobs_back_within_ten_seconds(dev: Dev) -> None:
    with work_in_progress(dev) as before:
        dev.tell_to_stop()
        dev.wait(lambda: dev.statuses() == {"pending": JOBS}, seconds=SECONDS)

        assert {job_id: dev.hub.job(job_id) for job_id in before} == before
        assert dev.stop() == 0
    assert dev.statuses() == {"pending": JOBS}


def test_a_stop_reaches_runs_that_have_outlived_their_code_server(dev: Dev) -> None:
    with work_in_progress(dev) as before:
        dev.kill("api grpc")
        dev.wait(lambda: not dev.processes(RUN), seconds=SECONDS)  # they are nobody's children
        dev.tell_to_stop()
        dev.wait(lambda: dev.statuses() == {"pending": JOBS}, seconds=SECONDS)

        assert {job_id: dev.hub.job(job_id) for job_id in before} == before
        assert dev.stop() == 0


def test_runs_are_told_to_stop_where_dagster_ends_by_itself(dev: Dev) -> None:
    with work_in_progress(dev) as before:
        dev.kill("-m dagster dev")
        dev.wait(lambda: dev.statuses() == {"pending": JOBS}, seconds=SECONDS)

        assert {job_id: dev.hub.job(job_id) for job_id in before} == before
        dev.wait_until_ended()


def test_a_run_that_is_canceled_in_the_ui_gives_its_jobs_back_within_ten_seconds(dev: Dev) -> None:
    with work_in_progress(dev) as before:
        [run] = dev.runs()
        answer = dev.ask(_TERMINATE, run=run["run_id"])
        dev.wait(lambda: dev.statuses() == {"pending": JOBS}, seconds=SECONDS)

        assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess"
        assert {job_id: dev.hub.job(job_id) for job_id in before} == before
    dev.wait(lambda: dev.statuses() == {"done": JOBS}, seconds=180)
    assert dev.runs()[0]["status"] == "CANCELED"
    assert dev.stop() == 0


def test_a_backfill_that_is_canceled_in_the_ui_leaves_all_as_it_was_within_ten_seconds(
    dev: Dev,
) -> None:
    hub, backfills = dev.hub, Backfills(dev)
    jobs = push_many(hub, repos=JOBS, each=1)
    index_all(hub)
    make_past(hub, [DAY])
    before = {job_id: hub.job(job_id) for job_id in jobs}
    dev.environment["MUSEHUB_LEASE_SECONDS"] = "60"  # so that it is not the lease that ends
    dev.start()
    with psycopg.connect(str(hub.settings.database_url)) as held:
        held.execute("LOCK TABLE musehub_snapshots IN SHARE MODE")  # nobody may insert
        backfills.launch([DAY])
        dev.wait(lambda: len(hub.sql(_LEASED)) == JOBS, seconds=180)
        [run] = dev.runs(BACKFILL_JOB)
        answer = dev.ask(_TERMINATE, run=run["run_id"])
        dev.wait(lambda: hub.sql(_LEASED) == [], seconds=SECONDS)

        assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess"
        assert {job_id: hub.job(job_id) for job_id in jobs} == before
    _, [again] = backfills.finish(backfills.launch([DAY]), seconds=180)

    assert [run["status"] for run in dev.runs(BACKFILL_JOB)] == ["CANCELED", "SUCCESS"]
    assert (again.report["planned"], again.report["indexed"]) == (JOBS, JOBS)
    assert {job_id: hub.job(job_id)["attempt"] for job_id in jobs} == dict.fromkeys(jobs, 2)
    assert dev.stop() == 0
