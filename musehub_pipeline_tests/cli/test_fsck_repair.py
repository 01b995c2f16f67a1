"""`fsck --repair`: what an mpack in storage can prove is healed, and nothing else is touched."""

import json
import random
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread
from typing import Any

import obstore
import psycopg
import pytest

from musehub_pipeline_tests.audit.checking import (
    COMMITS,
    OBJECTS,
    REFS,
    SNAPSHOTS,
    World,
    check,
    found,
    push_world,
)
from musehub_pipeline_tests.audit.damaging import key_of, many_files, rot, stamps
from musehub_pipeline_tests.cli.terminal import call, finish, start, wait_until
from musehub_pipeline_tests.conftest import CEPH
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all, index_and_die, index_batch, index_one
from musehub_pipeline_tests.test_index_mpacks import assert_index_holds

WAITS_TO_INSERT = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database()"
    " AND query LIKE '%INSERT INTO musehub_snapshots%' AND wait_event_type = 'Lock'"
)
NO_SUPPLIER = "no done job's mpack in storage has the object"


@pytest.fixture
def world(hub: Hub) -> World:
    return push_world(hub)


def repaired(*options: str) -> list[dict[str, Any]]:
    """Repair, and return what was told; the exit code and the summary go with it."""
    finished = call("fsck", "--repair", "--json", *options)
    told = [json.loads(line) for line in finished.out.splitlines()]
    left = [each for each in told if not each["healed"]]
    assert finished.code == (3 if left else 0), finished
    assert finished.err.splitlines()[-1] == f"healed={len(told) - len(left)} left={len(left)}"
    assert all((each["why"] is None) == each["healed"] for each in told)
    return told


def heads(hub: Hub) -> list[dict[str, Any]]:
    return hub.sql("SELECT * FROM musehub_branches ORDER BY repo_id, name")


@pytest.mark.parametrize("any_hub", ["directory", "moto", CEPH], indirect=True)
def test_of_a_hundred_rotten_objects_all_are_healed_whose_mpack_is_there(any_hub: Hub) -> None:
    song, talk = many_files(100, seed=1), many_files(30, seed=2)
    jobs = [
        any_hub.push(any_hub.create_repo(slug), history.mpack())
        for slug, history in (("song", song), ("talk", talk))
    ]
    index_all(any_hub)
    any_hub.store.delete(f"mpacks/{any_hub.job(jobs[1])['payload']['mpack_key'][7:]}")
    contents = song.objects | talk.objects
    wrong = rot(any_hub, contents, random.Random(3).sample(sorted(contents), 100))
    before = stamps(any_hub)
    by_bytes = {
        each["object_id"]: each
        for each in map(json.loads, call("fsck", "--deep", "--json").out.splitlines())
    }

    told = repaired("--deep")

    bytes_told = [each for each in told if "object_id" in each]
    assert bytes_told == [
        by_bytes[object_id]
        | {
            "healed": object_id in song.objects,
            "why": None if object_id in song.objects else NO_SUPPLIER,
        }
        for object_id in sorted(wrong)
    ]
    assert [each["key"] for each in told if "invariant" in each] == [{"job_id": jobs[1]}]
    stored = any_hub.stored_objects()
    assert all(stored[object_id] == content for object_id, content in song.objects.items())
    after = stamps(any_hub)
    untouched = set(contents).difference(wrong)
    assert {i: after[i] for i in untouched} == {i: before[i] for i in untouched}
    lost = sorted(set(talk.objects).intersection(wrong))
    again = map(json.loads, call("fsck", "--deep", "--json").out.splitlines())
    assert [each["object_id"] for each in again] == lost


@pytest.mark.slow
@pytest.mark.parametrize("any_hub", ["directory", CEPH], indirect=True)
def test_a_hundred_runs_beside_the_healing_are_not_disturbed(any_hub: Hub, tmp_path: Path) -> None:
    """Every tenth brings the very objects that are healed meanwhile, to a repo that lacks them."""
    song = many_files(100, seed=1)
    any_hub.push(any_hub.create_repo(), song.mpack())
    index_all(any_hub)
    wrong = rot(any_hub, song.objects, sorted(song.objects))
    tunes = [many_files(2, seed=100 + number) for number in range(100)]
    jobs = [
        any_hub.push(any_hub.create_repo(f"r{number}"), (tune if number % 10 else song).mpack())
        for number, tune in enumerate(tunes)
    ]

    said = tmp_path / "said"
    with said.open("w") as file:
        process = start("fsck", "--repair", "--deep", "--json", stdout=file)
        wait_until(process, lambda: said.stat().st_size > 0)
        for number, job_id in enumerate(jobs):
            index_batch(any_hub, run_id=f"run-{number}", job_ids=[job_id])
        assert finish(process).code == 0

    told = [json.loads(line) for line in said.read_text().splitlines()]
    assert {each["object_id"] for each in told} <= wrong.keys()
    assert all(each["healed"] for each in told)
    rows = [any_hub.job(job_id) for job_id in jobs]
    assert {(row["status"], row["attempt"], row["error_code"]) for row in rows} == {
        ("done", 1, None)
    }
    assert found(any_hub) == []
    assert call("fsck", "--deep").code == 0


def test_without_deep_only_what_a_listing_shows_is_healed(any_hub: Hub) -> None:
    history = many_files(30, seed=4)
    any_hub.push(any_hub.create_repo(), history.mpack())
    index_all(any_hub)
    wrong = rot(any_hub, history.objects, history.objects)
    flipped = sorted(object_id for object_id, what in wrong.items() if what == "hash")
    assert len(set(wrong.values())) == 3

    told = repaired()

    assert [each["object_id"] for each in told] == sorted(set(wrong).difference(flipped))
    left = map(json.loads, call("fsck", "--deep", "--json").out.splitlines())
    assert [each["object_id"] for each in left] == flipped
    assert all(each["healed"] for each in repaired("--deep"))
    assert any_hub.stored_objects() == history.objects
    assert repaired("--deep") == []


def test_an_object_of_several_parts_is_healed_whole(any_hub: Hub) -> None:
    history = small_history()
    large = bytes(range(256)) * 40_000
    head = history.commit({"large": large}, parents=[list(history.commits)[-1]])
    any_hub.push(any_hub.create_repo(), history.mpack(), head=head)
    index_all(any_hub)
    object_id = next(i for i, content in history.objects.items() if content == large)
    obstore.put(any_hub.store, key_of(object_id), large[:-1] + b"\0")

    [told] = repaired("--deep")

    assert (told["what"], told["healed"]) == ("hash", True)
    assert any_hub.stored_objects() == history.objects


@pytest.mark.parametrize("table", [OBJECTS, REFS, SNAPSHOTS, COMMITS])
def test_rows_of_each_table_come_back_and_no_branch_moves(world: World, table: str) -> None:
    hub = world.hub
    before, were, counts = check(hub), heads(hub), hub.counts()
    hub.sql(f"DELETE FROM {table}")
    breaches = [breach.as_dict() for breach in check(hub)[0]]
    assert breaches

    told = repaired()

    def key(each: dict[str, Any]) -> str:
        return json.dumps(each, sort_keys=True)

    healed = {"healed": True, "why": None}
    assert sorted(told, key=key) == sorted((breach | healed for breach in breaches), key=key)
    assert (check(hub), heads(hub), hub.counts()) == (before, were, counts)
    assert repaired() == []


def test_all_rows_and_all_bytes_come_back_at_once(world: World) -> None:
    hub = world.hub
    before, were, stored = check(hub), heads(hub), hub.stored_objects()
    for table in (OBJECTS, REFS, SNAPSHOTS, COMMITS):
        hub.sql(f"DELETE FROM {table}")
    rot(hub, stored, stored, seed=7)

    assert all(each["healed"] for each in repaired("--deep"))

    assert (check(hub), heads(hub), hub.stored_objects()) == (before, were, stored)


def test_a_job_that_leans_on_what_a_later_one_brings_is_tried_again_after_it(hub: Hub) -> None:
    history = small_history()
    before = history.copy()
    [*_, last] = history.commits
    tip = history.commit({"new": b"new"}, parents=[last])
    repo_id = hub.create_repo()
    pushes = [(before.mpack(), last), (history.mpack(without=before), tip), (before.mpack(), None)]
    jobs = [hub.push(repo_id, mpack, head=head) for mpack, head in pushes]
    index_all(hub)
    hub.sql("DELETE FROM musehub_background_jobs WHERE job_id = %(j)s", {"j": jobs[0]})
    for table in (REFS, SNAPSHOTS, COMMITS):
        hub.sql(f"DELETE FROM {table}")

    assert all(each["healed"] for each in repaired())

    assert_index_holds(hub, repo_id, history)


def test_one_repository_is_repaired_alone(world: World) -> None:
    hub = world.hub
    hub.sql(f"DELETE FROM {COMMITS}")

    assert {
        each["key"]["repo_id"] for each in repaired("--repo", "bob/fork") if each["healed"]
    } == {world.fork}

    assert {each["repo_id"] for each in hub.sql(f"SELECT repo_id FROM {COMMITS}")} == {world.fork}
    assert found(hub, repo_id=world.fork) == []


def test_a_row_that_is_lost_is_not_put_over_bytes_that_are_wrong(world: World) -> None:
    hub = world.hub
    stored = hub.stored_objects()
    [object_id, *_] = sorted(stored)
    hub.sql(f"DELETE FROM {OBJECTS} WHERE object_id = %(o)s", {"o": object_id})
    obstore.put(hub.store, key_of(object_id), bytes(len(stored[object_id])))

    assert all(each["healed"] for each in repaired())

    assert hub.stored_objects() == stored
    assert call("fsck", "--deep").code == 0


@pytest.mark.parametrize("size", ["3", "NULL"])
def test_a_row_with_a_wrong_size_is_healed_and_the_bytes_are_left_alone(
    world: World, size: str
) -> None:
    hub = world.hub
    before = stamps(hub)
    hub.sql(f"ALTER TABLE {OBJECTS} ALTER size_bytes DROP NOT NULL")
    hub.sql(f"UPDATE {OBJECTS} SET size_bytes = {size} WHERE object_id = '{min(before)}'")

    [told] = repaired()

    assert (told["object_id"], told["what"], told["healed"]) == (min(before), "size", True)
    assert stamps(hub) == before
    assert found(hub) == []


def test_what_nothing_proves_is_left_with_the_reason(world: World) -> None:
    hub = world.hub
    world.sql("UPDATE musehub_branches SET head_commit_id = %(nowhere)s WHERE repo_id = %(fork)s")
    world.sql("INSERT INTO musehub_object_refs VALUES (%(fork)s, %(new)s, now())")
    world.sql("UPDATE musehub_background_jobs SET result = NULL WHERE job_id = %(thin)s")
    hub.store.delete(world.key_of_mpack(world.thin))
    world.sql("DELETE FROM musehub_snapshots WHERE snapshot_id = %(tip_snapshot)s")

    told = repaired()

    assert {(each["invariant"], each["why"]) for each in told} == {
        ("job_ends", "repair changes no job but by indexing it again"),
        ("head_exists", "no done job's mpack in storage has it, and repair moves no branch"),
        ("commit_complete", "no done job's mpack in storage has what is missing"),
        ("mpack_indexed", "the mpack itself is what is missing"),
        ("ref_supplied", "repair takes nothing away"),
    }
    assert heads(hub)[0]["head_commit_id"].endswith("7" * 64)


def test_a_job_that_cannot_be_indexed_again_is_named_with_its_trouble(world: World) -> None:
    hub = world.hub
    world.sql(f"DELETE FROM {SNAPSHOTS} WHERE snapshot_id = %(tip_snapshot)s")
    hub.sql(f"ALTER TABLE {SNAPSHOTS} ADD CONSTRAINT refused CHECK (repo_id = 'none') NOT VALID")

    told = call("fsck", "--repair")

    assert told.code == 3
    assert f"job {world.thin} could not be indexed again: INTERNAL_ERROR: " in told.out
    assert told.out.splitlines()[-1] == "healed=0 left=2"


def test_a_job_that_another_run_has_is_left_to_it(world: World) -> None:
    world.sql(f"DELETE FROM {COMMITS} WHERE commit_id = %(tip)s")
    world.sql(
        "UPDATE musehub_background_jobs SET run_id = 'other',"
        " lease_expires_at = now() + interval '1 hour' WHERE job_id = %(thin)s"
    )

    told = repaired()

    assert any("another run has it" in each["why"] for each in told)
    [row] = world.hub.sql("SELECT run_id FROM musehub_background_jobs WHERE run_id = 'other'")
    assert row == {"run_id": "other"}


def test_a_repair_that_was_killed_hurts_nothing_and_another_one_ends_it(world: World) -> None:
    hub = world.hub
    before, were, stored = check(hub), heads(hub), hub.stored_objects()
    for table in (REFS, SNAPSHOTS):
        hub.sql(f"DELETE FROM {table}")
    rot(hub, stored, stored, seed=8)
    with psycopg.connect(str(hub.settings.database_url)) as lock:
        lock.execute("LOCK TABLE musehub_snapshots IN SHARE MODE")
        process = start("fsck", "--repair", "--deep")
        wait_until(process, lambda: bool(hub.sql(WAITS_TO_INSERT)))
        process.kill()
        finish(process)
    history = small_history()
    head = history.commit({"meanwhile": b"meanwhile"}, parents=[list(history.commits)[-1]])
    index_one(hub, hub.push(hub.create_repo("pushed"), history.mpack(), head=head))
    hub.sql(
        "UPDATE musehub_background_jobs SET lease_expires_at = now() - interval '1 hour'"
        " WHERE lease_expires_at IS NOT NULL"
    )

    assert all(each["healed"] for each in repaired("--deep"))

    assert found(hub) == []
    assert [head for head in heads(hub) if head["repo_id"] != "repo-pushed"] == were
    assert hub.stored_objects().items() >= stored.items()
    assert check(hub)[1]["commits"] == before[1]["commits"] + len(history.commits)


def test_a_run_that_was_killed_before_it_ended_its_push_is_no_damage(world: World) -> None:
    hub = world.hub
    history = small_history()
    head = history.commit({"late": b"late"}, parents=[list(history.commits)[-1]])
    job_id = hub.push(hub.create_repo("late"), history.mpack(), head=head)
    index_and_die(hub)
    rot(hub, history.objects, history.objects)

    told = repaired("--deep")

    late = f"sha256:{sha256(b'late').hexdigest()}"  # in no mpack of a job that is done
    assert [each["object_id"] for each in told if not each["healed"]] == [late]
    expired = "UPDATE musehub_background_jobs SET lease_expires_at = now() - interval '1 hour'"
    hub.sql(f"{expired} WHERE job_id = %(j)s", {"j": job_id})
    index_all(hub)
    assert [each["healed"] for each in repaired("--deep")] == [True]
    assert_index_holds(hub, "repo-late", history)


def test_pushes_go_on_beside_a_repair_and_neither_is_disturbed(any_hub: Hub) -> None:
    world = push_world(any_hub)
    stored = any_hub.stored_objects()
    ended = Event()
    pushed: list[str] = []

    def push() -> None:
        repo_id = any_hub.create_repo("busy")
        history, parents = small_history(), []
        while not ended.is_set() or len(pushed) < 3:
            before = history.copy() if pushed else None
            files = {f"file{len(pushed)}": b"%d" % len(pushed), "rotten": min(stored.values())}
            parents = [history.commit(files, parents=parents)]
            mpack = history.mpack(without=before)
            pushed.append(any_hub.push(repo_id, mpack, head=parents[0]))
            index_all(any_hub)

    pushing = Thread(target=push)
    for seed in range(3):
        rot(any_hub, stored, stored, seed=seed)
        for table in (SNAPSHOTS, COMMITS):
            world.sql(f"DELETE FROM {table} WHERE repo_id = %(song)s")
        if not pushing.is_alive():
            pushing.start()
        told = repaired("--deep")
        assert [each for each in told if not each["healed"]] == []
    ended.set()
    pushing.join()

    assert {any_hub.job(job_id)["status"] for job_id in pushed} == {"done"}
    assert found(any_hub) == []
    assert call("fsck", "--deep").code == 0
