"""What a person sees of three pushes in the UI, in a real browser."""

from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from musehub_pipeline.domain.budgets import BUDGET_KEYS
from musehub_pipeline.domain.result import TIMING_OF_PHASE
from musehub_pipeline_tests.acceptance.browser import Browser, open_browser
from musehub_pipeline_tests.acceptance.conftest import Dev
from musehub_pipeline_tests.benchmarks.mpacks import Shape, write_mpack
from musehub_pipeline_tests.factories import small_history

STEPS = ["claim_jobs", *TIMING_OF_PHASE, "summarize"]
COMPARED_MS = 100
# A phase of it is far below `COMPARED_MS`, or so far above that what Dagster does around each, some
# 50 ms, does not count: few rows, but many bytes and long manifests.
LARGE = Shape(
    objects=800, commits=400, snapshots=400, paths=600, least_bytes=256 << 10, most_bytes=256 << 10
)
BUDGET_MS = 100  # a small push is unpacked in a tenth of that, whatever the disk is busy with


def test_the_ui_shows_three_pushes_and_asks_nobody_else(
    dev: Dev, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    dev.environment["MUSEHUB_PHASE_BUDGETS_MS"] = f"unpack_ms={BUDGET_MS}"
    small = small_history()
    large = write_mpack(tmp_path / "large.mpack", LARGE)
    dev.start()
    results = [
        push(dev, "song-1", small.mpack(), head=list(small.commits)[-1]),
        push(dev, "song-2", small.mpack(), head=list(small.commits)[-1]),
        push(dev, "symphony", large.path.read_bytes(), head=large.head),
    ]
    dev.wait(lambda: {run["status"] for run in dev.runs()} == {"SUCCESS"}, seconds=60)
    assert [run["run_id"] for run in dev.runs()] == [result["run_id"] for result in results]

    pictures = pytestconfig.rootpath / ".artefacts"
    with open_browser(url=dev.url, pictures=pictures, home=tmp_path) as browser:
        assert_bars_in_proportion(browser, results[-1])
        assert_a_point_a_run(browser)
        assert_over_budget(browser, results[-1])

    assert {urlsplit(address).hostname for address in browser.addresses} == {"127.0.0.1"}
    assert dev.stop() == 0


def push(dev: Dev, slug: str, mpack: bytes, *, head: str) -> dict[str, Any]:
    """Push to a new repo, and wait for the result: a push a run."""
    job_id = dev.hub.push(dev.hub.create_repo(slug), mpack, head=head)
    dev.wait(lambda: dev.hub.job(job_id)["status"] == "done", seconds=180)
    return dev.hub.job(job_id)["result"]


def assert_bars_in_proportion(browser: Browser, result: dict[str, Any]) -> None:
    browser.open(f"/runs/{result['run_id']}")
    browser.text(f"Succeeded ({len(STEPS)})").wait_for()
    bars = browser.bars(len(STEPS))
    browser.picture("run")

    assert [step for step, _ in bars] == STEPS
    assert all(bar["right"] <= following["left"] for (_, bar), (_, following) in pairwise(bars))
    times = {step: result[key] for step, key in TIMING_OF_PHASE.items()}
    compared = {step: taken for step, taken in times.items() if taken > COMPARED_MS}
    assert compared.keys() >= {"fetch_mpack", "unpack", "put_objects", "insert_snapshots"}
    widths = {step: bar["width"] for step, bar in bars if step in compared}
    scale = sum(widths.values()) / sum(compared.values())
    shown = {step: width / scale for step, width in widths.items()}
    assert shown == pytest.approx(compared, rel=0.2)


def assert_a_point_a_run(browser: Browser) -> None:
    browser.open("/assets/musehub/mpack_index")
    browser.text("Plots").click()
    points = browser.points()
    browser.picture("plots")

    assert {f"{key}_{of}" for key in BUDGET_KEYS for of in ("p50", "p95", "max")} <= points.keys()
    assert {name: len(drawn) for name, drawn in points.items()} == dict.fromkeys(points, 3)
    assert_last_stands_out(points["objects_total"])


def assert_over_budget(browser: Browser, result: dict[str, Any]) -> None:
    browser.open(f"/runs/{result['run_id']}")
    browser.page.get_by_placeholder("Filter…").fill("phase_budgets")
    failed = "Check phase_budgets failed for materialization of musehub / mpack_index."
    browser.text(failed).wait_for()
    browser.picture("run-over-budget")

    browser.open("/assets/musehub/mpack_index?view=checks")
    points = browser.points()
    browser.picture("checks")
    assert browser.text("Failed").count() == 2  # in the list of checks, and of the latest run
    assert browser.page.get_by_role("cell").all_inner_texts()[-5:] == [
        result["job_id"],
        result["repo_id"],
        "unpack_ms",
        str(result["unpack_ms"]).removesuffix(".0"),
        str(BUDGET_MS),
    ]
    assert_last_stands_out(points["jobs_over_budget"])


def assert_last_stands_out(points: list[list[float]]) -> None:
    first, second, last = (y for _, y in sorted(points))
    assert first == second > last  # y grows downwards
