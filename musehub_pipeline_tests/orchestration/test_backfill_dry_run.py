"""A dry run says what a backfill would take, and takes nothing."""

from typing import Any

import dagster as dg
import pytest

from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.backfilling import (
    backfill,
    fared,
    jobs_by_tags,
    old_pushes,
    report,
)


@pytest.mark.parametrize(
    "asked", [{"config": {"dry_run": True}}, {"tags": {"musehub/dry_run": "true"}}], ids=str
)
def test_a_dry_run_plans_and_changes_nothing(
    hub: Hub, instance: dg.DagsterInstance, asked: dict[str, Any]
) -> None:
    jobs = old_pushes(hub, "abc")
    before = [hub.job(job_id) for job_id in jobs]

    run = backfill(hub, instance, batch_jobs=2, **asked)

    told = report(run)
    assert [event.step_key for event in run.all_events if event.is_step_start] == [
        "plan_backfill",
        "report_backfill",
    ]
    assert [told[name] for name in ("dry_run", "planned", "left", "indexed")] == [True, 3, 0, 0]
    assert told["planned_bytes"] == sum(row["result"]["mpack_size_bytes"] for row in before)
    assert told["estimated_seconds"] >= 0
    said = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert "Dry run: 3 jobs would be indexed again." in said
    assert [hub.job(job_id) for job_id in jobs] == before
    assert jobs_by_tags(instance, run.run_id) == {"musehub/planned": "3", "musehub/indexed": "0"}
    assert fared(backfill(hub, instance)) == (3, 3, {}, {})
