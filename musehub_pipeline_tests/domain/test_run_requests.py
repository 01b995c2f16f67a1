"""How many runs are requested, for what is due and what is under way."""

import pytest

from musehub_pipeline.domain.run_requests import (
    MOST_COUNTED,
    Backlog,
    DueJob,
    PlannedRun,
    plan_runs,
)

LIVE = {"musehub/lane": "live"}


def due(repos: str, *, dead: str = "", together: int = 1) -> tuple[DueJob, ...]:
    """Return a due job for each letter, which is its repo; a run died that had the `dead` ones."""
    return tuple(
        DueJob(
            job_id=f"{repo}{number}",
            repo_id=repo,
            attempt=0,
            died_with="dead" if repo in dead else None,
            together=together if repo in dead else None,
        )
        for number, repo in enumerate(repos)
    )


def planned(
    jobs: tuple[DueJob, ...],
    *,
    pending: int = 11,
    in_flight: int = 0,
    unclaimed: int = 0,
    batch_jobs: int = 3,
) -> list[PlannedRun]:
    backlog = Backlog(pending=pending, running=0, oldest_seconds=1.0, next_seconds=None, due=jobs)
    return plan_runs(
        backlog,
        in_flight=in_flight,
        unclaimed=unclaimed,
        batch_jobs=batch_jobs,
        max_runs=4,
        epoch=5,
    )


@pytest.mark.parametrize(
    ("repos", "runs"),
    [
        ("", 0),
        ("a", 1),
        ("abc", 1),
        ("abcd", 2),
        ("abcdefghi", 3),
        ("abcdefghijklmnopqrstuvwxyz", 4),  # as many as may be in flight
        ("aaaaaaaaaaaaaaa", 1),  # a repo's jobs go to one run at a time
        ("aaaaaabbbbbb", 2),
    ],
)
def test_there_are_as_many_runs_as_could_work_at_once(repos: str, runs: int) -> None:
    assert len(planned(due(repos))) == runs


@pytest.mark.parametrize(
    ("in_flight", "unclaimed", "runs"),
    [(0, 0, 3), (1, 1, 2), (3, 3, 0), (3, 1, 1), (4, 0, 0), (5, 5, 0), (2, 0, 2)],
)
def test_runs_under_way_count(in_flight: int, unclaimed: int, runs: int) -> None:
    """Those that have not claimed yet will take a batch; the others only take up room."""
    assert len(planned(due("abcdefghi"), in_flight=in_flight, unclaimed=unclaimed)) == runs


@pytest.mark.parametrize(("together", "runs"), [(1, 4), (2, 3), (3, 2)])
def test_the_jobs_of_a_run_that_died_get_runs_of_their_own(together: int, runs: int) -> None:
    assert len(planned(due("abcde", dead="abc", together=together))) == runs


def test_a_key_names_the_oldest_job_its_attempt_and_the_time() -> None:
    assert planned(due("abcd"), unclaimed=1, in_flight=1) == [
        PlannedRun(
            run_key="a0:0:5:1", tags={**LIVE, "musehub/job": "a0", "musehub/queue_depth": "11"}
        )
    ]


def test_the_run_of_a_lone_push_carries_its_repo() -> None:
    assert planned(due("a")) == [
        PlannedRun(
            run_key="a0:0:5:0",
            tags={
                **LIVE,
                "musehub/job": "a0",
                "musehub/queue_depth": "11",
                "musehub/repo": "a",
            },
        )
    ]


@pytest.mark.parametrize(
    ("pending", "depth"), [(MOST_COUNTED - 1, "9999"), (MOST_COUNTED, "10000+")]
)
def test_the_depth_says_where_the_count_stopped(pending: int, depth: str) -> None:
    [run] = planned(due("a"), pending=pending)

    assert run.tags["musehub/queue_depth"] == depth
