"""What the UI would show, as the tests read it from Dagster's records."""

from typing import Any

import dagster as dg

from musehub_pipeline.orchestration.assets import MPACK_INDEX
from musehub_pipeline.orchestration.checks import phase_budgets
from musehub_pipeline.orchestration.in_process import Runner
from musehub_pipeline_tests.hub import Hub


def run(hub: Hub, instance: dg.DagsterInstance, **changes: Any) -> str:
    """Index one batch, with some settings changed, and return the run's id."""
    Runner(hub.settings.model_copy(update=changes), instance).run()
    return instance.get_runs(limit=1)[0].run_id


def statuses(hub: Hub, *job_ids: str) -> list[tuple[str, int, str | None]]:
    """Return of jobs: status, attempt and reason code."""
    rows = [hub.job(job_id) for job_id in job_ids]
    return [(row["status"], row["attempt"], row["error_code"]) for row in rows]


def materializations(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    """Return the figures of each materialization, the newest first."""
    records = instance.fetch_materializations(MPACK_INDEX.key, limit=100).records
    found = [record.asset_materialization for record in records]
    return [
        {name: value.value for name, value in one.metadata.items()}
        for one in found
        if one is not None
    ]


def output_metadata(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """Return the metadata of the output of `summarize`."""
    [event] = [
        entry.dagster_event
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_OUTPUT)
        if entry.dagster_event and entry.dagster_event.step_key == "summarize"
    ]
    return dict(event.step_output_data.metadata)


def table_of(value: dg.TableMetadataValue) -> list[dict[str, Any]]:
    return [dict(record.data) for record in value.records]


def evaluations(
    instance: dg.DagsterInstance, check: dg.AssetChecksDefinition = phase_budgets
) -> list[dg.AssetCheckEvaluation]:
    """Return what the checks tab lists of a check, the newest first."""
    history = instance.event_log_storage.get_asset_check_execution_history(
        check.check_key, limit=100
    )
    return [record.evaluation for record in history if record.evaluation]
