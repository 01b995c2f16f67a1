"""Dagster's own database is lost: with it goes history, and no push."""

from sqlalchemy import make_url

from musehub_pipeline_tests.acceptance.conftest import Dev
from musehub_pipeline_tests.acceptance.pushes import push_many

JOBS = 4


def test_the_queue_drains_after_dagsters_database_was_deleted(dev: Dev) -> None:
    dev.start()
    dev.hub.sql(f'DROP DATABASE "{make_url(dev.dagster_database_url).database}" WITH (FORCE)')

    push_many(dev.hub, repos=JOBS, each=1)

    dev.wait(lambda: dev.statuses() == {"done": JOBS}, seconds=300)
    dev.wait(lambda: {run["status"] for run in dev.runs()} == {"SUCCESS"}, seconds=180)
    rows = dev.hub.sql("SELECT run_id, attempt FROM musehub_background_jobs")
    assert {row["attempt"] for row in rows} == {1}
    assert {row["run_id"] for row in rows} <= {run["run_id"] for run in dev.runs()}
    assert dev.breaches() == []
    assert dev.stop() == 0
