"""What fsck finds of refs: those that no push can explain, and no others."""

import pytest

from musehub_pipeline_tests.audit.checking import (
    NEW_ID,
    NOT_MSGPACK,
    NOWHERE,
    REFS,
    World,
    check,
    found,
)
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.indexing import index_all, index_and_die


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
