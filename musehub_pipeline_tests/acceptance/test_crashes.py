"""Whatever dies, and whenever: every push is published once, and no run stays at work for ever."""

import psycopg
import pytest

from musehub_pipeline_tests.acceptance.conftest import ENDED, LEASE_SECONDS, Dev
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.acceptance.pushes import push_many

# Parts of a command line; "" is everything at once. Of runs, test_killed_runs.py kills many.
VICTIMS = {
    "daemon": "dagster._daemon",
    "code server": "api grpc",
    "everything": "",
}
JOBS = 8

_TERMINATE = """
    mutation ($run: String!) { terminateRun(runId: $run) { __typename } }
"""


@pytest.mark.parametrize("victim", VICTIMS.values(), ids=VICTIMS)
def test_after_a_kill_every_push_is_published_once(dev: Dev, victim: str) -> None:
    count_publications(dev.hub)
    jobs = push_many(dev.hub, repos=JOBS // 2, each=2)
    dev.start()
    dev.wait(lambda: dev.statuses().get("running", 0) > 0, seconds=180)

    dev.kill(victim)
    dev.ensure_started()

    dev.wait(lambda: dev.statuses() == {"done": JOBS}, seconds=600)
    dev.wait(
        lambda: {run["status"] for run in dev.runs()} <= ENDED, seconds=180 + 2 * LEASE_SECONDS
    )
    assert publications(dev.hub) == sorted(jobs)
    assert dev.breaches() == []
    assert dev.stop() == 0


def test_a_stop_gives_the_leases_back_and_spends_no_attempt(dev: Dev) -> None:
    push_many(dev.hub, repos=JOBS, each=1)
    dev.start()
    dev.wait(lambda: dev.statuses().get("running", 0) > 0, seconds=180)

    assert dev.stop() == 0

    assert "running" not in dev.statuses()
    waiting = dev.hub.sql(
        "SELECT attempt, run_id, attempts FROM musehub_background_jobs WHERE status = 'pending'"
    )
    assert all(row == {"attempt": 0, "run_id": None, "attempts": []} for row in waiting)


def test_a_run_that_is_canceled_in_the_ui_gives_its_jobs_back_within_ten_seconds(dev: Dev) -> None:
    jobs = push_many(dev.hub, repos=JOBS, each=1)
    before = {job_id: dev.hub.job(job_id) for job_id in jobs}
    dev.environment["MUSEHUB_LEASE_SECONDS"] = "60"  # so that it is not the lease that ends
    dev.start()
    with psycopg.connect(str(dev.hub.settings.database_url)) as held:
        held.execute("LOCK TABLE musehub_snapshots IN SHARE MODE")  # nobody may insert
        dev.wait(lambda: dev.statuses() == {"running": JOBS}, seconds=180)
        [run] = dev.runs()

        answer = dev.ask(_TERMINATE, run=run["run_id"])
        dev.wait(lambda: dev.statuses() == {"pending": JOBS}, seconds=10)

        assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess"
        assert {job_id: dev.hub.job(job_id) for job_id in jobs} == before
    dev.wait(lambda: dev.statuses() == {"done": JOBS}, seconds=180)
    assert dev.runs()[0]["status"] == "CANCELED"
    assert dev.stop() == 0
