"""Work that is told to stop, by a signal or in the UI, gives its jobs back as it found them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import psycopg
import pytest

from musehub_pipeline.orchestration.backfill_mpacks import BACKFILL_JOB
from musehub_pipeline_tests.acceptance.backfills import Backfills
from musehub_pipeline_tests.acceptance.dev import RUN, Dev
from musehub_pipeline_tests.acceptance.pushes import make_past, push_many
from musehub_pipeline_tests.factories import small_history

JOBS = 8
DAY = date(2025, 1, 6)
SECONDS = 10
"""What is promised."""

_TERMINATE = """
    mutation ($run: String!) { terminateRun(runId: $run) { __typename } }
"""
_LEASED = "SELECT job_id FROM musehub_background_jobs WHERE lease_expires_at IS NOT NULL"


@pytest.fixture
def mortal(dev: Dev) -> Dev:
    """One that may be stopped; before a lease of its runs ended, the test would be over."""
    dev.environment["MUSEHUB_LEASE_SECONDS"] = "60"
    dev.environment["MUSEHUB_SPARE_RUNS"] = "0"  # the tests with `warm` have spares
    dev.start()
    return dev


@contextmanager
def work_in_progress(dev: Dev) -> Iterator[dict[str, dict[str, Any]]]:
    """Have a run stand in the midst of its jobs; yield their rows before that."""
    with psycopg.connect(str(dev.hub.settings.database_url)) as held:
        held.execute("LOCK TABLE musehub_snapshots IN SHARE MODE")  # nobody may insert
        jobs = push_many(dev.hub, repos=JOBS, each=1)
        before = {job_id: dev.hub.job(job_id) for job_id in jobs}
        dev.wait(lambda: dev.statuses() == {"running": JOBS}, seconds=180)
        yield before


def test_a_stop_has_all_runs_give_their_jobs_back_within_ten_seconds(mortal: Dev) -> None:
    with work_in_progress(mortal) as before:
        mortal.kill("api grpc")
        mortal.wait(lambda: not mortal.processes(RUN), seconds=SECONDS)  # nobody's children
        history = small_history()
        later = mortal.hub.push(
            mortal.hub.create_repo(), history.mpack(), head=list(history.commits)[-1]
        )
        before[later] = mortal.hub.job(later)
        mortal.wait(lambda: mortal.statuses() == {"running": JOBS + 1}, seconds=180)
        assert mortal.processes(RUN)  # of the code server that has come after it

        mortal.tell_to_stop()
        mortal.wait(lambda: mortal.statuses() == {"pending": JOBS + 1}, seconds=SECONDS)

        assert {job_id: mortal.hub.job(job_id) for job_id in before} == before
        assert mortal.stop() == 0
    assert mortal.statuses() == {"pending": JOBS + 1}


def test_runs_are_told_to_stop_where_dagster_ends_by_itself(mortal: Dev) -> None:
    with work_in_progress(mortal) as before:
        mortal.kill("-m dagster dev")
        mortal.wait(lambda: mortal.statuses() == {"pending": JOBS}, seconds=SECONDS)

        assert {job_id: mortal.hub.job(job_id) for job_id in before} == before
        mortal.wait_until_ended()


def test_a_run_that_is_canceled_in_the_ui_gives_its_jobs_back_within_ten_seconds(warm: Dev) -> None:
    with work_in_progress(warm) as before:
        [run] = warm.runs()
        answer = warm.ask(_TERMINATE, run=run["run_id"])
        warm.wait(lambda: warm.statuses() == {"pending": JOBS}, seconds=SECONDS)

        assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess"
        assert {job_id: warm.hub.job(job_id) for job_id in before} == before
    warm.wait(lambda: warm.statuses() == {"done": JOBS}, seconds=180)
    assert warm.runs()[0]["status"] == "CANCELED"


def test_a_backfill_that_is_canceled_in_the_ui_leaves_all_as_it_was_within_ten_seconds(
    warm: Dev,
) -> None:
    hub, backfills = warm.hub, Backfills(warm)
    jobs = push_many(hub, repos=JOBS, each=1)
    warm.settle()
    make_past(hub, [DAY])
    before = {job_id: hub.job(job_id) for job_id in jobs}
    with psycopg.connect(str(hub.settings.database_url)) as held:
        held.execute("LOCK TABLE musehub_snapshots IN SHARE MODE")  # nobody may insert
        backfills.launch([DAY])
        warm.wait(lambda: len(hub.sql(_LEASED)) == JOBS, seconds=180)
        [run] = warm.runs(BACKFILL_JOB)
        answer = warm.ask(_TERMINATE, run=run["run_id"])
        warm.wait(lambda: hub.sql(_LEASED) == [], seconds=SECONDS)

        assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess"
        assert {job_id: hub.job(job_id) for job_id in jobs} == before
    _, [again] = backfills.finish(backfills.launch([DAY]), seconds=180)

    assert [run["status"] for run in warm.runs(BACKFILL_JOB)] == ["CANCELED", "SUCCESS"]
    assert (again.report["planned"], again.report["indexed"]) == (JOBS, JOBS)
    assert {job_id: hub.job(job_id)["attempt"] for job_id in jobs} == dict.fromkeys(jobs, 2)
