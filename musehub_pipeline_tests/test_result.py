"""The result of a job and its summary line: the contract with dashboards and alerts."""

import logging

import pytest

from musehub_pipeline.domain.result import TIMING_OF_PHASE
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub

TIMINGS = {
    "fetch_mpack_ms": "fetch_mpack=",
    "unpack_ms": "unpack=",
    "object_puts_ms": "object_puts=",
    "object_insert_ms": "object_insert=",
    "object_refs_ms": "object_refs=",
    "snapshot_insert_ms": "snapshot_insert=",
    "commit_insert_ms": "commit_insert=",
}


@pytest.fixture
def pushed(hub: Hub) -> tuple[str, bytes, str]:
    history = small_history()
    mpack = history.mpack()
    head = list(history.commits)[-1]
    return hub.push(hub.create_repo(), mpack, head=head), mpack, head


def test_every_phase_has_a_timing_and_every_timing_a_phase() -> None:
    assert [phase.__name__ for phase in PHASES] == list(TIMING_OF_PHASE)


def test_it_names_what_every_phase_took(hub: Hub, pushed: tuple[str, bytes, str]) -> None:
    result = hub.index(pushed[0])

    timings = {key: result[key] for key in TIMINGS}
    assert all(isinstance(value, float) for value in timings.values())
    assert min(timings.values()) >= 0
    assert sum(timings.values()) <= result["elapsed_ms"] <= result["batch_elapsed_ms"]


def test_it_gives_the_length_of_the_wire(hub: Hub, pushed: tuple[str, bytes, str]) -> None:
    assert hub.index(pushed[0])["mpack_size_bytes"] == len(pushed[1])


def test_it_has_the_documented_keys_and_counts(hub: Hub, pushed: tuple[str, bytes, str]) -> None:
    job_id, mpack, head = pushed

    result = hub.index(job_id)

    measured = {"elapsed_ms", "batch_elapsed_ms", "run_id", *TIMINGS}
    assert measured <= result.keys()
    assert {key: value for key, value in result.items() if key not in measured} == {
        "job_id": job_id,
        "repo_id": "repo-song",
        "mpack_key": hub.job(job_id)["payload"]["mpack_key"],
        "mpack_size_bytes": len(mpack),
        "objects_total": 14,
        "objects_put": 14,
        "object_bytes_put": 14 * 128,
        "objects_inserted": 14,
        "object_refs_inserted": 14,
        "snapshots_inserted": 4,
        "commits_inserted": 4,
        "branch": "main",
        "head": head,
        "head_moved": True,
        "attempt": 1,
        "batch_jobs": 1,
        "index_version": 1,
    }


def test_the_row_holds_the_same_dict(hub: Hub, pushed: tuple[str, bytes, str]) -> None:
    result = hub.index(pushed[0])

    row = hub.job(pushed[0])
    assert row["result"] == result
    assert (row["status"], row["attempt"], row["index_version"]) == ("done", 1, 1)
    assert row["run_id"] == result["run_id"]
    assert row["started_at"] <= row["finished_at"]


def test_the_summary_line_has_every_phase_with_the_numbers_of_the_dict(
    hub: Hub, pushed: tuple[str, bytes, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="musehub_pipeline.index"):
        result = hub.index(pushed[0])

    [record] = [r for r in caplog.records if r.name == "musehub_pipeline.index"]
    assert record.getMessage().startswith("✅ [mpack.index] done ")
    for key, label in TIMINGS.items():
        assert f"{label}{result[key]}ms" in record.getMessage()


def test_a_failed_job_has_a_line_with_its_code(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    job_id = hub.push(hub.create_repo(), b"\xc1 is never msgpack")

    with (
        caplog.at_level(logging.INFO, logger="musehub_pipeline.index"),
        pytest.raises(Exception, match="MPACK_MALFORMED"),
    ):
        hub.index(job_id)

    [record] = [r for r in caplog.records if r.name == "musehub_pipeline.index"]
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("❌ [mpack.index] failed ")
    assert f"job={job_id}" in record.getMessage()
    assert "code=MPACK_MALFORMED" in record.getMessage()


def test_a_job_that_is_done_gives_its_stored_result(
    hub: Hub, pushed: tuple[str, bytes, str]
) -> None:
    assert hub.index(pushed[0]) == hub.index(pushed[0])
