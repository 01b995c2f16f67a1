"""`stats --html`: one page with charts, in a real browser, on a desk and on a phone."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from musehub_pipeline.domain.result import TIMINGS
from musehub_pipeline_tests.acceptance.browser import open_browser
from musehub_pipeline_tests.cli.terminal import call
from musehub_pipeline_tests.hub import Hub

DESK, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
PICTURES = Path(".artefacts", "stats")

_TRACES = """
() => Object.fromEntries([...document.querySelectorAll('.js-plotly-plot')].map(chart =>
  [chart.id, chart._fullData.map(trace => ({
    name: trace.name,
    x: [...trace.x], y: [...trace.y], text: trace.text,
    width: chart.getBoundingClientRect().width,
  }))]))
"""


def done(hub: Hub, number: int, *, repo_id: str, ago: timedelta, waited: float) -> str:
    """Insert the row of a job whose phases took 1, 2, … ms more than its number times ten."""
    times = {key: number * 10 + place for place, key in enumerate(TIMINGS, start=1)}
    result = times | {"elapsed_ms": sum(times.values()), "mpack_size_bytes": 1000 * number}
    job_id = f"sha256:{str(number) * 64}"
    finished_at = datetime.now(UTC) - ago
    hub.sql(
        "INSERT INTO musehub_background_jobs (job_id, repo_id, job_type, payload, status, attempt,"
        " created_at, started_at, finished_at, result) VALUES (%(id)s, %(repo)s, 'mpack.index',"
        " '{}', 'done', 1, %(at)s - %(waited)s, %(at)s, %(at)s, %(result)s)",
        {
            "id": job_id,
            "repo": repo_id,
            "at": finished_at,
            "waited": timedelta(seconds=waited),
            "result": json.dumps(result),
        },
    )
    return job_id


@pytest.fixture
def jobs(hub: Hub) -> list[str]:
    """Three jobs of a day, each in an hour of its own; the first is of a strange repository."""
    strange = hub.create_repo("</script><b>x")
    of_repo = [strange, hub.create_repo("song"), "gone"]
    return [
        done(hub, n + 1, repo_id=repo, ago=timedelta(hours=20 - 6 * n), waited=10 * (n + 1))
        for n, repo in enumerate(of_repo)
    ]


@pytest.mark.slow
def test_the_page_has_charts_on_a_desk_and_on_a_phone_and_asks_for_nothing(
    hub: Hub, jobs: list[str], tmp_path: Path
) -> None:
    hub.sql(
        "INSERT INTO musehub_background_jobs (job_id, repo_id, job_type, payload, status,"
        " error_code, finished_at) VALUES ('bad', 'r', 'mpack.index', '{}', 'failed', 'BAD_ID',"
        " now())"
    )
    page = tmp_path / "page.html"

    written = call("stats", "--hours", 24, "--html", page)

    assert (written.code, written.out, written.err) == (0, "", f"3 jobs: {page}\n")
    with open_browser(url=f"file://{tmp_path}", pictures=PICTURES, home=tmp_path) as browser:
        messages: list[str] = []
        browser.page.on("console", lambda message: messages.append(message.text))
        browser.page.on("pageerror", lambda error: messages.append(str(error)))
        seen: dict[int, dict[str, list[dict[str, Any]]]] = {}
        for size in (DESK, PHONE):
            browser.page.set_viewport_size(size)  # pyright: ignore[reportArgumentType]
            browser.open("/page.html")
            browser.page.locator("#slowest .main-svg").first.wait_for()
            seen[size["width"]] = browser.page.evaluate(_TRACES)
            browser.page.screenshot(path=PICTURES / f"{size['width']}.png", full_page=True)
            assert browser.page.evaluate("document.documentElement.scrollWidth") == size["width"]
        words = browser.page.inner_text("body")
        addresses = browser.addresses

    assert messages == []
    assert addresses == {f"file://{page}"}
    assert "BAD_ID\t1" in words
    assert "ada/</script><b>x" in words
    for width, charts in seen.items():
        assert list(charts) == ["phases", "wait", "size", "slowest"]
        drawn = [trace["width"] for traces in charts.values() for trace in traces]
        assert all(0.8 * width - 60 < each <= width for each in drawn)
    charts = seen[DESK["width"]]
    names = [key.removesuffix("_ms") for key in TIMINGS]
    assert [trace["name"] for trace in charts["phases"]] == names
    assert [trace["y"] for trace in charts["phases"]] == [
        [10 + place, 20 + place, 30 + place] for place in range(1, 8)
    ]
    assert [trace["y"] for trace in charts["wait"]] == [pytest.approx([10, 20, 30])] * 2
    [size_and_time] = charts["size"]
    assert size_and_time["x"] == [3000, 2000, 1000]
    assert size_and_time["y"] == [238, 168, 98]
    assert [trace["x"] for trace in charts["slowest"]] == [
        [30 + place, 20 + place, 10 + place] for place in range(1, 8)
    ]


def test_a_period_without_jobs_has_a_page_too(hub: Hub, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")

    for period in (("--hours", "1"), ("--jobs", "5")):
        assert call("stats", *period, "--html", page).code == 0

    text = page.read_text()
    assert "No job was done in this time." in text
    assert "<script>" not in text


def test_the_newest_jobs_have_a_page_of_their_own(
    hub: Hub, jobs: list[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"

    assert call("stats", "--jobs", 2, "--html", page).err == f"2 jobs: {page}\n"
    text = page.read_text()

    assert "The newest 2 jobs" in text
    assert "<td>ada/song</td>" in text
    assert "&lt;/script&gt;" not in text


def test_what_cannot_be_written_is_an_error_that_names_it(hub: Hub, tmp_path: Path) -> None:
    nowhere = tmp_path / "none" / "page.html"

    assert call("stats", "--html", nowhere, "--json").code == 2
    assert call("stats", "--html", tmp_path).code == 2
    refused = call("stats", "--html", nowhere)
    assert refused.code == 1
    assert str(nowhere) in refused.err
