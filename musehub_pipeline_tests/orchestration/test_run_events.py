"""What a run leaves in Dagster's records: its events, and what each op says that it did."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from musehub_pipeline.domain.result import TIMINGS
from musehub_pipeline.orchestration.in_process import Runner
from musehub_pipeline.orchestration.instance import dagster_instance, use_dagster_home
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub

HISTORY = small_history()
MPACK = HISTORY.mpack()
*_, LAST = HISTORY.commits


def test_with_a_dagster_home_the_run_is_kept_with_all_that_it_did(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("MUSEHUB_DAGSTER_DATABASE_URL", "")
    use_dagster_home(hub.settings)

    result = hub.index(hub.push(hub.create_repo(), MPACK, head=LAST))

    with dg.DagsterInstance.get() as instance:
        [run] = instance.get_runs()
        lines = [entry.user_message for entry in instance.all_logs(run.run_id)]
        metadata = metadata_of(instance, run.run_id)
    assert (run.run_id, run.job_name, run.status) == (
        result["run_id"],
        "index_mpacks",
        dg.DagsterRunStatus.SUCCESS,
    )
    [summary] = [line for line in lines if "✅ [mpack.index] done" in line]
    assert f"unpack={result['unpack_ms']}ms" in summary
    assert_metadata_tells_what_was_done(metadata)


def test_without_one_the_run_has_the_same_events(hub: Hub) -> None:
    job_id = hub.push(hub.create_repo(), MPACK)

    with dagster_instance() as instance:
        assert Runner(hub.settings, instance).run([job_id]) == [job_id]
        [run] = instance.get_runs()
        lines = [entry.user_message for entry in instance.all_logs(run.run_id)]
        metadata = metadata_of(instance, run.run_id)

    assert len([line for line in lines if "✅ [mpack.index] done" in line]) == 1
    assert_metadata_tells_what_was_done(metadata)


def test_what_this_process_prints_is_not_kept(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    with dagster_instance() as instance:
        assert Runner(hub.settings, instance).run([hub.push(hub.create_repo(), MPACK)])
        [run] = instance.get_runs()

    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert not [file.name for file in tmp_path.rglob("*") if file.suffix in {".out", ".err"}]


def metadata_of(instance: dg.DagsterInstance, run_id: str) -> dict[str, dict[str, Any]]:
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    return {
        str(event.step_key): {
            name: value.value for name, value in event.step_output_data.metadata.items()
        }
        for event in events
        if event.event_type == dg.DagsterEventType.STEP_OUTPUT
    }


def assert_metadata_tells_what_was_done(metadata: dict[str, dict[str, Any]]) -> None:
    rates = {op: values.pop("mb_per_second") for op, values in metadata.items()}
    [job], [took] = (metadata["summarize"].pop(name).records for name in ("batch", "phases"))
    assert took.data.keys() == {"job", *TIMINGS}
    assert (job.data["outcome"], job.data["mpack_bytes"]) == ("done", len(MPACK))
    assert all(isinstance(rate, float) and rate >= 0 for rate in rates.values())
    rows = {
        "claim_jobs": {},
        "fetch_mpack": {},
        "unpack": {},
        "put_objects": {"objects_put": 14, "object_bytes_put": 14 * 128},
        "insert_objects": {"objects_inserted": 14},
        "upsert_object_refs": {"object_refs_inserted": 14},
        "insert_snapshots": {"snapshots_inserted": 4},
        "insert_commits": {"commits_inserted": 4},
    }
    total = {name: count for counts in rows.values() for name, count in counts.items()}
    jobs = {"jobs": 1, "jobs_stopped": 0, "mpack_bytes": len(MPACK)}
    assert metadata == {
        **{op: jobs | counts for op, counts in rows.items()},
        "summarize": jobs | total | {"done": 1, "not_done": 0},
    }
