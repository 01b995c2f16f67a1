"""What fsck finds of jobs and mpacks, and that it finds nothing after any push.

All of it on a directory; the tests of the command have S3 too.
"""

from datetime import datetime

import obstore
import pytest

from musehub_pipeline.audit import fsck_tables
from musehub_pipeline.domain.errors import Transient
from musehub_pipeline.postgres import database as database_module
from musehub_pipeline_tests.audit.checking import (
    JOBS,
    NEW,
    NEW_ID,
    NOT_MSGPACK,
    NOWHERE,
    OBJECTS,
    World,
    check,
    found,
    pushes_of,
)
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all


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


def test_what_does_not_fit_into_one_chunk_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsck_tables, "CHUNK_ROWS", 3)
    monkeypatch.setattr(fsck_tables, "_CHUNK_SNAPSHOTS", 2)
    monkeypatch.setattr(database_module, "_STREAMED_ROWS", 2)

    assert found(world.hub) == []
    world.sql("DELETE FROM musehub_objects")
    breaches = found(world.hub)

    assert len({key["object_id"] for _, table, key, _ in breaches if table == OBJECTS}) == 15
    assert len([1 for invariant, *_ in breaches if invariant == "manifest_complete"]) == 29


def test_mpacks_are_read_beside_snapshots_of_some_repos_each(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsck_tables, "WINDOW_JOBS", 1)
    snapshots: dict[datetime, None] = {}

    def look(_done: int, _total: int) -> None:
        [row] = world.hub.sql(
            "SELECT min(xact_start) AS began FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        snapshots[row["began"]] = None

    breaches, checked = check(world.hub, report=look)

    assert breaches == []
    assert len(snapshots) == 1 + 2  # of all rows, then of the song and the fork
    assert checked["mpacks"] == 2 + 1
    world.sql("DELETE FROM musehub_snapshots WHERE snapshot_id = %(first_snapshot)s")
    lacking = {key["repo_id"] for name, _, key, _ in found(world.hub) if name == "mpack_indexed"}
    assert lacking == {world.song, world.fork}


@pytest.mark.slow
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
