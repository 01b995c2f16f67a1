"""Tiny pushes of a batch share their statements, and nothing else: none harms its neighbours."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from musehub_pipeline.domain.ids import snapshot_hex
from musehub_pipeline.postgres.database import Transaction
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.audit.checking import found
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all, index_batch

NOT_MSGPACK = b"\xc1"


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note the names of the statements that are run in the block."""
    run: list[str] = []
    with monkeypatch.context() as patch:
        for method in ("tuples", "rows", "write"):
            original = getattr(Transaction, method)

            def noted(self: Transaction, name: str, *args, _do=original, **more):  # noqa: ANN
                run.append(name)
                return _do(self, name, *args, **more)

            patch.setattr(Transaction, method, noted)
        yield run


def push_edits(hub: Hub, repos: int, *, of: History, parent: str, name: str) -> list[str]:
    """Push a commit to each repo that holds `of`: one file is another, the others are held."""
    history = of.copy()
    head = history.commit(
        {"kept": b"kept", "edited": name.encode()}, parents=[parent], message=name
    )
    mpack = history.mpack(without=of)
    return [hub.push(f"repo-{number}", mpack, head=head) for number in range(repos)]


def ended(hub: Hub) -> list[str]:
    rows = hub.sql("SELECT status FROM musehub_background_jobs ORDER BY created_at, job_id")
    return [row["status"] for row in rows]


@pytest.mark.parametrize("each", [1, 3])
def test_their_statements_are_run_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, each: int
) -> None:
    push_many(hub, repos=8, each=each)

    with statements(monkeypatch) as run:
        index_batch(hub)

    assert ended(hub) == ["done"] * 8 * each
    assert sorted(run) == sorted(set(run))


def test_so_are_those_for_what_leans_on_what_is_held(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History()
    root = history.commit({"kept": b"kept", "edited": b"once"})
    for number in range(5):
        hub.push(hub.create_repo(str(number)), history.mpack(), head=root)
    index_all(hub)
    push_edits(hub, 5, of=history, parent=root, name="edit")

    with statements(monkeypatch) as run:
        index_batch(hub)

    assert ended(hub) == ["done"] * (5 + 5)
    assert sorted(run) == sorted(set(run))
    assert found(hub) == []


@pytest.mark.parametrize("table", ["object_refs", "snapshots", "commits", "branches"])
def test_where_the_database_refuses_rows_of_one_the_others_are_done(hub: Hub, table: str) -> None:
    jobs = push_many(hub, repos=5, each=1)
    hub.sql(
        f"ALTER TABLE musehub_{table} ADD CHECK (repo_id <> 'repo-song-2') NOT VALID",
    )

    index_batch(hub)

    rows = [hub.job(job_id) for job_id in jobs]
    assert [row["status"] for row in rows] == ["done", "done", "pending", "done", "done"]
    assert rows[2]["error_code"] == "INTERNAL_ERROR"
    assert "CheckViolation" in rows[2]["error"]
    hub.sql(f"ALTER TABLE musehub_{table} DROP CONSTRAINT musehub_{table}_repo_id_check")
    hub.sql("UPDATE musehub_background_jobs SET not_before = now()")
    index_all(hub)
    assert ended(hub) == ["done"] * 5
    assert found(hub) == []


def test_one_that_cannot_be_read_is_refused_and_no_other(hub: Hub) -> None:
    jobs = push_many(hub, repos=2, each=1)
    jobs.insert(1, hub.push(hub.create_repo(), NOT_MSGPACK))
    jobs += [hub.push(f"repo-{slug}", NOT_MSGPACK) for slug in ("song-0", "song-1")]

    index_batch(hub)

    rows = [hub.job(job_id) for job_id in jobs]
    refused = ("failed", "MPACK_MALFORMED")
    assert [(row["status"], row["error_code"]) for row in rows] == [
        ("done", None),
        refused,
        ("done", None),
        refused,
        refused,
    ]


@pytest.mark.parametrize("odd", ["abcd", "sha256:" + "0" * 63, "é" * 64, "0" * 62 + "zz"])
def test_what_is_no_id_is_refused_and_not_asked_for(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    jobs = push_many(hub, repos=2, each=1)
    root = History()
    root.commit({"tune": b"x"}, parents=[odd])
    tree = History()
    tree.snapshots["sha256:" + snapshot_hex({"tune": odd})] = {"tune": odd}
    for slug, history in (("root", root), ("tree", tree)):
        jobs.append(hub.push(hub.create_repo(slug), history.mpack()))

    with statements(monkeypatch) as run:
        index_batch(hub)

    assert [hub.job(job_id)["status"] for job_id in jobs] == ["done", "done", "failed", "failed"]
    assert run.count("held_commits_together") == run.count("held_objects_together") == 1
    assert "held_commits" not in run


def test_what_another_repo_holds_is_not_held_by_this_one(hub: Hub) -> None:
    """However many are asked for at once, each answer is of one repo."""
    history = History()
    root = history.commit({"kept": b"kept", "edited": b"once"})
    one, two = hub.create_repo("0"), hub.create_repo("1")
    hub.push(one, history.mpack(), head=root)
    index_all(hub)
    assert two == "repo-1"

    own, foreign = push_edits(hub, 2, of=history, parent=root, name="edit")
    index_batch(hub)

    assert hub.job(own)["status"] == "done"
    assert (hub.job(foreign)["status"], hub.job(foreign)["error_code"]) == (
        "failed",
        "OBJECT_NOT_HELD",
    )
