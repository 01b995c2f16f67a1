"""Rows that a hub may hold and nobody foresaw: they are judged, and hold up nobody else."""

import pytest

from musehub_pipeline.domain.result import Outcome
from musehub_pipeline.phases.services import open_services
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.jobs import Jobs
from musehub_pipeline.queue.status import queue_status
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_again, index_all
from musehub_pipeline_tests.queue.queueing import change

HISTORY = small_history()
MPACK = HISTORY.mpack()
FIRST, *_, LAST = HISTORY.commits


def nullable(hub: Hub, *columns: str) -> None:
    for column in columns:
        hub.sql(f"ALTER TABLE musehub_background_jobs ALTER COLUMN {column} DROP NOT NULL")


@pytest.mark.parametrize(
    "created_at", ["'-infinity'", "'infinity'", "'0044-03-15 BC'", "'55841-01-01'", "NULL"]
)
def test_a_job_of_no_time_that_python_knows_is_indexed_among_others(
    hub: Hub, created_at: str
) -> None:
    nullable(hub, "created_at")
    odd, _ = (hub.push(hub.create_repo(slug), MPACK, head=LAST) for slug in ("odd", "other"))
    change(hub, odd, f"created_at = {created_at}")
    with Database(str(hub.settings.database_url)) as database:
        waiting = queue_status(database)
        assert [job["job_id"] for job in Jobs(database).listed(limit=9)].count(odd) == 1

        index_all(hub)

        assert (waiting["pending"], waiting["due"]) == (2, 2)
        assert 0 <= waiting["oldest_pending_seconds"] < float("inf")
        after = queue_status(database)
        assert (after["pending"], after["done_1h"]) == (0, 2)
    assert hub.sql("SELECT status FROM musehub_background_jobs") == [{"status": "done"}] * 2


def test_a_job_of_no_repository_fails_among_others(hub: Hub) -> None:
    nullable(hub, "repo_id")
    odd, other = (hub.push(hub.create_repo(slug), MPACK, head=LAST) for slug in ("odd", "other"))
    change(hub, odd, "repo_id = NULL")

    index_all(hub)

    assert (hub.job(odd)["status"], hub.job(odd)["error_code"]) == ("failed", "REPO_UNKNOWN")
    assert hub.job(other)["status"] == "done"


@pytest.mark.parametrize(("attempt", "then"), [("2147483647", 2**31 - 1), ("NULL", 1)])
def test_a_job_whose_attempts_cannot_be_counted_is_indexed(
    hub: Hub, attempt: str, then: int
) -> None:
    nullable(hub, "attempt")
    odd, other = (hub.push(hub.create_repo(slug), MPACK, head=LAST) for slug in ("odd", "other"))
    change(hub, odd, f"attempt = {attempt}")

    index_all(hub)

    assert (hub.job(odd)["status"], hub.job(odd)["attempt"]) == ("done", then)
    assert Outcome.DONE is index_again(hub)[other]


@pytest.mark.parametrize("attempts", ["{}", '"none"', '[{"attempt": "first"}, 7, {"code": null}]'])
def test_a_job_whose_history_is_no_list_of_attempts_is_indexed_among_others(
    hub: Hub, attempts: str
) -> None:
    odd, other = (hub.push(hub.create_repo(slug), MPACK, head=LAST) for slug in ("odd", "other"))
    change(hub, odd, f"attempts = '{attempts}'")

    index_all(hub)

    assert [hub.job(job_id)["status"] for job_id in (odd, other)] == ["done", "done"]


def test_jobs_of_one_repo_go_in_the_order_of_times_that_python_does_not_know(hub: Hub) -> None:
    nullable(hub, "created_at")
    times = (
        "'-infinity'",
        "'0044-03-15 BC'",
        "'0001-01-01'",
        "'55841-01-01'",
        "'infinity'",
        "NULL",
    )
    repo_id = hub.create_repo()
    job_ids = [hub.push(repo_id, MPACK) for _ in times]
    for job_id, created_at in reversed(list(zip(job_ids, times, strict=True))):
        change(hub, job_id, f"created_at = {created_at}")

    with open_services(hub.settings) as services:
        claimed = services.queue.claim(run_id="run", limit=9)
        assert [lease.claim.job_id for lease in claimed] == job_ids
        services.runs.end("run")
    with Database(str(hub.settings.database_url)) as database:
        assert Jobs(database).cancel(repo_id=repo_id) == job_ids
        assert Jobs(database).retry(repo_id=repo_id) == job_ids


def test_a_time_that_python_does_not_know_is_shown_to_who_asks(hub: Hub) -> None:
    times = "VALUES ('infinity'::timestamptz), ('-infinity'), ('0044-03-15 BC'), ('55841-01-01')"
    with Database(str(hub.settings.database_url)) as database:
        _, rows = database.query(times)

    assert [time.year for (time,) in rows] == [9999, 1, 1, 9999]


@pytest.mark.parametrize("deleted_at", ["'-infinity'", "'infinity'"])
def test_a_repo_that_is_deleted_at_no_time_that_python_knows_is_deleted(
    hub: Hub, deleted_at: str
) -> None:
    odd, other = (hub.push(hub.create_repo(slug), MPACK, head=LAST) for slug in ("odd", "other"))
    hub.sql(f"UPDATE musehub_repos SET deleted_at = {deleted_at} WHERE slug = 'odd'")

    index_all(hub)

    assert (hub.job(odd)["status"], hub.job(odd)["error_code"]) == ("failed", "REPO_DELETED")
    assert hub.job(other)["status"] == "done"


def test_an_object_row_that_tells_no_size_is_healed(hub: Hub) -> None:
    hub.sql("ALTER TABLE musehub_objects ALTER COLUMN size_bytes DROP NOT NULL")
    repo_id = hub.create_repo()
    hub.push(repo_id, MPACK, head=LAST)
    index_all(hub)
    rows = hub.sql("SELECT object_id, size_bytes FROM musehub_objects ORDER BY object_id")
    hub.sql("UPDATE musehub_objects SET size_bytes = NULL")

    again = hub.push(repo_id, MPACK, head=LAST)
    index_all(hub)

    assert hub.job(again)["status"] == "done"
    assert hub.sql("SELECT object_id, size_bytes FROM musehub_objects ORDER BY object_id") == rows


@pytest.mark.parametrize("parent_ids", ["null", '"x"', "{}"])
def test_a_commit_row_whose_parents_are_no_list_ends_a_walk_like_a_root(
    hub: Hub, parent_ids: str
) -> None:
    repo_id = hub.create_repo()
    hub.push(repo_id, MPACK, head=LAST)
    index_all(hub)
    hub.sql("UPDATE musehub_commits SET parent_ids = %(p)s::jsonb", {"p": parent_ids})
    history = HISTORY.copy()
    aside = history.commit({"file": b"another line"}, parents=[FIRST])

    job_id = hub.push(repo_id, history.mpack(without=HISTORY), head=aside)
    index_all(hub)

    assert hub.job(job_id)["error_code"] == "NON_FAST_FORWARD"


@pytest.mark.parametrize("head", [None, ""])
def test_a_branch_that_stands_nowhere_is_moved(hub: Hub, head: str | None) -> None:
    hub.sql("ALTER TABLE musehub_branches ALTER COLUMN head_commit_id DROP NOT NULL")
    repo_id = hub.create_repo()
    hub.sql(
        "INSERT INTO musehub_branches (repo_id, name, head_commit_id)"
        " VALUES (%(r)s, 'main', %(h)s)",
        {"r": repo_id, "h": head},
    )

    job_id = hub.push(repo_id, MPACK, head=LAST)
    index_all(hub)

    assert hub.job(job_id)["status"] == "done"
    assert hub.head(repo_id) == LAST
