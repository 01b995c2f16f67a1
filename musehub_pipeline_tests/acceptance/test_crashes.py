"""Whatever dies, and whenever: every push is published once, and no run stays at work for ever.

Here runs stand in every phase when something dies beside them; test_killed_runs.py kills the runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from musehub_pipeline_tests.acceptance.aftermath import assert_drained, wait_until_given_up
from musehub_pipeline_tests.acceptance.conftest import Dev
from musehub_pipeline_tests.acceptance.gate import Gate
from musehub_pipeline_tests.acceptance.publications import count_publications
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.factories import small_history

# One run stands at each of these. The first to start go as far as a table; that which comes last
# stops first: before it claims, it has no lease that would last.
BEHIND_ROWS = (
    "musehub_objects",
    "musehub_object_refs",
    "musehub_snapshots",
    "musehub_commits",
    "musehub_branches",  # in the midst of what `summarize` publishes
)
BEFORE_OPS = ("put_objects", "unpack", "fetch_mpack", "claim_jobs")
RUNS = len(BEHIND_ROWS) + len(BEFORE_OPS)


@contextmanager
def runs_in_every_phase(dev: Dev) -> Iterator[list[str]]:
    """Start it and have runs stand in all phases, for as long as this lasts; yield their jobs."""
    count_publications(dev.hub)
    dev.environment["MUSEHUB_BATCH_JOBS"] = "1"
    dev.environment["MUSEHUB_MAX_CONCURRENT_RUNS"] = str(RUNS + 1)
    dev.start()
    with (
        Gate(dev.dagster_database_url) as before_ops,
        Gate(str(dev.hub.settings.database_url)) as behind_rows,
    ):
        before_ops.stand_before_ops([""] * len(BEHIND_ROWS) + list(BEFORE_OPS))
        behind_rows.stand_behind_rows(BEHIND_ROWS)
        jobs = push_many(dev.hub, repos=RUNS, each=1)
        dev.wait(
            lambda: (
                (before_ops.waiting(), behind_rows.waiting()) == (len(BEFORE_OPS), len(BEHIND_ROWS))
            ),
            seconds=300,
        )
        yield jobs


@pytest.mark.parametrize("victim", ["dagster._daemon", ""], ids=["daemon", "everything"])
def test_what_died_in_every_phase_is_done_after_a_restart(dev: Dev, victim: str) -> None:
    with runs_in_every_phase(dev) as jobs:
        dead = [run["run_id"] for run in dev.runs()]
        dev.kill(victim)
        dev.wait_until_ended()  # and the runs with it

    del dev.environment["MUSEHUB_BATCH_JOBS"]  # what is left needs no run each
    dev.start()

    wait_until_given_up(dev, dead)
    assert_drained(dev, jobs)


def test_runs_in_every_phase_outlive_the_code_server_and_another_one_takes_on_more(
    dev: Dev,
) -> None:
    with runs_in_every_phase(dev) as jobs:
        dev.kill("api grpc")

        history = small_history()
        jobs.append(
            dev.hub.push(
                dev.hub.create_repo("later"), history.mpack(), head=list(history.commits)[-1]
            )
        )
        dev.wait(lambda: dev.hub.job(jobs[-1])["status"] == "done", seconds=180)

    assert_drained(dev, jobs)
    assert {run["status"] for run in dev.runs()} == {"SUCCESS"}
