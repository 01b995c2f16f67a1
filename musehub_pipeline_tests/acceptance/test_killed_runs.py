"""Runs that are killed, wherever they stand: their jobs are taken up again, and soon."""

from musehub_pipeline_tests.acceptance.aftermath import (
    assert_drained,
    holders,
    wait_until_given_up,
)
from musehub_pipeline_tests.acceptance.dev import ENDED, RUN, Dev
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.acceptance.standing import RUNS, standing_runs
from musehub_pipeline_tests.orchestration.killing import asleep, end_sleep, let_leases_end, when

KILLS = 3
"""After how many, alone, a push has had enough, where nothing else is set."""


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
    let_leases_end(dev.hub)  # together, wherever the run's last heartbeat found the job locked
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


def test_runs_that_are_killed_are_made_up_for(busy: Dev) -> None:
    with standing_runs(busy) as jobs:
        held = kill_runs(busy)

    assert_drained(busy, jobs)
    assert len(held) == RUNS - 1  # one stands before it claims
    assert died(busy) == held


def test_a_push_that_kills_every_run_fails_in_the_end_and_its_neighbours_do_not(warm: Dev) -> None:
    hub = warm.hub
    count_publications(hub)
    jobs = push_many(hub, repos=5, each=1)
    deadly = jobs.pop(2)
    when(hub, deadly, "NEW.status = 'done'", do="PERFORM pg_sleep(600)")
    killed: list[str] = []

    def has_failed() -> bool:
        return hub.job(deadly)["status"] == "failed"

    def is_at_work_alone() -> bool:
        rows = hub.sql("SELECT run_id FROM musehub_background_jobs WHERE status = 'running'")
        return asleep(hub) and len({row["run_id"] for row in rows}) == 1

    while not has_failed():
        warm.wait(lambda: has_failed() or is_at_work_alone(), seconds=180)
        if not has_failed():
            killed.append(kill_run_of(warm, deadly))
    warm.wait(lambda: warm.statuses() == {"done": len(jobs), "failed": 1}, seconds=180)
    warm.wait(lambda: {run["status"] for run in warm.runs()} <= ENDED, seconds=180)

    row = hub.job(deadly)
    assert (row["attempt"], row["error_code"]) == (len(killed), "LEASE_EXPIRED")
    assert [(attempt["run_id"], attempt["code"]) for attempt in row["attempts"]] == [
        (run_id, "LEASE_EXPIRED") for run_id in killed
    ]
    # It is told from its neighbours by halves; only what dies alone is counted.
    assert [attempt["jobs"] for attempt in row["attempts"]] == [5, 3, *[1] * KILLS]
    assert publications(hub) == sorted(jobs)
    assert warm.breaches() == []
