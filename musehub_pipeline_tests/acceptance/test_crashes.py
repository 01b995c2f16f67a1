"""Whatever dies, and whenever: every push is published once, and no run stays at work for ever."""

import pytest

from musehub_pipeline_tests.acceptance.conftest import ENDED, LEASE_SECONDS, RUN, Dev
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.acceptance.pushes import push_many

# Parts of a command line; "" is everything at once.
VICTIMS = {
    "run": RUN,
    "daemon": "dagster._daemon",
    "code server": "api grpc",
    "everything": "",
}
JOBS = 8


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
