"""Jobs that ended are indexed again: for the better, or nothing has happened."""

import logging
from typing import Any

import pytest

from musehub_pipeline.domain.result import COUNTS, Outcome
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_again, index_all
from musehub_pipeline_tests.phases.ended import (
    FIRST,
    HISTORY,
    LAST,
    MPACK,
    SECOND,
    failed,
    put_head,
)
from musehub_pipeline_tests.queue.queueing import change, expire, state
from musehub_pipeline_tests.test_index_mpacks import assert_index_holds

NOT_MSGPACK = b"\xc1"


@pytest.fixture
def repo_id(hub: Hub) -> str:
    return hub.create_repo()


@pytest.fixture
def done(hub: Hub, repo_id: str) -> str:
    """A push that an older version has indexed."""
    job_id = hub.push(repo_id, MPACK, head=LAST)
    index_all(hub)
    change(hub, job_id, "index_version = 0")
    return job_id


def key(hub: Hub, job_id: str) -> str:
    return f"mpacks/{hub.job(job_id)['payload']['mpack_key'][-64:]}"


def test_a_job_that_was_done_has_a_new_result_and_its_branch_stays(
    hub: Hub, repo_id: str, done: str
) -> None:
    first = hub.job(done)["result"]
    put_head(hub, repo_id, SECOND)  # somebody has forced it back meanwhile
    pushed = hub.sql("SELECT pushed_at FROM musehub_repos")

    assert index_again(hub) == {done: Outcome.DONE}

    row = hub.job(done)
    names = ("head", "head_moved", "branch", "attempt", "run_id", "batch_jobs", "index_version")
    assert {name: row["result"][name] for name in (*names, *COUNTS)} == {
        "head": LAST,
        "head_moved": True,
        "branch": "main",
        "attempt": 2,
        "run_id": "again",
        "batch_jobs": 1,
        "index_version": 1,
        **dict.fromkeys(COUNTS, 0),
        "objects_total": 14,
    }
    assert first["mpack_size_bytes"] == row["result"]["mpack_size_bytes"]
    assert (row["status"], row["index_version"], row["lease_expires_at"]) == ("done", 1, None)
    assert hub.head(repo_id) == SECOND
    assert hub.sql("SELECT pushed_at FROM musehub_repos") == pushed
    assert_index_holds(hub, repo_id, HISTORY)


def test_rows_and_bytes_that_are_gone_come_back(hub: Hub, repo_id: str, done: str) -> None:
    lost = list(HISTORY.objects)[3]
    hub.store.delete(f"objects/{lost[7:9]}/{lost[7:]}")
    hub.sql("DELETE FROM musehub_objects WHERE object_id = %(id)s", {"id": lost})
    hub.sql("DELETE FROM musehub_snapshots WHERE snapshot_id > 'sha256:8'")
    for table in ("object_refs", "commits"):
        hub.sql(f"DELETE FROM musehub_{table}")

    index_again(hub)

    assert_index_holds(hub, repo_id, HISTORY)
    result = hub.job(done)["result"]
    gone = len([snapshot_id for snapshot_id in HISTORY.snapshots if snapshot_id > "sha256:8"])
    assert {name: result[name] for name in COUNTS} == {
        "objects_total": 14,
        "objects_put": 1,
        "object_bytes_put": 128,
        "objects_inserted": 1,
        "object_refs_inserted": 14,
        "snapshots_inserted": gone,
        "commits_inserted": 4,
    }


def test_a_thin_push_finds_again_what_it_leaned_on(hub: Hub, repo_id: str, done: str) -> None:
    history = HISTORY.copy()
    tip = history.commit({"new": b"new"}, parents=[LAST])
    thin = hub.push(repo_id, history.mpack(without=HISTORY), head=tip)
    index_all(hub)
    hub.sql("DELETE FROM musehub_commits")
    hub.sql("DELETE FROM musehub_snapshots")

    assert index_again(hub) == {done: Outcome.DONE, thin: Outcome.DONE}

    assert_index_holds(hub, repo_id, history)
    assert hub.head(repo_id) == tip


def test_a_job_that_was_done_and_whose_mpack_is_gone_is_left_exactly_as_it_was(
    hub: Hub, done: str, caplog: pytest.LogCaptureFixture
) -> None:
    hub.store.delete(key(hub, done))
    before = hub.job(done)

    with caplog.at_level(logging.INFO, logger="musehub_pipeline.index"):
        assert index_again(hub) == {done: Outcome.KEPT}

    assert hub.job(done) == before
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(
        f"↩️ [mpack.index] kept as it was job={done} repo=repo-song code=MPACK_MISSING "
    )


def test_a_missing_mpack_does_not_hold_up_the_later_jobs_of_its_repo(
    hub: Hub, repo_id: str, done: str
) -> None:
    history = HISTORY.copy()
    tip = history.commit({"new": b"new"}, parents=[LAST])
    later = hub.push(repo_id, history.mpack(without=HISTORY), head=tip)
    index_all(hub)
    hub.store.delete(key(hub, done))

    assert index_again(hub) == {done: Outcome.KEPT, later: Outcome.DONE}


def test_trouble_behind_the_unpacking_leaves_the_later_jobs_of_its_repo_too(
    hub: Hub, repo_id: str, done: str
) -> None:
    later = hub.push(repo_id, History().mpack())
    other = hub.push(hub.create_repo("other"), History().mpack())
    index_all(hub)
    before = [hub.job(job_id) for job_id in (done, later)]
    hub.sql("DELETE FROM musehub_commits")
    hub.sql("ALTER TABLE musehub_commits ADD CONSTRAINT refused CHECK (repo_id <> 'repo-song')")

    assert index_again(hub) == {done: Outcome.KEPT, later: Outcome.KEPT, other: Outcome.DONE}

    assert [hub.job(job_id) for job_id in (done, later)] == before


def test_a_job_that_failed_and_is_sound_is_done_and_its_branch_moves_forward(
    hub: Hub, repo_id: str
) -> None:
    job_id = failed(hub, repo_id, MPACK, head=LAST)
    put_head(hub, repo_id, FIRST)

    assert index_again(hub) == {job_id: Outcome.DONE}

    row = hub.job(job_id)
    assert state(hub, job_id) == {
        "status": "done",
        "attempt": 2,
        "run_id": "again",
        "error_code": None,
        "error": None,
    }
    assert (row["result"]["head"], row["result"]["head_moved"]) == (LAST, True)
    assert [ended["code"] for ended in row["attempts"]] == ["COUNT_MISMATCH", None]
    assert hub.head(repo_id) == LAST
    [repo] = hub.sql("SELECT pushed_at >= now() - interval '1 min' AS lately FROM musehub_repos")
    assert repo == {"lately": True}
    assert_index_holds(hub, repo_id, HISTORY)


def test_a_job_that_fails_again_has_its_new_reason(hub: Hub, repo_id: str) -> None:
    job_id = failed(hub, repo_id, NOT_MSGPACK)
    hub.store.delete(key(hub, job_id))

    assert index_again(hub) == {job_id: Outcome.FAILED}

    row = hub.job(job_id)
    assert (row["status"], row["attempt"], row["error_code"]) == ("failed", 2, "MPACK_MISSING")
    assert [ended["code"] for ended in row["attempts"]] == ["MPACK_MALFORMED", "MPACK_MISSING"]
    assert set(hub.counts().values()) == {0}


def test_a_job_that_failed_stays_so_while_storage_is_away(hub: Hub, repo_id: str) -> None:
    job_id = failed(hub, repo_id, MPACK)
    before = hub.job(job_id)
    away = hub.settings.model_copy(update={"storage_url": "file:///no/such/folder"})

    assert index_again(Hub(away)) == {job_id: Outcome.KEPT}

    assert hub.job(job_id) == before


def test_live_pushes_are_done_while_an_old_one_of_their_repo_is_held(
    hub: Hub, repo_id: str, done: str
) -> None:
    history = HISTORY.copy()
    tip = history.commit({"new": b"new"}, parents=[LAST])
    live = hub.push(repo_id, history.mpack(without=HISTORY), head=tip)
    seen: list[dict[str, Any]] = []

    def push() -> None:
        seen.append(hub.job(done))
        index_all(hub)
        seen.append(hub.job(live))

    assert index_again(hub, only=[done], meanwhile=push) == {done: Outcome.DONE}

    held, after = seen
    assert (held["status"], held["run_id"], held["attempt"]) == ("done", "again", 2)
    assert (after["status"], after["attempt"], hub.head(repo_id)) == ("done", 1, tip)
    assert_index_holds(hub, repo_id, history)


def test_a_repo_that_is_deleted_meanwhile_stays_as_it_is(hub: Hub, repo_id: str, done: str) -> None:
    broken = failed(hub, repo_id, MPACK)
    before = hub.job(done)
    hub.sql("DELETE FROM musehub_commits")

    outcomes = index_again(
        hub, once_planned=lambda: hub.sql("UPDATE musehub_repos SET deleted_at = now()")
    )

    assert outcomes == {done: Outcome.KEPT, broken: Outcome.FAILED}
    assert (hub.job(done), hub.job(broken)["error_code"]) == (before, "REPO_DELETED")
    assert hub.counts()["commits"] == 0


def test_a_run_that_is_stopped_leaves_everything_as_it_was(
    hub: Hub, repo_id: str, done: str
) -> None:
    broken = failed(hub, repo_id, MPACK)
    before = [hub.job(job_id) for job_id in (done, broken)]

    assert index_again(hub, publish=False) == {done: None, broken: None}

    assert [hub.job(job_id) for job_id in (done, broken)] == before


def test_a_run_that_lost_a_job_says_so_and_leaves_it_alone(hub: Hub, done: str) -> None:
    kept: list[dict[str, Any]] = []

    def lose() -> None:
        expire(hub, done)
        kept.append(hub.job(done))

    assert index_again(hub, meanwhile=lose) == {done: Outcome.LOST}

    before = hub.job(done)
    assert (before["status"], before["result"]) == ("done", kept[0]["result"])
    assert index_again(hub) == {done: Outcome.DONE}
