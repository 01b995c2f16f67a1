"""`stats`: what jobs came to, for people and for scripts."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from musehub_pipeline.domain.result import TIMINGS
from musehub_pipeline_tests.cli.ended_jobs import row
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_one


@pytest.fixture
def indexed(hub: Hub) -> dict[str, dict[str, Any]]:
    """The results of three jobs of two repositories, by job; two more were refused."""
    repos = hub.create_repo("a"), hub.create_repo("ab"), hub.create_repo("c")
    mpack = small_history().mpack()
    jobs = [hub.push(repo_id, mpack) for repo_id in (repos[0], repos[1], repos[0])]
    results = {job_id: index_one(hub, job_id) for job_id in jobs}
    for _ in range(2):
        refused = hub.push(repos[2], b"\xc1")
        index_one(hub, refused)
    return results


@pytest.mark.parametrize("period", [(), ("--hours", "1"), ("--jobs", "3"), ("--jobs", "99")])
def test_the_jobs_of_a_time_are_told_in_numbers(
    indexed: dict[str, dict[str, Any]], period: tuple[str, ...]
) -> None:
    found = call("stats", "--json", *period).json

    results = list(indexed.values())
    slowest = sorted(results, key=lambda result: -result["elapsed_ms"])
    elapsed = sorted(result["elapsed_ms"] for result in results)
    worked = sum(elapsed)
    assert found["jobs"] == 3
    assert found["mpack_bytes"] == sum(result["mpack_size_bytes"] for result in results)
    assert found["failed"] == {"MPACK_MALFORMED": 2}
    assert list(found["times"]) == ["fetch_mpack_ms", *TIMINGS[1:], "elapsed_ms"]
    assert found["times"]["elapsed_ms"] == {
        "p50": elapsed[1],
        "p95": pytest.approx(elapsed[1] + 0.9 * (elapsed[2] - elapsed[1]), abs=0.001),
        "p99": pytest.approx(elapsed[1] + 0.98 * (elapsed[2] - elapsed[1]), abs=0.001),
        "max": elapsed[2],
        "total_ms": pytest.approx(worked, abs=0.01),
        "share": 1.0,
    }
    for key in TIMINGS:
        total = sum(result[key] for result in results)
        assert found["times"][key]["share"] == pytest.approx(total / worked, abs=0.001)
    assert [job["job_id"] for job in found["slowest_jobs"]] == [job["job_id"] for job in slowest]
    assert {(repo["owner"], repo["slug"], repo["jobs"]) for repo in found["busiest_repos"]} == {
        ("ada", "a", 2),
        ("ada", "ab", 1),
    }
    covered = datetime.fromisoformat(found["at"]) - datetime.fromisoformat(found["since"])
    assert found["jobs_per_second"] == pytest.approx(3 / covered.total_seconds())


def test_only_the_time_that_is_asked_for_counts(hub: Hub) -> None:
    repo_id = hub.create_repo()
    for hours in (1, 3, 30):
        job_id = row(hub, repo_id, 0, size=100, elapsed_ms=hours)
        hub.sql(
            "UPDATE musehub_background_jobs SET finished_at = now() - %(ago)s"
            " WHERE job_id = %(id)s",
            {"ago": timedelta(hours=hours), "id": job_id},
        )

    def jobs(*period: str) -> tuple[int, float]:
        found = call("stats", "--json", *period).json
        return found["jobs"], found["times"]["elapsed_ms"]["max"]

    assert jobs("--hours", "2") == (1, 1)
    assert jobs() == (2, 3)
    assert jobs("--jobs", "1") == (1, 1)
    assert jobs("--jobs", "3") == jobs("--hours", "40") == (3, 30)


def test_people_see_the_same_as_tables_with_bars(indexed: dict[str, dict[str, Any]]) -> None:
    finished = call("stats")

    assert (finished.code, finished.err) == (0, "")
    for text in (
        "jobs done",
        "unpack",
        "█",
        "slowest jobs",
        *indexed,
        "ada/ab",
        "MPACK_MALFORMED 2",
    ):
        assert text in finished.out


def test_where_nothing_is_done_there_is_nothing_to_divide_by(hub: Hub) -> None:
    found = call("stats", "--json", "--jobs", "5").json

    assert found.pop("at")
    assert found == {
        "since": None,
        "jobs": 0,
        "mpack_bytes": 0,
        "jobs_per_second": 0.0,
        "bytes_per_second": 0.0,
        "times": {},
        "slowest_jobs": [],
        "busiest_repos": [],
        "failed": {},
    }
    assert call("stats").code == 0
    assert call("stats", "--hours", "1", "--jobs", "5").code == 2
