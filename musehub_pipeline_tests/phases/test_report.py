"""What people see of a run: figures to plot, and rows of tables."""

from typing import Any

import pytest

from musehub_pipeline.domain.budgets import BUDGET_KEYS, Excess
from musehub_pipeline.domain.errors import JobError, Transient, Trouble
from musehub_pipeline.domain.job import Claim
from musehub_pipeline.domain.result import COUNTS, TIMINGS, Outcome
from musehub_pipeline.phases.batch import Batch, Item
from musehub_pipeline.phases.report import (
    FIGURE_COLUMNS,
    excess_rows,
    figure_rows,
    figures,
    has_ended_a_job,
    job_rows,
    percentile,
)
from musehub_pipeline_tests.phases.leases import lease_of

LOST = Transient(Trouble.LEASE_LOST, "gone")


def item(
    job_id: str,
    *,
    queued: float = 0.0,
    attempt: int = 1,
    outcome: Outcome = Outcome.DONE,
    error: JobError | None = None,
) -> Item:
    claim = Claim(
        job_id=job_id,
        repo_id="r",
        repo_name="ada/song\n",
        attempt=attempt,
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


BATCH = Batch(
    run_id="run",
    items=(
        item("a", queued=7.5),
        item("b", queued=3.0),
        item("c", queued=3_600.0, attempt=2, outcome=Outcome.LOST, error=LOST),
    ),
    results=(result("a", 4.0), result("b", 2.0)),
)


def row(figure: str, total: float | None, *percentiles: float | None) -> dict[str, Any]:
    p50, p95, most = percentiles or (None, None, None)
    return {"figure": figure, "total": total, "p50": p50, "p95": p95, "max": most}


def test_what_is_plotted_is_little_and_what_matters_comes_first() -> None:
    plotted = figures(BATCH, 0.5)

    assert plotted == {
        "1 wait_seconds_max": 7.5,
        "2 elapsed_ms_p50": 2.0,
        "3 elapsed_ms_p95": 4.0,
        "4 jobs_failed": 0,
        "5 mb_per_second": 4.0,
        **{f"{key}_p50": 2.0 for key in TIMINGS},
    }
    assert sorted(plotted)[:5] == list(plotted)[:5]


def test_the_rest_of_the_figures_are_rows_of_a_table() -> None:
    rows = figure_rows(BATCH)

    assert rows == [
        row("jobs", 3),
        row("jobs_done", 2),
        row("jobs_failed", 0),
        row("jobs_put_back", 0),
        row("jobs_lost", 1),
        row("wait_seconds", None, 3.0, 7.5, 7.5),
        *(row(key, 6.0, 2.0, 4.0, 4.0) for key in ("elapsed_ms", *TIMINGS)),
        row("mpack_size_bytes", 2_000_000, 1_000_000, 1_000_000, 1_000_000),
        *(row(name, 4, 2, 2, 2) for name in COUNTS),
    ]
    assert all(row.keys() == FIGURE_COLUMNS.keys() for row in rows)


def test_where_no_job_is_done_plots_have_gaps() -> None:
    batch = Batch(run_id="run", items=(item("a", queued=1.0, outcome=Outcome.FAILED, error=LOST),))

    assert figures(batch, 0.5) == {"1 wait_seconds_max": 1.0, "4 jobs_failed": 1}
    assert [row["figure"] for row in figure_rows(batch)] == [
        "jobs",
        "jobs_done",
        "jobs_failed",
        "jobs_put_back",
        "jobs_lost",
        "wait_seconds",
    ]


@pytest.mark.parametrize(
    ("outcomes", "worked"),
    [
        ([], False),
        ([Outcome.PUT_BACK, Outcome.LOST], False),
        ([Outcome.PUT_BACK, Outcome.FAILED], True),
        ([Outcome.DONE], True),
    ],
)
def test_a_run_did_work_where_it_ended_a_job(outcomes: list[Outcome], worked: bool) -> None:
    items = tuple(item(str(n), outcome=outcome) for n, outcome in enumerate(outcomes))

    assert has_ended_a_job(Batch(run_id="run", items=items)) is worked


def test_a_clock_of_the_hub_that_is_ahead_makes_no_negative_wait() -> None:
    batch = Batch(run_id="run", items=(item("a", queued=-3600.0),))

    assert figures(batch, 0.0)["1 wait_seconds_max"] == 0.0


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
