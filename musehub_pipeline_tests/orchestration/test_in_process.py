"""One job row in this process: its result, or an exception that says why there is none."""

import json
import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest

from musehub_pipeline import JobFailed, process_mpack_index_job
from musehub_pipeline.domain.errors import (
    JobNotDone,
    JobNotFound,
    SchemaMismatch,
    SettingsError,
    Transient,
)
from musehub_pipeline.domain.result import KEYS
from musehub_pipeline.orchestration.in_process import Runner
from musehub_pipeline.orchestration.instance import dagster_instance
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.conftest import s3_settings
from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.payloads import BAD_PAYLOADS
from musehub_pipeline_tests.servers.moto import S3Server

HISTORY = small_history()
MPACK = HISTORY.mpack()
FIRST, *_, LAST = HISTORY.commits
ID = "sha256:" + "0" * 64


def assert_nothing_is_written(hub: Hub) -> None:
    assert set(hub.counts().values()) == {0}
    assert hub.stored_objects() == {}
    assert hub.sql("SELECT slug FROM musehub_repos WHERE pushed_at IS NOT NULL") == []


def with_storage(hub: Hub, url: str) -> Settings:
    return hub.settings.model_copy(update={"storage_url": url})


def test_a_job_that_is_done_gives_its_stored_result_without_another_run(hub: Hub) -> None:
    job_id = hub.push(hub.create_repo(), MPACK, head=LAST)
    first = hub.index(job_id)
    shutil.rmtree(hub.settings.home)
    nowhere = with_storage(hub, "file:///no/such/folder")

    again = process_mpack_index_job(job_id, nowhere)

    assert list(again.items()) == list(first.items())
    assert tuple(first) == KEYS
    assert hub.job(job_id)["attempt"] == 1


def test_a_job_that_failed_raises_its_reason_each_time(hub: Hub) -> None:
    job_id = hub.push(hub.create_repo(), MPACK, declared_objects_count=15)

    reasons = []
    for _ in range(2):
        with pytest.raises(JobFailed) as failure:
            hub.index(job_id)
        reasons.append((failure.value.job_id, failure.value.code, failure.value.message))

    assert (
        reasons == [(job_id, "COUNT_MISMATCH", "15 objects are declared, the mpack holds 14")] * 2
    )
    assert hub.job(job_id)["attempt"] == 1
    assert_nothing_is_written(hub)


def test_a_job_that_does_not_exist_is_not_found(hub: Hub) -> None:
    with pytest.raises(JobNotFound, match=r"no mpack\.index job has the id 'job-none'"):
        hub.index("job-none")


def test_a_job_over_which_as_many_runs_died_as_may_fails(hub: Hub) -> None:
    job_id = hub.push(hub.create_repo(), MPACK)
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'running', attempt = 1, run_id = 'dead',"
        " started_at = now(), lease_expires_at = now() - interval '1 second'"
    )

    with pytest.raises(JobFailed) as failure:
        process_mpack_index_job(job_id, hub.settings.model_copy(update={"max_kills": 1}))

    assert (failure.value.job_id, failure.value.code) == (job_id, "LEASE_EXPIRED")
    assert_nothing_is_written(hub)


def test_a_job_behind_an_earlier_one_says_which(hub: Hub) -> None:
    repo_id = hub.create_repo()
    first, second = hub.push(repo_id, MPACK), hub.push(repo_id, MPACK)

    with pytest.raises(JobNotDone, match=f"job {second} .*job {first} "):
        hub.index(second)

    assert [hub.job(job)["attempt"] for job in (first, second)] == [0, 0]
    assert_nothing_is_written(hub)


def test_a_job_that_another_run_holds_says_which(hub: Hub) -> None:
    job_id = hub.push(hub.create_repo(), MPACK)
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'running', attempt = 1, run_id = 'other',"
        " lease_expires_at = now() + interval '1 hour'"
    )

    with pytest.raises(JobNotDone, match=f"job {job_id} is held by run other"):
        hub.index(job_id)

    hub.sql("UPDATE musehub_background_jobs SET lease_expires_at = now() - interval '1 second'")
    assert hub.index(job_id)["attempt"] == 2


@pytest.mark.parametrize("storage", ["directory", "bucket"])
def test_storage_that_is_not_there_puts_the_job_back(
    hub: Hub, moto_s3: S3Server, storage: str
) -> None:
    job_id = hub.push(hub.create_repo(), MPACK)
    if storage == "directory":
        settings = with_storage(hub, "file:///no/such/folder")
    else:
        on_s3 = s3_settings(hub.settings, moto_s3)
        settings = on_s3.model_copy(update={"storage_url": "s3://no-such-bucket/some/prefix"})

    with pytest.raises(JobNotDone, match=f"{job_id} is pending again.* STORAGE_UNAVAILABLE: "):
        process_mpack_index_job(job_id, settings)

    row = hub.job(job_id)
    due = row["not_before"] - row["started_at"]
    assert timedelta(0) <= due <= timedelta(seconds=30)
    assert (row["status"], row["attempt"], row["error_code"]) == (
        "pending",
        1,
        "STORAGE_UNAVAILABLE",
    )
    ended = ("run_id", "lease_expires_at", "finished_at", "result")
    assert [row[name] for name in ended] == [None] * 4
    assert str(settings.storage_url) in row["error"]
    assert row["error"].endswith("does not exist")
    assert_nothing_is_written(hub)
    assert hub.index(job_id)["attempt"] == 2
    assert (hub.job(job_id)["error_code"], hub.job(job_id)["not_before"]) == (None, None)


def test_each_field_of_a_payload_is_checked(hub: Hub) -> None:
    key = hub.upload(MPACK)
    jobs = {}
    for name, (payload, _, _) in BAD_PAYLOADS.items():
        job_id = jobs[name] = hub.enqueue(hub.create_repo(name))
        given = {"mpack_key": key} | payload if payload else payload
        hub.sql(
            "UPDATE musehub_background_jobs SET payload = %(p)s WHERE job_id = %(j)s",
            {"p": json.dumps(given), "j": job_id},
        )

    with dagster_instance() as instance:
        Runner(hub.settings, instance).run()

    rows = {name: hub.job(job_id) for name, job_id in jobs.items()}
    assert {name: (r["status"], r["attempt"], r["error_code"]) for name, r in rows.items()} == {
        name: ("failed", 1, code) for name, (_, code, _) in BAD_PAYLOADS.items()
    }
    for name, (_, _, named) in BAD_PAYLOADS.items():
        assert named in rows[name]["error"], name
    assert_nothing_is_written(hub)


def test_a_push_that_is_at_fault_fails_at_once_and_leaves_nothing(hub: Hub) -> None:
    def push(slug: str, mpack: bytes = MPACK, **payload: Any) -> str:
        return hub.push(hub.create_repo(slug), mpack, **payload)

    replaced = hub.upload(History().mpack()).removeprefix("sha256:")
    jobs = {
        "REPO_UNKNOWN": hub.push("repo-none", MPACK),
        "REPO_DELETED": push("deleted"),
        "MPACK_MISSING": push("missing", mpack_key=ID),
        "MPACK_MALFORMED": push("truncated", MPACK[:-1]),
        "MPACK_HASH_MISMATCH": push("replaced", mpack_key=replaced),
        "HEAD_UNKNOWN": push("head", head=ID),
        "OBJECT_NOT_HELD": push("thin", HISTORY.mpack(objects=[])),
    }
    hub.sql("UPDATE musehub_repos SET deleted_at = now() WHERE slug = 'deleted'")
    mpacks = Path(str(hub.settings.storage_url).removeprefix("file://"), "mpacks")
    (mpacks / replaced).write_bytes(MPACK)

    with dagster_instance() as instance:
        Runner(hub.settings, instance).run()

    for code, job_id in jobs.items():
        row = hub.job(job_id)
        assert (row["error_code"], row["status"], row["attempt"]) == (code, "failed", 1)
        assert (row["result"], row["lease_expires_at"]) == (None, None)
        assert row["started_at"] <= row["finished_at"]
    assert "'repo-none'" in hub.job(jobs["REPO_UNKNOWN"])["error"]
    assert "0" * 64 in hub.job(jobs["MPACK_MISSING"])["error"]
    assert_nothing_is_written(hub)


def test_an_mpack_over_the_limit_is_not_even_fetched(hub: Hub) -> None:
    job_id = hub.push(hub.create_repo(), MPACK)
    settings = hub.settings.model_copy(update={"max_mpack_bytes": len(MPACK) - 1})

    with pytest.raises(JobFailed) as failure:
        process_mpack_index_job(job_id, settings)

    assert failure.value.code == "MPACK_TOO_LARGE"
    assert_nothing_is_written(hub)


def test_a_database_that_is_down_is_named_without_its_password(hub: Hub, tmp_path: Path) -> None:
    url = f"postgresql://ada:hunter2@/hub?host={tmp_path}"
    settings = hub.settings.model_copy(update={"database_url": url})

    with pytest.raises(Transient) as trouble:
        process_mpack_index_job("job", settings)

    assert str(trouble.value).startswith("DATABASE_UNAVAILABLE: ")
    assert str(tmp_path) in str(trouble.value)
    assert "hunter2" not in str(trouble.value)


def test_a_database_without_tables_asks_for_the_upgrade(hub: Hub, empty_database_url: str) -> None:
    settings = hub.settings.model_copy(update={"database_url": empty_database_url})

    with pytest.raises(SchemaMismatch, match="run `musehub-pipeline db upgrade`"):
        process_mpack_index_job("job", settings)


def test_without_settings_the_environment_is_read(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = hub.push(hub.create_repo(), MPACK, head=LAST)
    for name in ("home", "database_url", "storage_url"):
        monkeypatch.setenv(f"MUSEHUB_{name.upper()}", str(getattr(hub.settings, name)))

    assert process_mpack_index_job(job_id)["head"] == LAST

    monkeypatch.setenv("MUSEHUB_BATCH_JOBS", "none")
    with pytest.raises(SettingsError, match="MUSEHUB_BATCH_JOBS: "):
        process_mpack_index_job(job_id)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_step_of_a_run_stops_it_too(
    hub: Hub, number: signal.Signals
) -> None:
    history = small_history()
    job_id = hub.push(hub.create_repo(), history.mpack(), head=list(history.commits)[-1])
    run_id = str(uuid4())

    def stop_at_the_end(event: dg.EventLogEntry) -> None:
        if event.dagster_event_type is dg.DagsterEventType.RUN_SUCCESS:
            os.kill(os.getpid(), number)

    with dagster_instance() as instance:
        instance.add_event_listener(run_id, stop_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            Runner(hub.settings, instance).run([job_id], run_id=run_id)

    assert hub.job(job_id)["status"] == "done"
