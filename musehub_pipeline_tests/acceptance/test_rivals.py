"""Two daemons and people who run jobs by hand, all on one queue and all at the same moment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from musehub_pipeline_tests.acceptance.dev import ENDED, Dev
from musehub_pipeline_tests.acceptance.gate import Gate
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.cli.terminal import finish

RUNS = 9  # of each daemon: dagster.yaml allows ten at once
BY_HAND = 2


@pytest.fixture
def rival(dev: Dev, tmp_path: Path) -> Iterator[Dev]:
    """Another daemon on the same hub, with a home and records of its own."""
    (tmp_path / "rival").mkdir()
    rival = Dev(dev.hub, tmp_path / "rival", records="rival")
    [[name]] = [row.values() for row in dev.hub.sql("SELECT current_database()")]
    dev.hub.sql(f'CREATE DATABASE "{name}_rival"')
    rival.environment["MUSEHUB_DAGSTER_DATABASE_URL"] = rival.dagster_database_url
    try:
        yield rival
    finally:
        rival.end()


def test_each_job_is_published_once_whoever_goes_for_it(dev: Dev, rival: Dev) -> None:
    count_publications(dev.hub)
    for each in (dev, rival):
        each.environment["MUSEHUB_BATCH_JOBS"] = "1"
        each.environment["MUSEHUB_MAX_CONCURRENT_RUNS"] = str(RUNS)
        each.environment["MUSEHUB_LEASE_SECONDS"] = "600"  # as long as the last takes to start
        each.begin_to_start()
    for each in (dev, rival):
        each.wait_until_started()
    with Gate(dev.dagster_database_url) as gate, Gate(rival.dagster_database_url) as other_gate:
        gate.stand_before_ops(["claim_jobs"] * (RUNS + BY_HAND))
        other_gate.stand_before_ops(["claim_jobs"] * RUNS)
        jobs = push_many(dev.hub, repos=2 * RUNS, each=1)
        dev.wait(lambda: (gate.waiting(), other_gate.waiting()) == (RUNS, RUNS), seconds=300)
        # Not earlier: Dagster counts these runs too, and would keep as many of the others waiting.
        by_hand = [dev.start_beside("index", jobs[0], "--json") for _ in range(BY_HAND)]
        dev.wait(lambda: gate.waiting() == RUNS + BY_HAND, seconds=120)

    finished = [finish(process) for process in by_hand]
    dev.wait(lambda: dev.statuses() == {"done": 2 * RUNS}, seconds=600)
    dev.wait(lambda: {run["status"] for run in dev.runs() + rival.runs()} <= ENDED, seconds=180)
    assert [[row["job_id"] for row in each.json] for each in finished] == [[jobs[0]]] * BY_HAND
    assert publications(dev.hub) == sorted(jobs)
    rows = dev.hub.sql("SELECT run_id, attempt, attempts FROM musehub_background_jobs")
    assert [(row["attempt"], len(row["attempts"])) for row in rows] == [(1, 1)] * len(jobs)
    worked = {row["run_id"] for row in rows}
    assert len(worked) == len(jobs)
    assert all(worked & {run["run_id"] for run in each.runs()} for each in (dev, rival))
    assert {run["status"] for run in dev.runs() + rival.runs()} == {"SUCCESS"}
    assert dev.breaches() == []
    assert (dev.stop(), rival.stop()) == (0, 0)
