"""How much a batch takes at the most, by bytes and by objects; what is too much waits, unspent."""

import dagster as dg

from musehub_pipeline_tests.factories import History, small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.orchestration.backfilling import backfill, fared, old_pushes
from musehub_pipeline_tests.orchestration.observed import run, statuses

MPACK = small_history().mpack()
EMPTY = History().mpack()
DONE, WAITING = ("done", 1, None), ("pending", 0, None)


def test_a_batch_has_no_more_bytes_than_it_may_but_for_a_first_job(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    large = [hub.push(hub.create_repo(slug), MPACK) for slug in "ab"]
    small = [hub.push(hub.create_repo(slug), EMPTY) for slug in "cd"]

    run(hub, instance, batch_bytes=len(MPACK) - 1)
    after_one = statuses(hub, *large, *small)
    run(hub, instance, batch_bytes=len(MPACK) + len(EMPTY))

    assert after_one == [DONE, WAITING, WAITING, WAITING]
    assert hub.job(large[0])["result"]["batch_jobs"] == 1  # the others were put back at once
    assert statuses(hub, *large, *small) == [DONE, DONE, DONE, WAITING]


def two_objects(name: str) -> bytes:
    history = History()
    history.commit({"a": f"{name} a".encode(), "b": f"{name} b".encode()}, message=name)
    return history.mpack()


def test_a_batch_that_holds_enough_rows_takes_on_no_more(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    """What is known of each object, snapshot and commit stays in memory until the run ends."""
    repos = [hub.create_repo(slug) for slug in "abc"]
    jobs = [hub.push(repo, two_objects(f"{n} {repo}")) for repo in repos for n in range(2)]

    run(hub, instance, max_objects=8)
    after_one = statuses(hub, *jobs)
    run(hub, instance, max_objects=8)
    run(hub, instance, max_objects=8)

    assert after_one == [DONE, DONE, WAITING, WAITING, WAITING, WAITING]
    assert hub.job(jobs[0])["result"]["batch_jobs"] == 2  # the others were put back at once
    assert statuses(hub, *jobs) == [DONE] * 6
    assert hub.counts()["objects"] == 12


def test_a_job_that_turns_out_to_be_too_large_for_the_rest_of_a_batch_waits_for_the_next(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    small = hub.push(hub.create_repo("a"), two_objects("small"))  # 4 rows
    large = hub.push(hub.create_repo("b"), MPACK)  # 22 rows: it is read until there is no room

    run(hub, instance, max_objects=25)
    after_one = statuses(hub, small, large)
    run(hub, instance, max_objects=25)

    assert after_one == [DONE, WAITING]
    assert statuses(hub, small, large) == [DONE, DONE]


def test_a_past_job_that_is_larger_than_it_was_said_to_be_is_kept_as_it_was(
    hub: Hub, instance: dg.DagsterInstance
) -> None:
    first, second = old_pushes(hub, "ab")
    size = hub.job(first)["result"]["mpack_size_bytes"]
    hub.sql(
        "UPDATE musehub_background_jobs SET result = result || '{\"mpack_size_bytes\": 1}'::jsonb"
    )
    before = hub.job(second)

    taken = fared(backfill(hub, instance, batch_bytes=size + 1))

    assert taken == (2, 1, {}, {"OVER_BATCH": 1})
    assert hub.job(second) == before
    assert hub.job(first)["attempt"] == 2
