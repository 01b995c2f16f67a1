"""Jobs that failed are indexed again: their branches move forward, or stay."""

import pytest

from musehub_pipeline.domain.result import Outcome
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_again, index_all
from musehub_pipeline_tests.phases.ended import (
    FIRST,
    LAST,
    MPACK,
    SECOND,
    failed,
    put_head,
)
from musehub_pipeline_tests.queue.queueing import state


@pytest.mark.parametrize("force", [False, True])
def test_a_branch_never_moves_back_not_even_by_force(hub: Hub, force: bool) -> None:
    repo_id = hub.create_repo()
    job_id = failed(hub, repo_id, MPACK, head=FIRST, force=force)
    ahead = hub.push(repo_id, MPACK, head=LAST)
    index_all(hub)

    assert index_again(hub, only=[job_id]) == {job_id: Outcome.FAILED}

    assert state(hub, job_id)["error_code"] == "NON_FAST_FORWARD"
    assert (hub.head(repo_id), hub.job(ahead)["attempt"]) == (LAST, 1)


def test_a_branch_does_not_follow_what_a_repeated_commit_claims_of_its_parents(
    hub: Hub,
) -> None:
    repo_id = hub.create_repo()
    hub = Hub(hub.settings.model_copy(update={"id_policy": "record"}))
    other = History()
    stranger = other.commit({"file": b"another history"})
    hub.push(repo_id, other.mpack())
    hub.push(repo_id, MPACK, head=LAST)
    index_all(hub)
    claims = other.copy()
    claims.commits[stranger] = claims.commits[stranger] | {"parent_commit_id": LAST}
    job_id = failed(hub, repo_id, claims.mpack(), head=stranger)

    assert index_again(hub, only=[job_id]) == {job_id: Outcome.FAILED}

    assert state(hub, job_id)["error_code"] == "NON_FAST_FORWARD"
    assert hub.head(repo_id) == LAST


@pytest.mark.parametrize("force", [False, True])
def test_a_branch_that_moved_meanwhile_stays_where_it_is(hub: Hub, force: bool) -> None:
    repo_id = hub.create_repo()
    job_id = failed(hub, repo_id, MPACK, head=SECOND, force=force)
    before = hub.job(job_id)

    outcomes = index_again(hub, meanwhile=lambda: put_head(hub, repo_id, LAST))

    assert outcomes == {job_id: Outcome.KEPT}
    assert (hub.job(job_id), hub.head(repo_id)) == (before, LAST)
