"""Runs that stand still past their lease, as on a machine that sleeps, and then go on."""

from musehub_pipeline.domain.result import Outcome, ending_line
from musehub_pipeline_tests.acceptance.dev import RUN, Dev
from musehub_pipeline_tests.acceptance.gate import Gate
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.acceptance.pushes import push_many


def test_a_run_that_wakes_up_too_late_publishes_nothing_and_says_so(busy: Dev) -> None:
    count_publications(busy.hub)
    with (
        Gate(busy.dagster_database_url) as before_an_op,
        Gate(str(busy.hub.settings.database_url)) as within_a_transaction,
    ):
        before_an_op.stand_before_ops(["insert_objects"])
        within_a_transaction.stand_behind_rows(["musehub_commits"])
        jobs = push_many(busy.hub, repos=2, each=1)
        busy.wait(
            lambda: (before_an_op.waiting(), within_a_transaction.waiting()) == (1, 1), seconds=300
        )
        held = {job_id: busy.hub.job(job_id) for job_id in jobs}
        frozen = busy.processes(RUN)
        assert len(frozen) == len(jobs)
        for process in frozen:
            process.suspend()

    busy.wait(lambda: busy.statuses() == {"done": len(jobs)}, seconds=600)
    done = {job_id: busy.hub.job(job_id) for job_id in jobs}
    for process in frozen:
        process.resume()
    busy.wait(lambda: not any(process.is_running() for process in frozen), seconds=180)

    assert {job_id: busy.hub.job(job_id) for job_id in jobs} == done
    assert publications(busy.hub) == sorted(jobs)
    for job_id, row in held.items():
        late, timely = done[job_id]["attempts"]
        assert (late["run_id"], late["code"]) == (row["run_id"], "LEASE_EXPIRED")
        assert (timely["run_id"], timely["code"]) == (done[job_id]["run_id"], None)
        line = ending_line(
            Outcome.LOST,
            job_id=job_id,
            repo_id=row["repo_id"],
            code="LEASE_LOST",
            message=f"run {row['run_id']} no longer holds the lease",
        )
        assert busy.said(row["run_id"])[-1:] == [line]
    assert busy.breaches() == []
