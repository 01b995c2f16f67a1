"""Work that is told to stop, by a signal or in the UI, gives its jobs back as it found them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from musehub_pipeline_tests.acceptance.conftest import RUN, Dev
from musehub_pipeline_tests.acceptance.pushes import push_many

JOBS = 8
SECONDS = 10
"""What is promised. The test looks ten times a second, so it needs no more for its looking."""

_TERMINATE = """
    mutation ($run: String!) { terminateRun(runId: $run) { __typename } }
"""


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
