"""`jobs retry` and `jobs cancel`: an operator puts right what is in the queue."""

from collections.abc import Iterator
from typing import Any

import pytest

from musehub_pipeline.phases.services import open_queue
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub

CANCELLED = {"error_code": "CANCELLED", "error": "An operator cancelled the job."}


@pytest.fixture
def queue(hub: Hub) -> Iterator[Queue]:
    with Database(str(hub.settings.database_url)) as database:
        yield open_queue(database, hub.settings)


def change(hub: Hub, job_id: str, assignment: str) -> None:
    hub.sql(
        f"UPDATE musehub_background_jobs SET {assignment} WHERE job_id = %(id)s", {"id": job_id}
    )


def fail(hub: Hub, repo_id: str, code: str = "STORAGE_UNAVAILABLE") -> str:
    """Add a job that failed in its twelfth attempt."""
    job_id = hub.push(repo_id, History().mpack())
    change(
        hub,
        job_id,
        "status = 'failed', attempt = 12, run_id = 'run-12', started_at = now(),"
        " finished_at = now(), not_before = now() + interval '1 hour', error = 'why',"
        f' error_code = \'{code}\', attempts = \'[{{"attempt": 12, "code": "{code}"}}]\'',
    )
    return job_id


def statuses(hub: Hub) -> dict[str, str]:
    rows = hub.sql("SELECT job_id, status FROM musehub_background_jobs")
    return {row["job_id"]: row["status"] for row in rows}


def test_a_retried_job_is_like_new_but_for_its_history_and_its_count(hub: Hub) -> None:
    job_id = fail(hub, hub.create_repo())
    before = hub.job(job_id)

    finished = call("jobs", "retry", job_id)

    assert (finished.code, finished.out) == (0, f"{job_id}\n")
    assert finished.err == "1 job is pending again\n"
    nothing = ("not_before", "finished_at", "error_code", "error", "run_id", "lease_expires_at")
    assert hub.job(job_id) == before | dict.fromkeys(nothing) | {
        "status": "pending",
        "attempts_forgiven": 12,
    }
    [outcome] = call("index", "--json").json
    assert (outcome["status"], outcome["result"]["attempt"]) == ("done", 13)
    assert [each["attempt"] for each in hub.job(job_id)["attempts"]] == [12, 13]


def test_a_retried_job_has_all_its_attempts_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = fail(hub, hub.create_repo())
    monkeypatch.setenv("MUSEHUB_MAX_ATTEMPTS", "2")
    monkeypatch.setenv("MUSEHUB_STORAGE_URL", "file:///no/such/folder")
    call("jobs", "retry", job_id)

    seen = []
    for _ in range(2):
        call("index", job_id)
        seen.append((hub.job(job_id)["status"], hub.job(job_id)["attempt"]))

    assert seen == [("pending", 13), ("failed", 14)]


def test_a_retried_job_goes_before_what_came_after_it(hub: Hub, queue: Queue) -> None:
    repo_id = hub.create_repo()
    failed, later = fail(hub, repo_id), hub.enqueue(repo_id)

    call("jobs", "retry", failed)

    claims = [lease.claim.job_id for lease in queue.claim(run_id="run", limit=9)]
    assert claims == [failed, later]


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ("--all", [0, 1, 2]),
        ("--code STORAGE_UNAVAILABLE", [0, 2]),
        ("--repo bob/tune", [2]),
        ("-r ada/song --code storage_unavailable", [0]),
        ("--code BAD_ID", []),
        ("--older-than 1h", [0]),
        ("--newer-than 1h --repo ada/song", [1]),
    ],
)
def test_filters_choose_among_the_failed(hub: Hub, options: str, chosen: list[int]) -> None:
    song, tune = hub.create_repo("song"), hub.create_repo("tune", owner="bob")
    failed = [fail(hub, song), fail(hub, song, "MPACK_MISSING"), fail(hub, tune)]
    waits, done = hub.enqueue(song), hub.enqueue(tune)
    change(hub, failed[0], "created_at = now() - interval '2 hours'")
    change(hub, done, "status = 'done', error_code = 'STORAGE_UNAVAILABLE'")

    finished = call("jobs", "retry", *options.split(), "--json")

    expected = [failed[at] for at in chosen]
    assert finished.json == {"retried": expected, "refused": {}}
    assert (finished.code, finished.err) == (0, "")
    pending = {job_id for job_id, status in statuses(hub).items() if status == "pending"}
    assert pending == {waits, *expected}


def test_named_jobs_that_are_not_failed_are_refused_and_the_others_retried(
    hub: Hub, queue: Queue
) -> None:
    running, waits, done = (hub.enqueue(repo) for repo in ("r", "r", "s"))
    change(hub, done, "status = 'done'")
    queue.claim(run_id="run-1", limit=1)
    failed = fail(hub, hub.create_repo())
    before = [hub.job(job_id) for job_id in (running, waits, done)]

    finished = call("jobs", "retry", done, failed, running, waits, "job-none", "--json")

    refused = {
        done: f"job {done} is done already",
        running: f"job {running} is held by run run-1",
        waits: f"job {waits} waits: job {running} of its repository is running",
        "job-none": "no mpack.index job has the id 'job-none'",
    }
    assert finished.code == 3
    assert finished.json == {"retried": [failed], "refused": refused}
    assert finished.err.splitlines() == list(refused.values())
    assert [hub.job(job_id) for job_id in (running, waits, done)] == before


def test_a_cancelled_job_is_failed_for_the_operators_reason(hub: Hub) -> None:
    job_id = hub.push(hub.create_repo(), History().mpack())
    change(hub, job_id, "attempt = 2, not_before = now() + interval '1 hour', error = 'why'")
    before = hub.job(job_id)

    finished = call("jobs", "cancel", job_id)

    assert (finished.code, finished.out) == (0, f"{job_id}\n")
    assert finished.err == "1 job is cancelled\n"
    after = hub.job(job_id)
    [attempt] = after["attempts"]
    assert attempt == {
        "attempt": 2,
        "run_id": None,
        "started_at": None,
        "ended_at": attempt["ended_at"],
        "code": "CANCELLED",
        "message": "An operator cancelled the job.",
    }
    ended: dict[str, Any] = {"finished_at": after["finished_at"], "attempts": [attempt]}
    assert after["finished_at"] is not None
    assert after == before | CANCELLED | ended | {"status": "failed", "not_before": None}
    assert call("index", "--json").json == []
    assert call("jobs", "retry", "--code", "CANCELLED", "--json").json["retried"] == [job_id]
    assert call("index", "--json").json[0]["status"] == "done"


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ("--repo bob/tune", [2]),
        ("--code STORAGE_UNAVAILABLE", [1]),
        ("--older-than 1h", [0]),
        ("--newer-than 1h", [1, 2]),
        ("--older-than 0s", [0, 1, 2]),
        ("-r ada/song --newer-than 1h", [1]),
        ("--code BAD_ID", []),
    ],
)
def test_filters_choose_among_those_that_wait(hub: Hub, options: str, chosen: list[int]) -> None:
    song, tune = hub.create_repo("song"), hub.create_repo("tune", owner="bob")
    waiting = [hub.enqueue(song), hub.enqueue(song), hub.enqueue(tune)]
    change(hub, waiting[0], "created_at = now() - interval '2 hours'")
    change(hub, waiting[1], "error_code = 'STORAGE_UNAVAILABLE'")
    failed, done = fail(hub, tune), hub.enqueue(tune)
    change(hub, done, "status = 'done'")
    before = statuses(hub)

    finished = call("jobs", "cancel", *options.split(), "--json")

    expected = [waiting[at] for at in chosen]
    assert finished.json == {"cancelled": expected, "refused": {}}
    assert (finished.code, finished.err) == (0, "")
    assert statuses(hub) == before | dict.fromkeys(expected, "failed")
    assert hub.job(failed)["error_code"] == "STORAGE_UNAVAILABLE"


def test_only_jobs_that_wait_can_be_cancelled(hub: Hub, queue: Queue) -> None:
    running, waits, done = (hub.enqueue(repo) for repo in ("r", "r", "s"))
    change(hub, done, "status = 'done'")
    queue.claim(run_id="run-1", limit=1)
    failed = fail(hub, hub.create_repo())
    before = [hub.job(job_id) for job_id in (running, done, failed)]

    finished = call("jobs", "cancel", running, waits, done, failed, "job-none", "--json")

    refused = {
        running: f"job {running} is held by run run-1: terminate that run in Dagster first,"
        " which gives the lease back",
        done: f"job {done} is done already",
        failed: f"job {failed} failed, STORAGE_UNAVAILABLE: why",
        "job-none": "no mpack.index job has the id 'job-none'",
    }
    assert finished.code == 3
    assert finished.json == {"cancelled": [waits], "refused": refused}
    assert finished.err.splitlines() == list(refused.values())
    assert [hub.job(job_id) for job_id in (running, done, failed)] == before


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_the_sensor_is_woken_where_something_changed(hub: Hub, queue: Queue, command: str) -> None:
    job_id = fail(hub, hub.create_repo())
    if command == "cancel":
        change(hub, job_id, "status = 'pending'")

    with queue.notices() as wait:
        assert call("jobs", command, "job-none").code == 3
        assert not wait(0.05)
        assert call("jobs", command, job_id).code == 0
        assert wait(10)


def test_jobs_of_other_types_can_be_neither_retried_nor_cancelled(hub: Hub) -> None:
    jobs = {status: hub.enqueue("r") for status in ("pending", "failed")}
    for status, job_id in jobs.items():
        change(hub, job_id, f"job_type = 'mail.send', status = '{status}'")

    assert call("jobs", "cancel", jobs["pending"]).code == 3
    assert call("jobs", "retry", jobs["failed"]).code == 3
    assert call("jobs", "retry", "--all", "--json").json["retried"] == []
    assert statuses(hub) == {job_id: status for status, job_id in jobs.items()}
