"""What fsck finds: nothing after any push, and every invariant that was broken on purpose.

All of it on a directory; the tests of the command have S3 too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import obstore
import pytest

from musehub_pipeline.domain.breach import Breach
from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.storage import audit as audit_module
from musehub_pipeline.storage import database as database_module
from musehub_pipeline.storage.audit import open_audit
from musehub_pipeline.storage.database import Database
from musehub_pipeline.storage.fsck import Fsck
from musehub_pipeline.storage.object_storage import ObjectStorage
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all, index_and_die

NEW = b"a new file"
NEW_ID = f"sha256:{sha256(NEW).hexdigest()}"
NOWHERE = f"sha256:{'7' * 64}"
NOT_MSGPACK = b"\xc1 is never msgpack"

JOBS, COMMITS, SNAPSHOTS = "musehub_background_jobs", "musehub_commits", "musehub_snapshots"
OBJECTS, REFS = "musehub_objects", "musehub_object_refs"

Found = list[tuple[str, str, dict[str, str], str]]


@dataclass(frozen=True)
class World:
    """A repo with a full, a thin, a repeated and a forced push, and a fork of how it began."""

    hub: Hub
    song: str
    fork: str
    full: str  # job, like ...
    thin: str  # ... this one
    first: str  # commit, like ...
    last: str  # ... this one, which the thin push's ...
    tip: str  # ... has as its parent
    tip_snapshot: str
    first_snapshot: str

    def sql(self, statement: str) -> None:
        """Run a statement that breaks something, with everything above as parameters."""
        names = ("song", "fork", "full", "thin", "first", "last", "tip")
        given = {name: getattr(self, name) for name in (*names, "tip_snapshot", "first_snapshot")}
        self.hub.sql(statement, given | {"new": NEW_ID, "nowhere": NOWHERE})

    def key_of_mpack(self, job_id: str) -> str:
        return f"mpacks/{self.hub.job(job_id)['payload']['mpack_key'][-64:]}"


@pytest.fixture
def world(hub: Hub) -> World:
    history = small_history()
    first, *_, last = history.commits
    song, fork = hub.create_repo("song"), hub.create_repo("fork", owner="bob")
    before = history.copy()
    files = {"src/file0.txt": bytes([100]) * 128, "new": NEW}
    tip = history.commit(files, parents=[last], committed_at="2026-03-09T12:00:00+00:00")
    full = hub.push(song, before.mpack(), head=last)
    thin = hub.push(song, history.mpack(without=before), head=tip)
    hub.push(song, before.mpack())
    hub.push(song, before.mpack(), head=first, force=True)
    hub.push(fork, before.mpack(), head=last)
    index_all(hub)
    snapshots = [commit["snapshot_id"] for commit in history.commits.values()]
    return World(
        hub=hub,
        song=song,
        fork=fork,
        full=min(row["job_id"] for row in pushes_of(hub, song, full)),
        thin=thin,
        first=first,
        last=last,
        tip=tip,
        tip_snapshot=snapshots[-1],
        first_snapshot=snapshots[0],
    )


def pushes_of(hub: Hub, repo_id: str, job_id: str) -> list[dict[str, Any]]:
    """Return the jobs of a repo that pushed the same mpack; breaches name the first by its id."""
    return hub.sql(
        "SELECT job_id FROM musehub_background_jobs WHERE repo_id = %(r)s"
        " AND payload ->> 'mpack_key' = %(k)s",
        {"r": repo_id, "k": hub.job(job_id)["payload"]["mpack_key"]},
    )


def check(
    hub: Hub, *, repo_id: str | None = None, meanwhile: Callable[[], None] = lambda: None
) -> tuple[list[Breach], dict[str, int]]:
    """Return all breaches, and what has been looked at; `meanwhile` happens before each check."""
    scratch = Path(hub.settings.home) / "fsck"
    scratch.mkdir(parents=True, exist_ok=True)
    breaches: list[Breach] = []
    with (
        Database(str(hub.settings.database_url)) as database,
        ObjectStorage(str(hub.settings.storage_url), s3=hub.settings.s3) as objects,
        open_audit(database, repo_id=repo_id) as audit,
    ):
        fsck = Fsck(audit, objects, scratch=scratch)
        for each in fsck.checks():
            meanwhile()
            breaches += each.find(lambda _done, _total: None)
    assert list(scratch.iterdir()) == []
    return breaches, fsck.checked


def found(hub: Hub, *, repo_id: str | None = None) -> Found:
    breaches, _ = check(hub, repo_id=repo_id)
    return [(str(b.invariant), b.table, dict(b.key), b.message) for b in breaches]


def supplied(table: str, job_id: str, rows: int = 0, **key: str) -> Any:
    message = f"job {job_id} supplied it, and it has {rows} rows"
    return ("mpack_indexed", table, key, message)


def test_an_empty_index_is_clean(hub: Hub) -> None:
    breaches, checked = check(hub)

    assert breaches == []
    assert set(checked.values()) == {0}


def test_after_pushes_of_all_kinds_it_is_clean(world: World) -> None:
    assert check(world.hub) == (
        [],
        {
            "jobs": 5,
            "jobs_pending": 0,
            "jobs_running": 0,
            "jobs_done": 5,
            "jobs_failed": 0,
            "branches": 2,
            "commits": 9,
            "snapshots": 9,
            "object_refs": 29,
            "objects": 15,
            "stored_objects": 15,
            "mpacks": 2,
            "object_refs_unjudged": 0,
        },
    )
    assert check(world.hub, repo_id=world.fork) == (
        [],
        {
            "jobs": 1,
            "jobs_pending": 0,
            "jobs_running": 0,
            "jobs_done": 1,
            "jobs_failed": 0,
            "branches": 1,
            "commits": 4,
            "snapshots": 4,
            "object_refs": 14,
            "objects": 14,
            "stored_objects": 15,
            "mpacks": 1,
            "object_refs_unjudged": 0,
        },
    )


def test_pushes_that_wait_or_were_rejected_are_no_breach(world: World) -> None:
    hub = world.hub
    hub.push(world.fork, NOT_MSGPACK)
    hub.push(world.song, small_history().mpack(), head=NOWHERE)
    index_all(hub)
    hub.push(world.song, b"pending")

    breaches, checked = check(hub)

    assert breaches == []
    assert (checked["jobs_failed"], checked["jobs_pending"], checked["mpacks"]) == (2, 1, 2)


def test_what_does_not_fit_into_one_portion_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "PORTION_ROWS", 3)
    monkeypatch.setattr(audit_module, "_PORTION_SNAPSHOTS", 2)
    monkeypatch.setattr(database_module, "_STREAMED_ROWS", 2)

    assert found(world.hub) == []
    world.sql("DELETE FROM musehub_objects")
    breaches = found(world.hub)

    assert len({key["object_id"] for _, table, key, _ in breaches if table == OBJECTS}) == 15
    assert len([1 for invariant, *_ in breaches if invariant == "manifest_complete"]) == 29


def test_a_push_that_is_indexed_meanwhile_is_no_breach(world: World) -> None:
    """Whatever a run writes between one check and the next, none of it is half of anything."""
    hub, files, parents = world.hub, {"new": NEW}, [world.last]
    history = small_history()
    before = history.copy()

    def push() -> None:
        files["new"] += b"er"
        parents[0] = history.commit(files, parents=parents)
        hub.push(world.fork, history.mpack(without=before), head=parents[0])
        index_all(hub)

    breaches, _ = check(hub, meanwhile=push)

    assert breaches == []
    assert hub.head(world.fork) == parents[0]
    assert found(hub) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("status = 'failed', error_code = NULL", "is failed, without an error_code"),
        (
            "status = 'failed', error_code = 'BAD_ID', finished_at = NULL",
            "is failed, without finished_at",
        ),
        ("result = NULL", "is done, without a result"),
        ("result = 'null'", "is done, without a result"),
        ("finished_at = NULL", "is done, without finished_at"),
        ("index_version = NULL", "is done, without an index_version"),
        (
            "status = 'running', run_id = NULL, lease_expires_at = now() + interval '1 hour'",
            "is running, without a run_id",
        ),
        ("status = 'running', lease_expires_at = NULL", "is running, without a lease"),
        (
            "status = 'running', lease_expires_at = '2026-03-01 12:00:00+01'",
            "is running, and its lease expired at 2026-03-01T11:00:00Z",
        ),
        ("status = 'lost'", "has a status that is none: lost"),
    ],
)
def test_a_job_that_has_not_ended_as_it_should_is_found(
    world: World, change: str, message: str
) -> None:
    world.sql(f"UPDATE musehub_background_jobs SET {change} WHERE job_id = %(thin)s")

    assert found(world.hub) == [("job_ends", JOBS, {"job_id": world.thin}, message)]


def test_a_job_that_is_worked_on_is_no_breach(world: World) -> None:
    world.sql(
        "UPDATE musehub_background_jobs SET status = 'running',"
        " lease_expires_at = now() + interval '1 hour' WHERE job_id = %(thin)s"
    )

    assert found(world.hub) == []


def test_a_commit_that_is_gone_is_missed_by_its_child_and_its_mpack(world: World) -> None:
    world.sql("DELETE FROM musehub_commits WHERE repo_id = %(song)s AND commit_id = %(last)s")

    assert found(world.hub) == [
        (
            "commit_complete",
            COMMITS,
            {"repo_id": world.song, "commit_id": world.tip},
            f"its parent {world.last} is not in the repo",
        ),
        supplied(COMMITS, world.full, repo_id=world.song, commit_id=world.last),
    ]


@pytest.mark.parametrize("parent_ids", ["{}", "null", '"text"', "[null]"])
def test_parents_that_are_none_are_found(world: World, parent_ids: str) -> None:
    world.sql(f"UPDATE musehub_commits SET parent_ids = '{parent_ids}' WHERE commit_id = %(tip)s")

    said = parent_ids.strip('[]"')
    assert found(world.hub) == [
        (
            "commit_complete",
            COMMITS,
            {"repo_id": world.song, "commit_id": world.tip},
            f"its parent {said} is not in the repo",
        )
    ]


def test_a_snapshot_that_is_gone_is_missed_by_its_mpack_and_its_commit(world: World) -> None:
    world.sql("DELETE FROM musehub_snapshots WHERE snapshot_id = %(tip_snapshot)s")

    assert found(world.hub) == [
        (
            "commit_complete",
            COMMITS,
            {"repo_id": world.song, "commit_id": world.tip},
            f"its snapshot {world.tip_snapshot} is not in the repo",
        ),
        supplied(SNAPSHOTS, world.thin, repo_id=world.song, snapshot_id=world.tip_snapshot),
    ]


def test_what_another_repo_holds_does_not_count(world: World) -> None:
    world.sql(
        "DELETE FROM musehub_snapshots"
        " WHERE repo_id = %(fork)s AND snapshot_id = %(first_snapshot)s"
    )
    job_id = world.hub.sql(
        "SELECT job_id FROM musehub_background_jobs WHERE repo_id = %(r)s", {"r": world.fork}
    )[0]["job_id"]

    assert found(world.hub) == [
        (
            "commit_complete",
            COMMITS,
            {"repo_id": world.fork, "commit_id": world.first},
            f"its snapshot {world.first_snapshot} is not in the repo",
        ),
        supplied(SNAPSHOTS, job_id, repo_id=world.fork, snapshot_id=world.first_snapshot),
    ]


@pytest.mark.parametrize(
    ("gone", "lack"),
    [
        ([OBJECTS], "no object row"),
        ([REFS], "no ref in the repo"),
        ([OBJECTS, REFS], "no object row and no ref in the repo"),
    ],
)
def test_an_object_without_its_row_or_ref_is_missed_by_its_mpack_and_its_manifest(
    world: World, gone: list[str], lack: str
) -> None:
    for table in gone:
        world.sql(f"DELETE FROM {table} WHERE object_id = %(new)s")

    keys = {OBJECTS: {}, REFS: {"repo_id": world.song}}
    assert found(world.hub) == [
        (
            "manifest_complete",
            SNAPSHOTS,
            {"repo_id": world.song, "snapshot_id": world.tip_snapshot},
            f"its manifest names {NEW_ID}, which has {lack}",
        ),
        *(supplied(table, world.thin, **keys[table], object_id=NEW_ID) for table in gone),
    ]


@pytest.mark.parametrize(
    ("manifest", "named", "lack"),
    [
        (f'{{"a": "{NEW_ID}"}}', NEW_ID, "no ref in the repo"),
        (f'{{"a": "{NOWHERE}"}}', NOWHERE, "no object row and no ref in the repo"),
        ('{"a": null}', "null", "no object row and no ref in the repo"),
        ("[]", "[]", "no object row and no ref in the repo"),
    ],
)
def test_a_manifest_that_names_what_its_repo_does_not_hold_is_found(
    world: World, manifest: str, named: str, lack: str
) -> None:
    world.sql(
        f"UPDATE musehub_snapshots SET manifest = '{manifest}'"
        " WHERE repo_id = %(fork)s AND snapshot_id = %(first_snapshot)s"
    )

    assert found(world.hub) == [
        (
            "manifest_complete",
            SNAPSHOTS,
            {"repo_id": world.fork, "snapshot_id": world.first_snapshot},
            f"its manifest names {named}, which has {lack}",
        )
    ]


def test_a_row_that_is_there_twice_is_found(world: World) -> None:
    world.sql("ALTER TABLE musehub_commits DROP CONSTRAINT musehub_commits_pkey")
    world.sql("INSERT INTO musehub_commits SELECT * FROM musehub_commits WHERE commit_id = %(tip)s")

    assert found(world.hub) == [
        supplied(COMMITS, world.thin, rows=2, repo_id=world.song, commit_id=world.tip)
    ]


def test_a_head_that_is_no_commit_of_its_repo_is_found(world: World) -> None:
    world.sql(
        "INSERT INTO musehub_branches VALUES (%(fork)s, 'stolen', %(tip)s),"
        " (%(fork)s, 'empty', ''), (%(fork)s, 'none', NULL)"
    )

    assert found(world.hub) == [
        (
            "head_exists",
            "musehub_branches",
            {"repo_id": world.fork, "name": "stolen"},
            f"its head {world.tip} is no commit of the repo",
        )
    ]


def test_a_ref_on_what_was_never_pushed_to_the_repo_is_found(world: World) -> None:
    """Though the object is stored, and another repo holds it."""
    world.sql("INSERT INTO musehub_object_refs VALUES (%(fork)s, %(new)s, now())")

    assert found(world.hub) == [
        (
            "ref_supplied",
            REFS,
            {"repo_id": world.fork, "object_id": NEW_ID},
            "no job of the repo supplied it",
        )
    ]


def test_refs_of_a_repo_to_which_nothing_was_ever_pushed_are_found(world: World) -> None:
    repo_id = world.hub.create_repo("empty")
    world.sql(
        "INSERT INTO musehub_object_refs SELECT 'repo-empty', object_id, created_at"
        " FROM musehub_object_refs WHERE object_id = %(new)s"
    )

    assert [(invariant, key["repo_id"]) for invariant, _, key, _ in found(world.hub)] == [
        ("ref_supplied", repo_id)
    ]


def push_and_die(world: World) -> str:
    """Have a push write everything, and its run die before it ends the job."""
    history = small_history()
    before = history.copy()
    history.commit({"late": b"late"}, parents=[world.last])
    job_id = world.hub.push(world.fork, history.mpack(without=before))
    index_and_die(world.hub)
    return job_id


@pytest.mark.parametrize(
    "change",
    [
        "lease_expires_at = now() + interval '1 hour'",
        "status = 'pending', attempt = 0, run_id = NULL, started_at = NULL",
        "status = 'failed', error_code = 'LEASE_EXPIRED', finished_at = now()",
        "status = 'failed', error_code = 'NON_FAST_FORWARD', finished_at = now()",
    ],
)
def test_refs_of_a_job_that_is_not_done_are_no_breach(world: World, change: str) -> None:
    """It failed late, was put back or is under way: what it wrote is complete (ADR 1)."""
    job_id = push_and_die(world)
    world.hub.sql(
        f"UPDATE musehub_background_jobs SET {change} WHERE job_id = %(j)s", {"j": job_id}
    )

    breaches, checked = check(world.hub)

    assert (breaches, checked["object_refs"], checked["object_refs_unjudged"]) == ([], 30, 0)


def test_refs_are_not_judged_where_an_mpack_that_may_explain_them_is_gone(world: World) -> None:
    job_id = push_and_die(world)
    world.hub.store.delete(world.key_of_mpack(job_id))

    breaches, checked = check(world.hub)

    assert (breaches, checked["object_refs_unjudged"]) == ([], 1)


def test_a_push_that_was_never_accepted_explains_no_ref(world: World) -> None:
    hub = world.hub
    hub.push(world.fork, NOT_MSGPACK)
    hub.enqueue(world.fork, mpack_key="no id")
    index_all(hub)
    world.sql("INSERT INTO musehub_object_refs VALUES (%(fork)s, %(new)s, now())")

    assert [(invariant, key) for invariant, _, key, _ in found(hub)] == [
        ("ref_supplied", {"repo_id": world.fork, "object_id": NEW_ID})
    ]


def test_refs_that_are_older_than_all_jobs_that_are_left_are_not_judged(world: World) -> None:
    """Rows of old jobs may have been pruned; what is written after them is judged all the same."""
    world.sql("DELETE FROM musehub_background_jobs WHERE job_id NOT IN (%(thin)s)")

    breaches, checked = check(world.hub)
    assert (breaches, checked["object_refs_unjudged"]) == ([], 28)

    world.sql("INSERT INTO musehub_object_refs VALUES (%(song)s, %(nowhere)s, now())")
    assert found(world.hub) == [
        (
            "ref_supplied",
            REFS,
            {"repo_id": world.song, "object_id": NOWHERE},
            "no job of the repo supplied it",
        )
    ]


def test_a_deleted_repo_is_passed_over(world: World) -> None:
    world.sql("UPDATE musehub_repos SET deleted_at = now() WHERE repo_id = %(fork)s")
    world.sql("DELETE FROM musehub_snapshots WHERE repo_id = %(fork)s")
    world.sql("INSERT INTO musehub_object_refs VALUES (%(fork)s, %(nowhere)s, now())")

    breaches, checked = check(world.hub)

    assert (breaches, checked["commits"]) == ([], 5)


def test_one_repo_is_checked_alone(world: World) -> None:
    world.sql("INSERT INTO musehub_object_refs VALUES (%(fork)s, %(new)s, now())")
    world.sql("UPDATE musehub_background_jobs SET result = NULL WHERE job_id = %(thin)s")
    world.hub.store.delete(f"objects/{NEW_ID[7:9]}/{NEW_ID[7:]}")
    world.sql("DELETE FROM musehub_commits WHERE commit_id = %(tip)s")

    in_song = [invariant for invariant, *_ in found(world.hub, repo_id=world.song)]
    in_fork = [invariant for invariant, *_ in found(world.hub, repo_id=world.fork)]

    assert in_song == ["job_ends", "object_stored", "mpack_indexed"]
    assert in_fork == ["object_stored", "ref_supplied"]


def test_storage_that_cannot_be_read_is_no_breach_but_an_error(world: World) -> None:
    """Could not read is not nothing there."""
    elsewhere = world.hub.settings.model_copy(update={"storage_url": "file:///no/such/folder"})

    with pytest.raises(Transient, match="STORAGE_UNAVAILABLE"):
        check(Hub(elsewhere))


def test_a_mpack_with_other_bytes_is_found_for_each_of_its_jobs(world: World) -> None:
    key = world.key_of_mpack(world.full)
    obstore.put(world.hub.store, key, b"others")
    jobs = pushes_of(world.hub, world.fork, world.full)
    jobs += sorted(pushes_of(world.hub, world.song, world.full), key=lambda row: row["job_id"])

    breaches, checked = check(world.hub)

    assert [(str(b.invariant), b.table, b.key["job_id"]) for b in breaches] == [
        ("mpack_indexed", JOBS, row["job_id"]) for row in jobs
    ]
    assert {b.message.split(": ")[1] for b in breaches} == {"MPACK_HASH_MISMATCH"}
    assert checked["object_refs_unjudged"] == 28
