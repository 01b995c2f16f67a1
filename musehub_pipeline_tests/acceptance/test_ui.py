"""What a person sees of three pushes in the UI, in a real browser."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from musehub_pipeline.domain.result import TIMING_OF_PHASE, TIMINGS
from musehub_pipeline_tests.acceptance.browser import Browser, open_browser
from musehub_pipeline_tests.acceptance.conftest import UNPACK_BUDGET_MS
from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.factories import History, small_history

STEPS = ["claim_jobs", *TIMING_OF_PHASE, "summarize"]
WHAT_MATTERS = [
    "1 wait_seconds_max",
    "2 elapsed_ms_p50",
    "3 elapsed_ms_p95",
    "4 jobs_failed",
    "5 mb_per_second",
]
COMPARED_MS = 100


def test_the_ui_shows_three_pushes_and_asks_nobody_else(
    warm: Dev, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    results = [
        push(warm, "song-1", small_history()),
        push(warm, "song-2", small_history()),
        push(warm, "symphony", large_history()),
    ]
    warm.wait(lambda: {run["status"] for run in warm.runs()} == {"SUCCESS"}, seconds=60)
    assert [run["run_id"] for run in warm.runs()] == [result["run_id"] for result in results]

    pictures = pytestconfig.rootpath / ".artefacts" / "ui"
    with open_browser(url=warm.url, pictures=pictures, home=tmp_path) as browser:
        browser.open(f"/runs/{results[-1]['run_id']}")
        assert_bars_in_proportion(browser, results[-1])
        assert_run_failed_its_check(browser)
        browser.open("/assets/musehub/mpack_index")
        assert_a_point_a_run(browser)
        browser.open("/assets/musehub/mpack_index?view=checks")
        assert_check_names_the_job(browser, results[-1])

    assert {urlsplit(address).hostname for address in browser.addresses} == {"127.0.0.1"}


def large_history() -> History:
    """Few rows, but many bytes, and long manifests, and some files beside.

    So each phase is far below `COMPARED_MS`, or so far above that what Dagster does around it, some
    50 ms, does not count.
    """
    history = History()
    rests = {f"bars/{n:04}.txt": b"a rest of %d" % (n % 1_500) for n in range(6000)}
    parents: list[str] = []
    for n in range(100):
        parents = [history.commit(rests | {"take.wav": bytes([n]) * (3 << 20)}, parents=parents)]
    return history


def push(dev: Dev, slug: str, history: History) -> dict[str, Any]:
    """Push to a new repo, and wait for the result: a push a run."""
    head = list(history.commits)[-1]
    job_id = dev.hub.push(dev.hub.create_repo(slug), history.mpack(), head=head)
    dev.wait(lambda: dev.hub.job(job_id)["status"] == "done", seconds=180)
    return dev.hub.job(job_id)["result"]


def assert_bars_in_proportion(browser: Browser, result: dict[str, Any]) -> None:
    bars = browser.bars(len(STEPS))
    browser.picture("run")

    assert [step for step, _ in bars] == STEPS
    times = {step: result[key] for step, key in TIMING_OF_PHASE.items()}
    compared = {step: taken for step, taken in times.items() if taken > COMPARED_MS}
    assert compared.keys() >= {"fetch_mpack", "unpack", "put_objects", "insert_snapshots"}
    widths = {step: width for step, width in bars if step in compared}
    scale = sum(widths.values()) / sum(compared.values())
    shown = {step: width / scale for step, width in widths.items()}
    assert shown == pytest.approx(compared, rel=0.2)


def assert_run_failed_its_check(browser: Browser) -> None:
    browser.page.get_by_placeholder("Filter…").fill("phase_budgets")
    browser.text(
        "Check phase_budgets failed for materialization of musehub / mpack_index."
    ).wait_for()
    browser.picture("run-over-budget")


def assert_a_point_a_run(browser: Browser) -> None:
    browser.text("Plots").click()
    points = browser.points()
    browser.picture("plots")

    assert list(points) == [*WHAT_MATTERS, *sorted(f"{key}_p50" for key in TIMINGS)]
    assert {name: len(drawn) for name, drawn in points.items()} == dict.fromkeys(points, 3)
    *others, last = (y for _, y in sorted(points["2 elapsed_ms_p50"]))
    assert min(others) > last  # y grows downwards


def assert_check_names_the_job(browser: Browser, result: dict[str, Any]) -> None:
    browser.text("phase_budgets").first.click()
    points = browser.points()
    browser.picture("checks")
    assert browser.text("Failed").count() == 2  # in the list of checks, and of the latest run
    assert browser.page.get_by_role("cell").all_inner_texts()[-5:] == [
        "unpack_ms",
        str(result["unpack_ms"]).removesuffix(".0"),
        str(UNPACK_BUDGET_MS),
        result["job_id"][7:19],
        "ada/symphony",
    ]
    first, second, last = (y for _, y in sorted(points["jobs_over_budget"]))
    assert first == second > last
