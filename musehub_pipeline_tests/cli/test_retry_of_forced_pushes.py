"""A forced push that is tried again long after: no branch moves back from what came later."""

import pytest

from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub


def forced(hub: Hub, repo_id: str, name: str, *, branch: str = "main") -> tuple[str, str]:
    """Push a commit that descends from none; return the job and the commit."""
    history = History()
    head = history.commit({"file": name.encode()}, message=name)
    job_id = hub.push(repo_id, history.mpack(), branch=branch, head=head, force=True)
    return job_id, f"sha256:{head[-64:]}"


def lose_mpack(hub: Hub, job_id: str) -> None:
    hub.sql(
        "UPDATE musehub_background_jobs SET status = 'failed', error_code = 'MPACK_MISSING'"
        " WHERE job_id = %(id)s",
        {"id": job_id},
    )


@pytest.mark.parametrize("later", ["other", None])
def test_it_moves_a_branch_that_no_later_push_has_moved(hub: Hub, later: str | None) -> None:
    repo_id = hub.create_repo()
    early, head = forced(hub, repo_id, "early")
    lose_mpack(hub, early)
    if later is not None:
        forced(hub, repo_id, "later", branch=later)
        call("index")

    call("jobs", "retry", early)
    call("index")

    assert hub.job(early)["status"] == "done"
    assert hub.head(repo_id) == head


def test_it_moves_no_branch_that_a_later_push_has_moved(hub: Hub) -> None:
    repo_id = hub.create_repo()
    early, _ = forced(hub, repo_id, "early")
    lose_mpack(hub, early)
    later, head = forced(hub, repo_id, "later")
    call("index")
    assert hub.job(later)["status"] == "done"

    call("jobs", "retry", early)
    call("index")

    row = hub.job(early)
    assert (row["status"], row["error_code"]) == ("failed", "NON_FAST_FORWARD")
    assert hub.head(repo_id) == head
