"""What is kept of the past: ended runs and done jobs, for the days that are set."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import DateTime, bindparam, text

from musehub_pipeline.definitions import build_defs
from musehub_pipeline.orchestration.instance import LOCATION_TAG, OUR_TAGS, code_locations
from musehub_pipeline.orchestration.prune_history import prune_runs
from musehub_pipeline.orchestration.resources import fixed_resource
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import change

SUCCESS = dg.DagsterRunStatus.SUCCESS
HERE = "__repository__@elsewhere"
ELSEWHERE = {LOCATION_TAG: HERE}

AddRun = Callable[..., str]


@pytest.fixture
def add_run(hub: Hub, instance: dg.DagsterInstance) -> AddRun:
    job = build_defs(musehub=fixed_resource(hub.settings)).get_job_def("index_mpacks")

    def add(status: dg.DagsterRunStatus = SUCCESS, tags: dict[str, str] = OUR_TAGS) -> str:
        return instance.create_run_for_job(job, status=status, tags=tags).run_id

    return add


def left(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def test_ended_runs_are_pruned_and_nothing_else(
    instance: dg.DagsterInstance, add_run: AddRun
) -> None:
    ended = {add_run(), add_run(dg.DagsterRunStatus.FAILURE), add_run(dg.DagsterRunStatus.CANCELED)}
    under_way, elsewhere = add_run(dg.DagsterRunStatus.STARTED), add_run(tags=ELSEWHERE)
    ours = code_locations(None)

    assert prune_runs(instance, ours, older_than=timedelta(days=1)) == 0
    assert left(instance) == ended | {under_way, elsewhere}
    assert prune_runs(instance, ours, older_than=timedelta(0)) == 3
    assert left(instance) == {under_way, elsewhere}


def test_a_code_location_that_is_called_otherwise_prunes_its_own_runs(
    instance: dg.DagsterInstance, add_run: AddRun
) -> None:
    add_run()
    add_run(tags=ELSEWHERE)

    assert prune_runs(instance, code_locations(HERE), older_than=timedelta(0)) == 2

    assert left(instance) == set()


@pytest.mark.parametrize(
    ("days", "pruned"),
    [
        ({"keep_runs_days": 7, "keep_done_days": 7}, {"runs": 1, "job_rows": 1}),
        ({"keep_runs_days": 9, "keep_done_days": 9}, {"runs": 0, "job_rows": 0}),
        ({"keep_runs_days": 0, "keep_done_days": 0}, {"runs": 0, "job_rows": 0}),
    ],
    ids=["a week", "longer", "for ever"],
)
def test_the_job_removes_what_is_past_its_days_and_says_how_much(
    hub: Hub,
    instance: dg.DagsterInstance,
    add_run: AddRun,
    days: dict[str, Any],
    pruned: dict[str, int],
) -> None:
    old, elsewhere = add_run(), add_run(tags=ELSEWHERE)
    with instance.run_storage.connect() as connection:  # pyright: ignore[reportAttributeAccessIssue]  SQL's
        ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=8)
        backdate = text("UPDATE runs SET create_timestamp = :ago")
        connection.execute(backdate.bindparams(bindparam("ago", ago, DateTime)))
    job_id = hub.enqueue("r")
    change(hub, job_id, "status = 'done', finished_at = now() - interval '8 days'")
    no_scratch = {"scratch_dir": Path("/dev/null/scratch")}  # nor is any needed
    changed = hub.settings.model_copy(update=days | no_scratch)
    job = build_defs(musehub=fixed_resource(changed)).resolve_job_def("prune_history")

    run = job.execute_in_process(instance=instance)

    [output] = [
        event.step_output_data for event in run.all_node_events if event.is_successful_output
    ]
    assert {name: value.value for name, value in output.metadata.items()} == pruned
    assert left(instance) == {elsewhere, run.run_id} | ({old} if not pruned["runs"] else set())
    assert len(hub.sql("SELECT FROM musehub_background_jobs")) == 1 - pruned["job_rows"]
    [known] = hub.sql("SELECT run_id FROM musehub_pipeline_runs")
    assert known["run_id"] == run.run_id  # it has a heartbeat
