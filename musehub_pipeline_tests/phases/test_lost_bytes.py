"""Bytes that storage has lost come back with whatever brings them again."""

import obstore
import pytest

from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_again, index_one
from musehub_pipeline_tests.test_index_mpacks import assert_index_holds

HISTORY = small_history()
MPACK = HISTORY.mpack()
*_, LAST = HISTORY.commits


@pytest.fixture
def indexed(any_hub: Hub) -> str:
    """The job of a push that is done; then some of its objects are lost, and one is cut."""
    job_id = any_hub.push(any_hub.create_repo(), MPACK, head=LAST)
    index_one(any_hub, job_id)
    gone, cut = list(HISTORY.objects)[:2]
    any_hub.store.delete(key_of(gone))
    obstore.put(any_hub.store, key_of(cut), HISTORY.objects[cut][:-1])
    return job_id


def key_of(object_id: str) -> str:
    return f"objects/{object_id[7:9]}/{object_id[7:]}"


def test_a_push_of_the_same_mpack_into_another_repo_puts_them_again(
    any_hub: Hub, indexed: str
) -> None:
    fork = any_hub.create_repo("fork")

    result = index_one(any_hub, any_hub.push(fork, MPACK, head=LAST))

    assert (result["objects_put"], result["object_bytes_put"]) == (2, 256)
    assert_index_holds(any_hub, fork, HISTORY)


def test_a_backfill_puts_them_again(any_hub: Hub, indexed: str) -> None:
    index_again(any_hub)

    result = any_hub.job(indexed)["result"]
    assert (result["objects_put"], result["object_bytes_put"]) == (2, 256)
    assert_index_holds(any_hub, "repo-song", HISTORY)


def test_a_row_that_names_another_place_names_the_one_where_they_are_now(
    any_hub: Hub, indexed: str
) -> None:
    any_hub.sql("UPDATE musehub_objects SET storage_uri = 's3://closed/' || object_id")
    for object_id in any_hub.stored_objects():
        any_hub.store.delete(key_of(object_id))

    index_again(any_hub)

    assert_index_holds(any_hub, "repo-song", HISTORY)
