"""Publishing: head, result and `done` in one go, for whoever still holds the lease."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import psycopg
import pytest

from musehub_pipeline.domain.errors import JobError, Transient, Trouble
from musehub_pipeline.domain.result import Result
from musehub_pipeline.queue import lease as lease_module
from musehub_pipeline.queue.claim import Queue
from musehub_pipeline.queue.lease import Head, LiveLease, Publication, publish
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import expire, publish_one

RESULT = {"objects_total": 3, "elapsed_ms": 1.5, "head": None, "text": "ünï \\u0000"}


@pytest.fixture
def lease(hub: Hub, queue: Queue) -> LiveLease:
    hub.enqueue(hub.create_repo(), mpack_key="key")
    [lease] = queue.claim(run_id="run", limit=1)
    return lease


def head(commit_id: str, *, expected: str | None = None) -> Head:
    return Head(branch="main", commit_id=commit_id, expected=expected)


def set_head(hub: Hub, commit_id: str | None) -> None:
    hub.sql(
        "INSERT INTO musehub_branches VALUES ('repo-song', 'main', %(c)s)"
        " ON CONFLICT (repo_id, name) DO UPDATE SET head_commit_id = excluded.head_commit_id",
        {"c": commit_id},
    )


def everything(hub: Hub) -> list[list[dict[str, Any]]]:
    tables = ("repos", "branches", "background_jobs")
    return [hub.sql(f"SELECT * FROM musehub_{table} ORDER BY 1, 2") for table in tables]


def test_a_job_is_done_with_its_result_its_head_and_the_time_of_the_push(
    hub: Hub, queue: Queue, lease: LiveLease
) -> None:
    before = hub.job(lease.claim.job_id)

    publish_one(lease, RESULT, head=head("new"))

    row = hub.job(lease.claim.job_id)
    [pushed] = hub.sql("SELECT pushed_at >= now() - interval '1 min' AS lately FROM musehub_repos")
    assert (hub.head("repo-song"), pushed["lately"]) == ("new", True)
    assert row.pop("finished_at") > before["started_at"]
    [ended] = row.pop("attempts")
    assert [ended[name] for name in ("attempt", "run_id", "code", "message")] == [
        1,
        "run",
        None,
        None,
    ]
    assert row == {
        **{n: value for n, value in before.items() if n not in {"finished_at", "attempts"}},
        "status": "done",
        "lease_expires_at": None,
        "result": RESULT,
        "index_version": 1,
    }


def test_a_success_wipes_the_trouble_of_earlier_attempts_away(
    hub: Hub, queue: Queue, lease: LiveLease
) -> None:
    trouble = Transient(Trouble.STORAGE_UNAVAILABLE, "down")
    lease.retry_later(trouble, pause=timedelta(0))
    [again] = queue.claim(run_id="again", limit=1)

    publish_one(again, RESULT, head=None)

    row = hub.job(lease.claim.job_id)
    assert [row[name] for name in ("status", "attempt", "error_code", "error", "not_before")] == [
        *("done", 2, None, None, None)
    ]


def test_without_a_head_no_branch_is_made(hub: Hub, queue: Queue, lease: LiveLease) -> None:
    publish_one(lease, RESULT, head=None)

    assert hub.counts()["branches"] == 0


@pytest.mark.parametrize(
    ("before", "moved_to"),
    [
        ("old", head("new", expected="old")),
        ("same", head("same", expected="same")),
        (None, head("new")),
    ],
)
def test_a_branch_moves_from_where_it_was_expected(
    hub: Hub, queue: Queue, lease: LiveLease, before: str | None, moved_to: Head
) -> None:
    set_head(hub, before)

    publish_one(lease, RESULT, head=moved_to)

    assert hub.head("repo-song") == moved_to.commit_id


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        ("elsewhere", head("new", expected="old")),
        ("elsewhere", head("new")),
        (None, head("new", expected="old")),
    ],
)
def test_a_branch_that_moved_meanwhile_undoes_it_all(
    hub: Hub, queue: Queue, lease: LiveLease, before: str | None, wanted: Head
) -> None:
    set_head(hub, before)
    expected = everything(hub)

    with pytest.raises(Transient) as caught:
        publish_one(lease, RESULT, head=wanted)

    assert str(caught.value) == "HEAD_MOVED: branch 'main' has moved meanwhile"
    assert everything(hub) == expected


@pytest.mark.parametrize(("wanted", "code"), [(None, "REPO_DELETED"), (head("new"), "HEAD_MOVED")])
def test_a_repo_that_was_deleted_meanwhile_is_not_touched(
    hub: Hub, queue: Queue, lease: LiveLease, wanted: Head | None, code: str
) -> None:
    hub.sql("UPDATE musehub_repos SET deleted_at = now()")
    expected = everything(hub)

    with pytest.raises(JobError) as caught:
        publish_one(lease, RESULT, head=wanted)

    assert caught.value.code == code
    assert everything(hub) == expected


def test_a_branch_that_was_deleted_meanwhile_is_not_made_anew(
    hub: Hub, queue: Queue, lease: LiveLease
) -> None:
    expected = everything(hub)

    with pytest.raises(Transient, match=r"^HEAD_MOVED: "):
        publish_one(lease, RESULT, head=head("new", expected="old"))

    assert everything(hub) == expected


def _become(hub: Hub, lease: LiveLease, assignment: str) -> LiveLease:
    hub.sql(f"UPDATE musehub_background_jobs SET {assignment}")
    return lease


def _as_of(lease: LiveLease, **changed: Any) -> LiveLease:
    return replace(lease, claim=replace(lease.claim, **changed))


def _give_back(_hub: Hub, queue: Queue, lease: LiveLease) -> LiveLease:
    trouble = Transient(Trouble.STORAGE_UNAVAILABLE, "down")
    lease.retry_later(trouble, pause=timedelta(0))
    return lease


def _lose(hub: Hub, queue: Queue, lease: LiveLease) -> LiveLease:
    _become(hub, lease, "lease_expires_at = now() - interval '1 s'")
    queue.rescue()
    queue.claim(run_id="next", limit=1)
    return lease


SPOILS: dict[str, Callable[[Hub, Queue, LiveLease], LiveLease]] = {
    "another attempt": lambda _hub, _queue, lease: _as_of(lease, attempt=lease.claim.attempt + 1),
    "another run": lambda _hub, _queue, lease: _as_of(lease, run_id="other"),
    "another job": lambda _hub, _queue, lease: _as_of(lease, job_id="other"),
    "given back": _give_back,
    "failed": lambda hub, _queue, lease: _become(hub, lease, "status = 'failed'"),
    "done by another": lambda hub, _queue, lease: _become(
        hub, lease, "status = 'done', run_id = 'other'"
    ),
    "claimed again": _lose,
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_whoever_does_not_hold_the_lease_changes_nothing(
    hub: Hub, queue: Queue, lease: LiveLease, spoil: Callable[[Hub, Queue, LiveLease], LiveLease]
) -> None:
    lost = spoil(hub, queue, lease)
    expected = everything(hub)

    with pytest.raises(Transient) as caught:
        publish_one(lost, RESULT, head=head("new"))
    assert everything(hub) == expected
    lost.fail(caught.value)
    lost.retry_later(caught.value, pause=timedelta(0))

    assert str(caught.value) == f"LEASE_LOST: run {lost.claim.run_id} no longer holds the lease"
    assert everything(hub) == expected


def test_an_expired_lease_cannot_publish_though_nobody_took_the_job(
    hub: Hub, queue: Queue, lease: LiveLease
) -> None:
    _become(hub, lease, "lease_expires_at = now() - interval '1 s'")
    expected = everything(hub)

    with pytest.raises(Transient, match=r"^LEASE_LOST: "):
        publish_one(lease, RESULT, head=head("new"))

    assert everything(hub) == expected


def test_publishing_twice_is_publishing_once(hub: Hub, queue: Queue, lease: LiveLease) -> None:
    """The answer to a commit may be lost: whoever asks again is told that it is done."""
    publish_one(lease, RESULT, head=head("new"))
    expected = everything(hub)

    publish_one(lease, RESULT, head=head("new"))

    assert everything(hub) == expected


def publications(
    hub: Hub, queue: Queue, pushes: list[tuple[str, Head | None]]
) -> list[Publication]:
    for repo_id, _ in pushes:
        hub.enqueue(repo_id, mpack_key="key")
    return [
        Publication(lease=lease, result=cast("Result", RESULT | {"number": number}), head=moved)
        for number, (lease, (_, moved)) in enumerate(
            zip(queue.claim(run_id="run", limit=100), pushes, strict=True)
        )
    ]


def test_many_jobs_are_published_at_once_each_with_its_own(hub: Hub, queue: Queue) -> None:
    one, two, three = (hub.create_repo(name) for name in ("one", "two", "three"))
    set_head(hub, "elsewhere")
    hub.sql("INSERT INTO musehub_branches VALUES (%(r)s, 'main', 'old')", {"r": two})
    done = publications(
        hub,
        queue,
        [
            (one, head("first")),
            (two, head("new", expected="old")),
            (three, None),
            (one, head("second", expected="first")),  # which leans on the one before
            (one, Head(branch="other", commit_id="first", expected=None)),
        ],
    )

    publish(done)

    rows = [hub.job(each.lease.claim.job_id) for each in done]
    assert [(row["status"], row["result"]) for row in rows] == [
        ("done", RESULT | {"number": number}) for number in range(5)
    ]
    assert hub.sql("SELECT * FROM musehub_branches ORDER BY 1, 2") == [
        {"repo_id": repo_id, "name": name, "head_commit_id": commit_id}
        for repo_id, name, commit_id in sorted(
            [
                ("repo-song", "main", "elsewhere"),
                (one, "main", "second"),
                (one, "other", "first"),
                (two, "main", "new"),
            ]
        )
    ]
    assert hub.sql("SELECT count(pushed_at) AS touched FROM musehub_repos") == [{"touched": 3}]


@pytest.mark.parametrize("fault", ["lost", "moved", "deleted", "unlinked"])
def test_of_many_all_are_published_or_none(hub: Hub, queue: Queue, fault: str) -> None:
    one, two = hub.create_repo("one"), hub.create_repo("two")
    between = "missing" if fault == "unlinked" else "first"
    done = publications(
        hub,
        queue,
        [(one, head("first")), (two, head("new")), (one, head("second", expected=between))],
    )
    if fault == "lost":
        expire(hub, done[1].lease.claim.job_id)
    elif fault == "moved":
        hub.sql("INSERT INTO musehub_branches VALUES (%(r)s, 'main', 'moved')", {"r": two})
    elif fault == "deleted":
        hub.sql("UPDATE musehub_repos SET deleted_at = now() WHERE repo_id = %(r)s", {"r": two})
    expected = everything(hub)

    with pytest.raises(JobError):
        publish(done)

    assert everything(hub) == expected


def test_nobody_waits_long_for_a_row_that_others_have_locked(
    hub: Hub, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "_PATIENCE", "100ms")
    one, two = hub.create_repo("one"), hub.create_repo("two")
    done = publications(hub, queue, [(one, head("first")), (two, head("new"))])
    expected = everything(hub)

    with psycopg.connect(str(hub.settings.database_url)) as other:
        other.execute("UPDATE musehub_repos SET name = 'renamed' WHERE repo_id = %s", (two,))
        for some in (done, done[1:]):
            with pytest.raises(Transient, match=r"^HEAD_MOVED: others have locked a row of it$"):
                publish(some)
        publish(done[:1])
        other.rollback()

    assert hub.job(done[0].lease.claim.job_id)["status"] == "done"
    publish(done[1:])
    assert everything(hub) != expected
    assert hub.head(two) == "new"
