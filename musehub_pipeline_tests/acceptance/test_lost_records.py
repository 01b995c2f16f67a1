"""Dagster's own database is lost: with it goes history, and no push."""

import urllib.request

from sqlalchemy import make_url

from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.acceptance.pushes import push_many

JOBS = 4


def test_the_queue_drains_after_dagsters_database_was_deleted(warm: Dev) -> None:
    warm.hub.sql(f'DROP DATABASE "{make_url(warm.dagster_database_url).database}" WITH (FORCE)')

    push_many(warm.hub, repos=JOBS, each=1)

    warm.wait(lambda: warm.statuses() == {"done": JOBS}, seconds=300)
    warm.wait(lambda: {run["status"] for run in warm.runs()} == {"SUCCESS"}, seconds=180)
    rows = warm.hub.sql("SELECT run_id, attempt FROM musehub_background_jobs")
    assert {row["attempt"] for row in rows} == {1}
    assert {row["run_id"] for row in rows} <= {run["run_id"] for run in warm.runs()}
    assert warm.breaches() == []
    for _ in range(5):  # connections of the UI's that the lost database had
        with urllib.request.urlopen(f"{warm.url}/runs", timeout=60) as page:
            assert page.status == 200
