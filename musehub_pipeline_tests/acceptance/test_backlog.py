"""A thousand pushes at once, under the daemon."""

import pytest

from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.acceptance.pushes import push_many

MOST_RUNS = 20


@pytest.mark.parametrize(("repos", "each"), [(200, 5), (1, 1000)])
def test_a_thousand_pushes_are_done_in_few_runs_and_in_order(
    warm: Dev, repos: int, each: int
) -> None:
    jobs = push_many(warm.hub, repos=repos, each=each)

    warm.wait(lambda: warm.statuses() == {"done": 1000}, seconds=1200)

    rows = warm.hub.sql(
        "SELECT job_id, repo_id, attempt, finished_at FROM musehub_background_jobs"
        " ORDER BY finished_at, created_at, job_id"
    )
    order = {job_id: number for number, job_id in enumerate(jobs)}
    last: dict[str, int] = {}
    for row in rows:
        assert order[row["job_id"]] > last.get(row["repo_id"], -1)
        last[row["repo_id"]] = order[row["job_id"]]
    assert {row["attempt"] for row in rows} == {1}
    warm.wait(lambda: {run["status"] for run in warm.runs()} == {"SUCCESS"}, seconds=60)
    assert len(warm.runs()) <= MOST_RUNS
    assert warm.breaches() == []
