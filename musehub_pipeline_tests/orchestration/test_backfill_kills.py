"""A backfill and an mpack that kills whoever indexes it."""

import dagster as dg

from musehub_pipeline.domain.backfill import given_up_line
from musehub_pipeline_tests.audit.checking import found
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.backfilling import (
    attempts,
    backfill,
    old_pushes,
    report,
)
from musehub_pipeline_tests.orchestration.killing import kill_at, let_leases_end


def test_what_kills_its_runs_goes_alone_and_is_given_up(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    jobs = old_pushes(hub, "abcde")
    deadly = jobs[2]
    before = hub.job(deadly)
    kill_at(hub, deadly)
    assert sorted(let_leases_end(hub)) == sorted(jobs)  # small ones are published together
    kill_at(hub, deadly)
    assert let_leases_end(hub) == [deadly]
    dead = hub.job(deadly)

    run = backfill(hub, instance, max_kills=2)

    told = report(run)
    assert [told[name] for name in ("planned", "given_up", "left", "indexed", "kept")] == [
        *(2, 1, 0, 2, {}),
    ]
    assert [hub.job(job_id)["result"]["batch_jobs"] for job_id in jobs] == [1, 1, 5, 1, 1]
    warnings = [entry.user_message for entry in instance.all_logs(run.run_id) if entry.level == 30]
    assert warnings == [given_up_line(1)]
    assert hub.job(deadly) == dead
    held = {name: dead[name] for name in ("attempt", "run_id", "started_at", "lease_expires_at")}
    assert (dead, dead["attempt"]) == (before | held, 3)
    assert found(hub) == []

    mended = report(backfill(hub, instance, max_kills=3))

    assert [mended[name] for name in ("planned", "given_up", "indexed")] == [1, 0, 1]
    assert attempts(hub, jobs) == [3, 3, 4, 3, 3]
    assert [one["attempt"] for one in hub.job(deadly)["attempts"]] == [1, 4]
    assert found(hub) == []
