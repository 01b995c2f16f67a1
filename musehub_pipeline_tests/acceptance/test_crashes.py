"""Whatever dies, and whenever: every push is published once, and no run stays at work for ever."""

import pytest

from musehub_pipeline_tests.acceptance.conftest import LEASE_SECONDS, Dev
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.hub import Hub

# Parts of a command line; "" is everything at once.
VICTIMS = {
    "run": "multiprocessing.spawn",
    "daemon": "dagster._daemon",
    "code server": "api grpc",
    "everything": "",
}
JOBS = 8


def count_publications(hub: Hub) -> None:
    """Have the database itself note every transition to done, for good."""
    hub.sql("CREATE TABLE published (job_id text)")
    hub.sql(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO published VALUES (NEW.job_id); RETURN NULL; END $$"
    )
    hub.sql(
        "CREATE TRIGGER note AFTER UPDATE ON musehub_background_jobs FOR EACH ROW"
        " WHEN (NEW.status = 'done') EXECUTE FUNCTION note()"
    )


@pytest.mark.parametrize("victim", VICTIMS.values(), ids=VICTIMS)
def test_after_a_kill_every_push_is_published_once(dev: Dev, victim: str) -> None:
    count_publications(dev.hub)
    jobs = push_many(dev.hub, repos=JOBS // 2, each=2)
    dev.start()
    dev.wait(lambda: dev.statuses().get("running", 0) > 0, seconds=180)

    dev.kill(victim)
    dev.ensure_started()

    dev.wait(lambda: dev.statuses() == {"done": JOBS}, seconds=600)
    ended = {"SUCCESS", "FAILURE", "CANCELED"}
    dev.wait(
        lambda: {run["status"] for run in dev.runs()} <= ended, seconds=180 + 2 * LEASE_SECONDS
    )
    published = dev.hub.sql("SELECT job_id FROM published")
    assert sorted(row["job_id"] for row in published) == sorted(jobs)
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
