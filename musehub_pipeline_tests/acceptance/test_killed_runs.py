"""Runs that are killed, wherever they stand: their jobs are taken up again, and soon."""

import pytest

from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline_tests.acceptance.aftermath import (
    assert_drained,
    holders,
    wait_until_given_up,
)
from musehub_pipeline_tests.acceptance.conftest import ENDED, RUN, Dev
from musehub_pipeline_tests.acceptance.gate import Gate
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.orchestration.killing import asleep, end_sleep, when

OPS = ("claim_jobs", *(phase.__name__ for phase in PHASES), "summarize")
TABLES = (
    *("musehub_objects", "musehub_object_refs", "musehub_snapshots", "musehub_commits"),
    "musehub_branches",  # in the midst of what `summarize` publishes
)
KILLS = 3
"""After how many a push has had enough, where nothing else is set."""


@pytest.fixture
def busy(dev: Dev) -> Dev:
    """Each push gets a run of its own, and as many as there are ops run at a time."""
    count_publications(dev.hub)
    dev.environment["MUSEHUB_BATCH_JOBS"] = "1"
    dev.environment["MUSEHUB_MAX_CONCURRENT_RUNS"] = str(len(OPS))
    dev.start()
    return dev


def kill_runs(dev: Dev) -> list[str]:
    """Kill all runs; return those that held a job, once Dagster and the queue gave all up."""
    killed = [run["run_id"] for run in dev.runs()]
    held = holders(dev)
    dev.kill(RUN)
    wait_until_given_up(dev, killed)
    return held


def kill_run_of(dev: Dev, job_id: str) -> str:
    """Kill all runs while that of a job waits for the database; return it."""
    run_id = dev.hub.job(job_id)["run_id"]
    dev.kill(RUN)
    end_sleep(dev.hub)
    return run_id


def died(dev: Dev) -> list[str]:
    """Return the runs that jobs have noted as dead; each job was done at its next attempt."""
    rows = dev.hub.sql("SELECT attempts FROM musehub_background_jobs")
    runs: list[str] = []
    for row in rows:
        *dead, last = row["attempts"]
        assert last["code"] is None
        assert [attempt["code"] for attempt in dead] == ["LEASE_EXPIRED"] * len(dead)
        runs += [attempt["run_id"] for attempt in dead]
    return sorted(runs)


def test_runs_are_killed_at_the_beginning_of_every_op(busy: Dev) -> None:
    with Gate(busy.dagster_database_url) as gate:
        # The run that comes last stops first: before it claims, it has no lease that would last.
        gate.stand_before_ops(OPS[::-1])
        jobs = push_many(busy.hub, repos=len(OPS), each=1)
        busy.wait(lambda: gate.waiting() == len(OPS), seconds=300)

        held = kill_runs(busy)

    assert_drained(busy, jobs)
    assert len(held) == len(OPS) - 1
    assert died(busy) == held


def test_runs_are_killed_in_the_midst_of_every_write(busy: Dev) -> None:
    with Gate(str(busy.hub.settings.database_url)) as gate:
        gate.stand_behind_rows(TABLES)
        jobs = push_many(busy.hub, repos=len(TABLES), each=1)
        busy.wait(lambda: gate.waiting() == len(TABLES), seconds=300)

        held = kill_runs(busy)

    assert_drained(busy, jobs)
    assert len(held) == len(TABLES)
    assert died(busy) == held


def test_a_push_that_kills_every_run_fails_in_the_end_and_its_neighbours_do_not(dev: Dev) -> None:
    hub = dev.hub
    count_publications(hub)
    jobs = push_many(hub, repos=5, each=1)
    deadly = jobs.pop(2)
    when(hub, deadly, "NEW.status = 'done'", do="PERFORM pg_sleep(600)")
    dev.start()
    dev.wait(lambda: asleep(hub), seconds=180)
    together = {hub.job(job_id)["run_id"] for job_id in jobs}
    killed = [kill_run_of(dev, deadly)]
    while len(killed) < KILLS:
        # Its neighbours, which the first kill made suspects too, are done by runs of their own.
        dev.wait(
            lambda: asleep(hub) and dev.statuses() == {"done": len(jobs), "running": 1}, seconds=180
        )
        killed.append(kill_run_of(dev, deadly))
    dev.wait(lambda: dev.statuses() == {"done": len(jobs), "failed": 1}, seconds=180)
    dev.wait(lambda: {run["status"] for run in dev.runs()} <= ENDED, seconds=180)

    assert together == set(killed[:1])
    row = hub.job(deadly)
    assert (row["attempt"], row["error_code"]) == (KILLS, "LEASE_EXPIRED")
    assert [(attempt["run_id"], attempt["code"]) for attempt in row["attempts"]] == [
        (run_id, "LEASE_EXPIRED") for run_id in killed
    ]
    assert publications(hub) == sorted(jobs)
    assert dev.breaches() == []
    assert dev.stop() == 0
