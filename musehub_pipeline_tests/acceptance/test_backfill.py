"""What ended long ago is indexed again under the daemon, as Dagster's own backfills ask for it."""

from datetime import date
from itertools import pairwise

from musehub_pipeline.orchestration.backfill_mpacks import BACKFILL_JOB
from musehub_pipeline_tests.acceptance.backfills import Backfills
from musehub_pipeline_tests.acceptance.dev import LEASE_SECONDS, RUN, Dev
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.acceptance.pushes import make_past, push_many
from musehub_pipeline_tests.orchestration.killing import (
    asleep,
    end_sleep,
    interfere_no_more,
    let_leases_end,
    when,
)

DAYS = [date(2025, 1, day) for day in (6, 7)]
MANY_DAYS = [date(2025, 2, day) for day in range(1, 5)]
LAUNCHES_RUNS = "api grpc|musehub-pipeline (spare|forkserver)"
"""The code server, and the processes without which each run is launched by it."""
REPOS = 170
EACH = 6
A_DAY = REPOS * EACH // len(DAYS)
A_BATCH = 500
"""Jobs, by default: a day has a full batch and a short one."""
SUSPECTS = A_DAY - A_BATCH
"""Those of the short one, which a kill leaves; each goes alone afterwards."""


def test_a_backfill_that_is_killed_half_way_is_resumed(warm: Dev) -> None:
    hub = warm.hub
    jobs = push_many(hub, repos=REPOS, each=EACH)
    warm.settle()
    heads = hub.sql("SELECT * FROM musehub_branches ORDER BY repo_id")
    counts = hub.counts()
    make_past(hub, DAYS)
    count_publications(hub)
    backfills = Backfills(warm)

    when(hub, jobs[A_DAY - SUSPECTS], "NEW.lease_expires_at IS NULL", do="PERFORM pg_sleep(600)")
    first = backfills.launch(DAYS)
    warm.wait(lambda: asleep(hub) == 1, seconds=180)
    before = len(publications(hub))
    warm.kill(RUN)
    end_sleep(hub)
    interfere_no_more(hub)
    let_leases_end(hub)
    status, runs = backfills.finish(first, seconds=180 + 2 * LEASE_SECONDS)

    assert before == A_BATCH
    assert status == "COMPLETED_FAILED"
    assert sorted(run.status for run in runs) == ["FAILURE", "SUCCESS"]
    [killed] = [run for run in runs if run.status == "FAILURE"]
    left = A_DAY * len(DAYS) - len(publications(hub))
    assert left == SUSPECTS

    status, runs = backfills.finish(backfills.launch(DAYS), seconds=180)

    assert status == "COMPLETED_SUCCESS"
    assert {run.day: run.report["planned"] for run in runs} == {
        str(day): left if str(day) == killed.day else 0 for day in DAYS
    }
    assert sum(run.report["indexed"] for run in runs) == left
    assert publications(hub) == sorted(jobs)
    assert warm.statuses() == {"done": len(jobs)}

    status, runs = backfills.finish(backfills.launch(DAYS), seconds=180)

    assert status == "COMPLETED_SUCCESS"
    assert [(run.report["planned"], run.report["current"]) for run in runs] == [
        (0, A_DAY) for _ in DAYS
    ]
    assert publications(hub) == sorted(jobs)
    one_by_one = sorted(warm.runs(BACKFILL_JOB), key=lambda run: run["started_at"])
    assert len(one_by_one) == 3 * len(DAYS)
    assert all(run["ended_at"] < after["started_at"] for run, after in pairwise(one_by_one))
    assert hub.sql("SELECT * FROM musehub_branches ORDER BY repo_id") == heads
    assert hub.counts() == counts
    assert warm.breaches() == []


def test_a_backfill_outlasts_its_code_server(warm: Dev) -> None:
    backfills = Backfills(warm)
    backfill = backfills.launch(MANY_DAYS)
    warm.wait(lambda: len(warm.runs(BACKFILL_JOB)) > 1, seconds=60)

    warm.kill(LAUNCHES_RUNS)

    status, runs = backfills.finish(backfill, seconds=180)
    assert status == "COMPLETED_SUCCESS"
    assert [(run.day, run.status) for run in runs] == [(str(day), "SUCCESS") for day in MANY_DAYS]
