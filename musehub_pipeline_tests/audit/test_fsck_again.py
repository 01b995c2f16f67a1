"""What fsck makes of jobs that are indexed again: nothing, while and after it goes well."""

from datetime import timedelta

from musehub_pipeline.domain.result import Outcome
from musehub_pipeline.phases.services import open_database
from musehub_pipeline.queue.jobs import Jobs
from musehub_pipeline_tests.audit.checking import (
    NOT_MSGPACK,
    SNAPSHOTS,
    Found,
    World,
    check,
    found,
)
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.indexing import index_again, index_all


def test_jobs_that_a_run_holds_are_as_sound_as_before(world: World) -> None:
    during: list[Found] = []

    index_again(world.hub, meanwhile=lambda: during.append(found(world.hub)), publish=False)

    assert during == [[]]


def test_jobs_whose_run_died_are_as_sound_as_before(world: World) -> None:
    world.sql(
        "UPDATE musehub_background_jobs SET attempt = attempt + 1, run_id = 'dead',"
        " lease_expires_at = now() - interval '1 hour'"
    )

    assert found(world.hub) == []


def test_an_index_that_was_written_again_is_clean(world: World) -> None:
    before = check(world.hub)
    world.sql("DELETE FROM musehub_commits")
    world.sql("DELETE FROM musehub_snapshots")
    assert found(world.hub) != []

    assert set(index_again(world.hub).values()) == {Outcome.DONE}

    assert check(world.hub) == before


def test_a_job_that_could_not_be_indexed_again_hides_nothing(world: World) -> None:
    hub = world.hub
    world.sql("DELETE FROM musehub_snapshots WHERE snapshot_id = %(tip_snapshot)s")
    expected = found(hub)
    assert [table for _, table, _, _ in expected][-1] == SNAPSHOTS
    hub.sql(
        "ALTER TABLE musehub_snapshots ADD CONSTRAINT refused CHECK (repo_id = 'none') NOT VALID"
    )

    assert Outcome.KEPT in index_again(hub, only=[world.thin]).values()

    assert found(hub) == expected


def test_jobs_that_failed_and_are_done_or_failed_again_are_sound(world: World) -> None:
    hub = world.hub
    history = small_history()
    before = history.copy()
    history.commit({"late": b"late"}, parents=[world.last])
    sound = hub.push(world.fork, history.mpack(without=before), declared_objects_count=9)
    index_all(hub)
    bad = hub.push(world.fork, NOT_MSGPACK)
    index_all(hub)
    hub.sql("UPDATE musehub_background_jobs SET payload = payload - 'declared_objects_count'")

    assert index_again(hub, only=[sound, bad]) == {sound: Outcome.DONE, bad: Outcome.FAILED}

    breaches, checked = check(hub)
    assert (breaches, checked["jobs_done"], checked["jobs_failed"]) == ([], 6, 1)


def test_what_was_written_since_the_first_push_is_judged_after_it_was_indexed_again(
    world: World,
) -> None:
    world.sql("INSERT INTO musehub_object_refs VALUES (%(fork)s, %(new)s, now())")
    breaches = found(world.hub)
    assert [invariant for invariant, *_ in breaches] == ["ref_supplied"]

    index_again(world.hub)

    assert found(world.hub) == breaches


def test_nothing_is_found_where_a_job_was_indexed_again_before_its_past_was_pruned(
    world: World,
) -> None:
    hub = world.hub
    ago = "- interval '10 days'"
    hub.sql(f"UPDATE musehub_object_refs SET created_at = created_at {ago}")
    hub.sql(
        f"UPDATE musehub_background_jobs SET finished_at = finished_at {ago}, attempts ="
        f" jsonb_set(attempts, '{{0,ended_at}}', to_jsonb(finished_at {ago}))"
    )
    assert index_again(hub, only=[world.full]) == {world.full: Outcome.DONE}

    with open_database(hub.settings) as database:
        pruned = Jobs(database).prune_done(older_than=timedelta(days=5))

    assert pruned == 5
    breaches, checked = check(hub)
    assert (breaches, checked["object_refs_unjudged"]) == ([], checked["object_refs"])
