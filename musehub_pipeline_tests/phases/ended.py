"""Jobs that have ended, for the tests of what is indexed again."""

from typing import Any

from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all
from musehub_pipeline_tests.queue.queueing import change

HISTORY = small_history()
MPACK = HISTORY.mpack()
FIRST, SECOND, *_, LAST = HISTORY.commits


def failed(hub: Hub, repo_id: str, mpack: bytes, **payload: Any) -> str:
    """Push what fails whatever it is, for it is said to hold too many objects."""
    job_id = hub.push(repo_id, mpack, **payload | {"declared_objects_count": 1_000})
    index_all(hub)
    assert hub.job(job_id)["error_code"] in {"COUNT_MISMATCH", "MPACK_MALFORMED"}
    change(hub, job_id, "payload = payload - 'declared_objects_count'")
    return job_id


def put_head(hub: Hub, repo_id: str, commit_id: str) -> None:
    hub.sql(
        "INSERT INTO musehub_branches VALUES (%(r)s, 'main', %(c)s)"
        " ON CONFLICT (repo_id, name) DO UPDATE SET head_commit_id = excluded.head_commit_id",
        {"r": repo_id, "c": commit_id},
    )
