"""What became of the jobs of a run that died is told in that run's log."""

import logging

import dagster as dg

from musehub_pipeline.orchestration.event_log import note_rescued
from musehub_pipeline.queue.claim import Rescued


def rescued(number: int, run_id: str | None) -> Rescued:
    name = f"job-{number}"
    return Rescued(job_id=name, run_id=run_id, level=logging.WARNING, line=f"{name} waits again")


@dg.job
def some_job() -> None:
    pass


def test_a_run_has_one_event_for_all_its_jobs_and_a_run_that_dagster_forgot_has_none(
    instance: dg.DagsterInstance,
) -> None:
    one, other = (instance.create_run_for_job(some_job).run_id for _ in range(2))
    jobs = [one, "forgotten", other, one, None]

    note_rescued(instance, [rescued(number, run_id) for number, run_id in enumerate(jobs)])

    said = {run_id: [e.message for e in instance.all_logs(run_id)] for run_id in (one, other)}
    assert said == {
        one: ["job-0 waits again\njob-3 waits again"],
        other: ["job-2 waits again"],
    }
