"""How an attempt at a job that had ended itself ends: better than before, or as it was."""

from collections.abc import Callable
from typing import Any

import pytest

from musehub_pipeline.domain.errors import Fault, Rejection, Transient
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.lease import Head, PastLease
from musehub_pipeline.queue.live_runs import Runs
from musehub_pipeline.queue.reindex import Archive
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import change, expire, publish_one, seconds
from musehub_pipeline_tests.queue.reindexing import (
    ENDED,
    RESULT,
    claim_again,
    ended_job,
    failed_job,
)

NEW = {"mpack_size_bytes": 70, "head": None, "head_moved": False, "run_id": "again"}
BAD = Rejection(Fault.BAD_TEXT, "NUL:\0 " + "x" * 5_000, item="path")


@pytest.fixture(params=[ended_job, failed_job])
def job_id(request: pytest.FixtureRequest, hub: Hub) -> str:
    """A job that was done, and one that failed."""
    return request.param(hub, hub.create_repo())


def claim_one(archive: Archive, hub: Hub, job_id: str, run_id: str = "again") -> PastLease:
    [lease] = claim_again(archive, hub, job_id, run_id=run_id)
    return lease


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in after.items() if value != before[name]}


def head(expected: str | None) -> Head:
    return Head(branch="main", commit_id="new", expected=expected)


def set_head(hub: Hub, commit_id: str) -> None:
    hub.sql("INSERT INTO musehub_branches VALUES ('repo-song', 'main', %(c)s)", {"c": commit_id})


def test_a_new_result_says_of_the_branch_what_the_first_one_said(
    hub: Hub, archive: Archive
) -> None:
    job_id = ended_job(hub, hub.create_repo())
    before = hub.job(job_id)

    publish_one(claim_one(archive, hub, job_id), NEW, head=None)

    after = differences(before, hub.job(job_id))
    assert after.pop("started_at") > before["started_at"]
    assert after.pop("finished_at") > before["finished_at"]
    first, again = after.pop("attempts")
    assert (first, set(again)) == (ENDED, set(ENDED))
    assert {name: again[name] for name in ("attempt", "run_id", "code", "message")} == {
        "attempt": 2,
        "run_id": "again",
        "code": None,
        "message": None,
    }
    assert after == {
        "attempt": 2,
        "run_id": "again",
        "result": NEW | {"head": RESULT["head"], "head_moved": True},
        "index_version": 1,
    }
    assert hub.sql("SELECT pushed_at FROM musehub_repos") == [{"pushed_at": None}]


@pytest.mark.parametrize("result", [None, "null", "{}", '{"head": null, "odd": 1}'])
def test_a_new_result_is_whole_whatever_the_first_one_was(
    hub: Hub, archive: Archive, result: str | None
) -> None:
    job_id = ended_job(hub, hub.create_repo(), result=result)

    publish_one(claim_one(archive, hub, job_id), NEW, head=None)

    assert hub.job(job_id)["result"] == NEW


def test_a_job_that_had_failed_is_done_and_moves_its_branch(hub: Hub, archive: Archive) -> None:
    job_id = failed_job(hub, hub.create_repo())
    set_head(hub, "old")

    publish_one(claim_one(archive, hub, job_id), NEW | {"head": "new"}, head=head("old"))

    row = hub.job(job_id)
    assert [row[name] for name in ("status", "error_code", "error", "lease_expires_at")] == [
        *("done", None, None, None)
    ]
    assert (row["result"], row["index_version"]) == (NEW | {"head": "new"}, 1)
    assert [ended["code"] for ended in row["attempts"]] == ["BAD_ID", None]
    [repo] = hub.sql("SELECT pushed_at >= now() - interval '1 min' AS lately FROM musehub_repos")
    assert (hub.head("repo-song"), repo["lately"]) == ("new", True)


def test_a_branch_that_moved_meanwhile_undoes_it_all(hub: Hub, archive: Archive) -> None:
    job_id = failed_job(hub, hub.create_repo())
    set_head(hub, "elsewhere")
    lease = claim_one(archive, hub, job_id)
    before = hub.job(job_id)

    with pytest.raises(Transient, match="HEAD_MOVED: branch 'main' has moved meanwhile"):
        publish_one(lease, NEW, head=head("old"))

    assert (hub.job(job_id), hub.head("repo-song")) == (before, "elsewhere")


def test_to_publish_twice_is_to_publish_once(hub: Hub, archive: Archive, job_id: str) -> None:
    """The answer to a commit may be lost."""
    lease = claim_one(archive, hub, job_id)
    publish_one(lease, NEW, head=None)
    before = hub.job(job_id)

    publish_one(lease, NEW | {"text": "again"}, head=None)

    assert hub.job(job_id) == before


LOST: dict[str, Callable[[Hub, Archive, str], object]] = {
    "expired": lambda hub, _, job_id: expire(hub, job_id),
    "taken over": lambda hub, archive, job_id: (
        expire(hub, job_id),
        claim_again(archive, hub, job_id, run_id="other"),
    ),
    "retried": lambda hub, _, job_id: change(
        hub, job_id, "status = 'pending', run_id = NULL, lease_expires_at = NULL"
    ),
    "deleted": lambda hub, _, job_id: hub.sql(
        "DELETE FROM musehub_background_jobs WHERE job_id = %(id)s", {"id": job_id}
    ),
}


@pytest.mark.parametrize("lose", LOST.values(), ids=list(LOST))
def test_a_run_that_lost_its_lease_publishes_nothing(
    hub: Hub, archive: Archive, job_id: str, lose: Callable[[Hub, Archive, str], object]
) -> None:
    lease = claim_one(archive, hub, job_id)
    lose(hub, archive, job_id)
    before = hub.sql("SELECT * FROM musehub_background_jobs")

    with pytest.raises(Transient, match="LEASE_LOST: run again no longer holds the lease"):
        publish_one(lease, NEW, head=head(None))

    assert hub.sql("SELECT * FROM musehub_background_jobs") == before
    assert hub.counts()["branches"] == 0


@pytest.mark.parametrize("lose", list(LOST.values())[1:], ids=list(LOST)[1:])
def test_a_job_that_is_lost_is_neither_failed_nor_released(
    hub: Hub, archive: Archive, job_id: str, lose: Callable[[Hub, Archive, str], object]
) -> None:
    lease = claim_one(archive, hub, job_id)
    lose(hub, archive, job_id)
    before = hub.sql("SELECT * FROM musehub_background_jobs")

    assert (lease.fail(BAD), lease.give_back()) == (False, False)

    assert hub.sql("SELECT * FROM musehub_background_jobs") == before


def test_a_job_that_fails_again_says_why(hub: Hub, archive: Archive) -> None:
    job_id = failed_job(hub, hub.create_repo())
    before = hub.job(job_id)

    assert claim_one(archive, hub, job_id).fail(BAD)

    after = differences(before, hub.job(job_id))
    assert after.pop("started_at") > before["started_at"]
    assert after.pop("finished_at") > before["finished_at"]
    message = "path: NUL:\\0 " + "x" * (2_000 - 13)
    assert [(ended["attempt"], ended["code"]) for ended in after.pop("attempts")] == [
        (1, "BAD_ID"),
        (2, "BAD_TEXT"),
    ]
    assert after == {"attempt": 2, "run_id": "again", "error_code": "BAD_TEXT", "error": message}


def test_a_job_that_is_done_does_not_fail(hub: Hub, archive: Archive) -> None:
    job_id = ended_job(hub, hub.create_repo())
    lease = claim_one(archive, hub, job_id)
    before = hub.job(job_id)

    assert not lease.fail(BAD)

    assert hub.job(job_id) == before


def test_a_release_leaves_no_trace(hub: Hub, archive: Archive, job_id: str) -> None:
    before = hub.job(job_id)

    assert claim_one(archive, hub, job_id).give_back()

    assert hub.job(job_id) == before
    assert claim_one(archive, hub, job_id, "next").claim.attempt == 2


def test_a_release_leaves_the_attempt_of_a_run_that_died(hub: Hub, archive: Archive) -> None:
    """The attempts of a job count up: what the dead run may still do is fenced off."""
    job_id = ended_job(hub, hub.create_repo())
    before = hub.job(job_id)
    dead = claim_one(archive, hub, job_id, "dead")
    expire(hub, job_id)

    claim_one(archive, hub, job_id).give_back()

    assert hub.job(job_id) == before | {"attempt": 2}
    assert not dead.give_back()


def test_a_heartbeat_renews_the_leases_of_its_run_and_of_no_other(
    hub: Hub, archive: Archive, runs: Runs
) -> None:
    repo_id = hub.create_repo()
    mine, lost, theirs, ended = (ended_job(hub, repo_id) for _ in range(4))
    claim_again(archive, hub, mine, lost, run_id="mine")
    claim_again(archive, hub, theirs, run_id="theirs")
    for job_id, left in ((mine, 5), (lost, -1), (theirs, 5)):
        change(hub, job_id, f"lease_expires_at = now() + interval '{left} s'")
    change(hub, ended, "run_id = 'mine'")

    runs.renew("mine")

    left = [seconds(hub, job, "lease_expires_at - now()") for job in (mine, theirs, lost)]
    assert (left[0] > 50, left[1] < 10, left[2] < 0) == (True, True, True)
    assert hub.job(ended)["lease_expires_at"] is None


def test_a_run_that_ends_leaves_what_it_holds_as_it_was(
    hub: Hub, archive: Archive, queue: Queue, runs: Runs
) -> None:
    repo_id = hub.create_repo()
    held = [ended_job(hub, repo_id), failed_job(hub, repo_id)]
    ended, theirs = ended_job(hub, repo_id), ended_job(hub, repo_id)
    before = [hub.job(job_id) for job_id in held]
    leases = {lease.claim.job_id: lease for lease in claim_again(archive, hub, *held, ended)}
    publish_one(leases[ended], NEW, head=None)
    claim_again(archive, hub, theirs, run_id="other")
    others = [hub.job(job_id) for job_id in (ended, theirs)]
    live = hub.enqueue(repo_id)
    queue.claim(run_id="again", limit=1)

    assert runs.end("again") == 3

    assert [hub.job(job_id) for job_id in held] == before
    assert [hub.job(job_id) for job_id in (ended, theirs)] == others
    assert hub.job(live)["status"] == "pending"


def test_old_rows_without_a_history_are_left_as_they_were_and_have_one(
    hub: Hub, archive: Archive, job_id: str
) -> None:
    [history] = hub.job(job_id)["attempts"]
    change(hub, job_id, "attempts = '[]'")
    before = hub.job(job_id)

    claim_one(archive, hub, job_id).give_back()

    assert hub.job(job_id) == before | {"attempts": [history]}


def test_the_next_attempt_is_another_one(hub: Hub, archive: Archive) -> None:
    """A job may be indexed again and again, and each time its history grows."""
    job_id = ended_job(hub, hub.create_repo())
    for _ in range(2):
        publish_one(claim_one(archive, hub, job_id), NEW, head=None)

    row = hub.job(job_id)
    assert [ended["attempt"] for ended in row["attempts"]] == [1, 2, 3]
    assert row["result"] == NEW | {"head": RESULT["head"], "head_moved": True}
