"""Whatever dies, and whenever: every push is published once, and no run stays at work for ever.

Here runs are at work when something dies beside them; test_killed_runs.py kills the runs.
"""

import pytest

from musehub_pipeline_tests.acceptance.aftermath import assert_drained, wait_until_given_up
from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.acceptance.standing import standing_runs
from musehub_pipeline_tests.factories import small_history


@pytest.mark.parametrize("victim", ["dagster._daemon", ""], ids=["daemon", "everything"])
def test_what_died_is_done_after_a_restart(busy: Dev, victim: str) -> None:
    with standing_runs(busy) as jobs:
        dead = [run["run_id"] for run in busy.runs()]
        busy.kill(victim)
        busy.wait_until_ended()  # and the runs with it

    busy.start()

    wait_until_given_up(busy, dead)
    assert_drained(busy, jobs)


def test_runs_outlive_the_code_server_and_another_one_takes_on_more(busy: Dev) -> None:
    with standing_runs(busy) as jobs:
        busy.kill("api grpc")

        history = small_history()
        jobs.append(
            busy.hub.push(
                busy.hub.create_repo("later"), history.mpack(), head=list(history.commits)[-1]
            )
        )
        busy.wait(lambda: busy.hub.job(jobs[-1])["status"] == "done", seconds=180)

    assert_drained(busy, jobs)
    assert {run["status"] for run in busy.runs()} == {"SUCCESS"}
