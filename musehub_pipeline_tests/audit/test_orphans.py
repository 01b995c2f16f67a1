"""Stored objects that no row names, and their removal while no run can be counting on them."""

from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256

import obstore
import pytest

from musehub_pipeline.audit import orphans as module
from musehub_pipeline.audit.orphans import HubNeverIdle, Orphan, Pruning, Total, open_orphans
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.audit.damaging import key_of, many_files
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_again, index_all, index_batch
from musehub_pipeline_tests.test_index_mpacks import assert_index_holds

NONE = timedelta()
LEFT = [b"left by a run %d" % number for number in range(7)]
IDS = [f"sha256:{sha256(content).hexdigest()}" for content in LEFT]


@pytest.fixture
def database(any_hub: Hub) -> Iterator[Database]:
    with Database(str(any_hub.settings.database_url)) as database:
        yield database


@pytest.fixture
def storage(any_hub: Hub) -> Iterator[ObjectStorage]:
    url = str(any_hub.settings.storage_url)
    with ObjectStorage(url, s3=any_hub.settings.s3, threads=2) as storage:
        yield storage


def leave(hub: Hub, *contents: bytes) -> None:
    for content in contents:
        obstore.put(hub.store, key_of(f"sha256:{sha256(content).hexdigest()}"), content)


def orphans_of(
    database: Database, storage: ObjectStorage, *, older_than: timedelta | None = None
) -> list[Orphan]:
    with open_orphans(database) as orphans:
        list(orphans.note(storage.stored_objects()))
        orphans.forget_named()
        found = list(orphans.all(older_than=older_than))
        total = orphans.total(older_than=older_than)
        assert total == Total(len(found), sum(orphan.size_bytes for orphan in found))
    return found


def prune(database: Database, storage: ObjectStorage, *, patience: timedelta = NONE) -> Pruning:
    pruning = Pruning(database, storage, patience=patience)
    list(pruning.remove(orphans_of(database, storage)))
    return pruning


def test_what_no_row_names_is_found_with_size_and_age(
    any_hub: Hub, database: Database, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 3)
    any_hub.push(any_hub.create_repo(), many_files(5, seed=1).mpack())
    index_all(any_hub)
    assert orphans_of(database, storage) == []

    leave(any_hub, *LEFT)
    obstore.put(any_hub.store, "objects/readme.txt", b"none of ours")

    found = orphans_of(database, storage)
    assert sorted((orphan.object_id, orphan.size_bytes) for orphan in found) == sorted(
        zip(IDS, map(len, LEFT), strict=True)
    )
    assert found == sorted(found, key=lambda orphan: (orphan.stored_at, orphan.object_id))
    assert all(0 <= orphan.age_seconds < 3600 for orphan in found)
    assert orphans_of(database, storage, older_than=timedelta(hours=1)) == []


def test_what_a_ref_names_is_no_orphan_though_its_row_is_lost(
    any_hub: Hub, database: Database, storage: ObjectStorage
) -> None:
    any_hub.push(any_hub.create_repo(), many_files(2, seed=1).mpack())
    index_all(any_hub)
    any_hub.sql("DELETE FROM musehub_objects")

    assert orphans_of(database, storage) == []


def test_orphans_are_removed_and_nothing_else(
    any_hub: Hub, database: Database, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TRIED_AT_ONCE", 5)
    monkeypatch.setattr(module, "_REMOVED_AT_ONCE", 2)
    history = many_files(5, seed=1)
    any_hub.push(any_hub.create_repo(), history.mpack())
    index_all(any_hub)
    leave(any_hub, *LEFT)

    pruning = prune(database, storage)

    assert (pruning.removed, pruning.size_bytes) == (7, sum(map(len, LEFT)))
    assert any_hub.stored_objects() == history.objects


def test_a_standstill_is_short_and_what_is_left_is_removed_in_another(
    any_hub: Hub, database: Database, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REMOVED_AT_ONCE", 2)
    monkeypatch.setattr(module, "_HELD_SECONDS", 0)  # over after the first removal
    leave(any_hub, *LEFT)
    pruning = Pruning(database, storage, patience=NONE)

    removed = list(pruning.remove(orphans_of(database, storage)))

    assert (removed, any_hub.stored_objects()) == ([2, 4, 6, 7], {})


def whatever(history: History) -> dict[str, bytes]:
    """Return objects of a push that lie in storage already, of another that was killed."""
    return dict(list(history.objects.items())[:2])


@pytest.mark.parametrize("phase", ["put_objects", "insert_objects", "insert_commits", "summarize"])
def test_what_a_push_under_way_counts_on_is_not_removed(
    any_hub: Hub, database: Database, storage: ObjectStorage, phase: str
) -> None:
    history = many_files(4, seed=1)
    head = next(iter(history.commits))
    leave(any_hub, *whatever(history).values(), *LEFT)
    job_id = any_hub.push(any_hub.create_repo(), history.mpack(), head=head)
    refusals: list[str] = []

    def meanwhile(name: str) -> None:
        if name == phase:
            with pytest.raises(HubNeverIdle, match=r"runs have 1 jobs now; 0 orphans") as refused:
                prune(database, storage)
            refusals.append(str(refused.value))

    index_batch(any_hub, before=meanwhile)

    assert len(refusals) == 1
    assert any_hub.job(job_id)["status"] == "done"
    assert any_hub.stored_objects().items() >= history.objects.items()
    assert prune(database, storage).removed == len(LEFT)
    assert_index_holds(any_hub, "repo-song", history)


def test_what_is_indexed_again_is_not_removed_either(
    any_hub: Hub, database: Database, storage: ObjectStorage
) -> None:
    history = many_files(4, seed=1)
    any_hub.push(any_hub.create_repo(), history.mpack())
    index_all(any_hub)
    any_hub.sql("DELETE FROM musehub_objects")
    any_hub.sql("DELETE FROM musehub_object_refs")
    assert len(orphans_of(database, storage)) == 4
    seen = orphans_of(database, storage)

    def meanwhile() -> None:
        with pytest.raises(HubNeverIdle):
            list(Pruning(database, storage, patience=NONE).remove(seen))

    index_again(any_hub, meanwhile=meanwhile)

    assert prune(database, storage).removed == 0
    assert any_hub.stored_objects() == history.objects


def test_an_orphan_that_got_its_row_since_it_was_listed_stays(
    any_hub: Hub, database: Database, storage: ObjectStorage
) -> None:
    history = many_files(4, seed=1)
    leave(any_hub, *whatever(history).values(), *LEFT)
    seen = orphans_of(database, storage)
    any_hub.push(any_hub.create_repo(), history.mpack())
    index_all(any_hub)

    pruning = Pruning(database, storage, patience=NONE)
    list(pruning.remove(seen))

    assert pruning.removed == len(LEFT)
    assert any_hub.stored_objects() == history.objects


@pytest.mark.slow
def test_a_hub_that_becomes_idle_is_waited_for(
    any_hub: Hub, database: Database, storage: ObjectStorage
) -> None:
    leave(any_hub, *LEFT)
    job_id = any_hub.push(any_hub.create_repo(), many_files(2, seed=1).mpack())
    held = "UPDATE musehub_background_jobs SET status = %(s)s WHERE job_id = %(j)s"
    any_hub.sql(held, {"s": "running", "j": job_id})
    pruning = Pruning(database, storage, patience=timedelta(hours=1))

    removals = pruning.remove(orphans_of(database, storage))
    assert next(removals) == next(removals) == 0
    any_hub.sql(held, {"s": "failed", "j": job_id})
    assert list(removals)[-1] == 7


def test_a_dead_run_that_nobody_rescues_is_named(
    any_hub: Hub, database: Database, storage: ObjectStorage
) -> None:
    leave(any_hub, *LEFT)
    any_hub.push(any_hub.create_repo(), many_files(2, seed=1).mpack())
    any_hub.sql("UPDATE musehub_background_jobs SET status = 'running'")

    with pytest.raises(HubNeverIdle, match="1 of them of runs that have died"):
        prune(database, storage)

    assert len(any_hub.stored_objects()) == 7
