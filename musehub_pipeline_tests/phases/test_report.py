"""What people see of a run: figures to plot, and rows of tables."""

from typing import Any

import pytest

from musehub_pipeline.domain.budgets import BUDGET_KEYS, Excess
from musehub_pipeline.domain.errors import JobError, Transient, Trouble
from musehub_pipeline.domain.job import Claim
from musehub_pipeline.domain.result import COUNTS, Outcome
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.report import excess_rows, figures, job_rows, percentile
from musehub_pipeline_tests.phases.leases import lease_of

LOST = Transient(Trouble.LEASE_LOST, "gone")


def item(
    job_id: str,
    *,
    queued: float = 0.0,
    outcome: Outcome = Outcome.DONE,
    error: JobError | None = None,
) -> Item:
    claim = Claim(
        job_id=job_id,
        repo_id="r",
        repo_name="ada/song\n",
        attempt=1,
        run_id="run",
        queued_seconds=queued,
    )
    return Item(lease=lease_of(claim), claimed_at=0.0, outcome=outcome, error=error)


def result(job_id: str, ms: float) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "mpack_size_bytes": 1_000_000,
        **dict.fromkeys(BUDGET_KEYS, ms),
        **dict.fromkeys(COUNTS, 2),
    }


@pytest.mark.parametrize(
    ("count", "p50", "p95"),
    [(1, 1, 1), (2, 1, 2), (3, 2, 3), (19, 10, 19), (20, 10, 19), (40, 20, 38)],
)
def test_a_percentile_is_the_value_of_a_job(count: int, p50: int, p95: int) -> None:
    values = [float(n) for n in range(1, count + 1)]

    assert (percentile(values, 50), percentile(values, 95)) == (p50, p95)


def test_figures_are_those_of_the_batch() -> None:
    batch = Batch(
        run_id="run",
        items=(
            item("a", queued=7.5),
            item("b", queued=3.0),
            item("c", outcome=Outcome.LOST, error=LOST),
        ),
        results=(result("a", 4.0), result("b", 2.0)),
    )

    assert figures(batch, 0.5) == {
        "jobs": 3,
        "jobs_done": 2,
        "jobs_failed": 0,
        "jobs_put_back": 0,
        "jobs_lost": 1,
        "queue_age_seconds": 7.5,
        "mpack_bytes": 2_000_000,
        "mb_per_second": 4.0,
        **dict.fromkeys(COUNTS, 4),
        **{f"{key}_p50": 2.0 for key in BUDGET_KEYS},
        **{f"{key}_p95": 4.0 for key in BUDGET_KEYS},
        **{f"{key}_max": 4.0 for key in BUDGET_KEYS},
    }


def test_a_clock_of_the_hub_that_is_ahead_makes_no_queue_of_negative_age() -> None:
    batch = Batch(run_id="run", items=(item("a", queued=-3600.0),))

    assert figures(batch, 0.0)["queue_age_seconds"] == 0.0


def test_rows_begin_with_what_went_wrong_and_go_on_with_the_slowest() -> None:
    batch = Batch(
        run_id="run",
        items=(item("a"), item("b"), item("c", outcome=Outcome.LOST, error=LOST)),
        results=(result("a", 2.0), result("b", 4.0)),
    )

    rows = [(row["job"], row["outcome"], row["reason"]) for row in job_rows(batch)]

    assert rows == [("c", "lost LEASE_LOST", "gone"), ("b", "done", ""), ("a", "done", "")]


def test_only_the_worst_times_have_a_row() -> None:
    job_ids = [f"sha256:{n:064x}" for n in range(12)]
    batch = Batch(
        run_id="run",
        items=tuple(map(item, job_ids)),
        excesses=tuple(
            Excess(job_id=job_id, repo_id="r", key="unpack_ms", taken=2.0, budget=1.0)
            for job_id in job_ids
        ),
    )

    assert excess_rows(batch) == [
        {
            "key": "unpack_ms",
            "taken_ms": 2.0,
            "budget_ms": 1.0,
            "job": job_id[7:19],
            "repo": r"ada/song\n",
        }
        for job_id in job_ids[:10]
    ]
