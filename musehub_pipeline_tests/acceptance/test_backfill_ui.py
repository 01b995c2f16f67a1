"""A backfill of three days from the UI's own dialog, in a real browser."""

from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from musehub_pipeline_tests.acceptance.backfills import Backfills
from musehub_pipeline_tests.acceptance.browser import Browser, open_browser
from musehub_pipeline_tests.acceptance.conftest import Dev
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.acceptance.pushes import make_past, push_many
from musehub_pipeline_tests.indexing import index_all

DAYS = [date(2025, 1, day) for day in (6, 7, 8)]
A_DAY = 4


def test_a_backfill_of_three_days_is_launched_and_shows_its_report(
    dev: Dev, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    hub = dev.hub
    jobs = push_many(hub, repos=len(DAYS) * A_DAY, each=1)
    index_all(hub)
    make_past(hub, DAYS)
    count_publications(hub)
    dev.start()

    pictures = pytestconfig.rootpath / ".artefacts"
    with open_browser(url=dev.url, pictures=pictures, home=tmp_path) as browser:
        backfill = launch(browser)
        status, runs = Backfills(dev).finish(backfill, seconds=180)
        assert status == "COMPLETED_SUCCESS"
        assert [run.day for run in runs] == [str(day) for day in DAYS]
        assert_succeeded(browser, backfill)
        for run in runs:
            assert_report(browser, run.run_id)

    assert publications(hub) == sorted(jobs)
    assert {urlsplit(address).hostname for address in browser.addresses} == {"127.0.0.1"}
    assert dev.stop() == 0


def launch(browser: Browser) -> str:
    """Open the job, choose the days in the dialog, and return the id of the backfill."""
    browser.open("/locations/musehub_pipeline/jobs/backfill_mpacks/partitions")
    browser.page.get_by_role("button", name="Launch backfill…").click()
    days = browser.page.get_by_placeholder("ex: ").first
    days.fill(f"[{DAYS[0]}...{DAYS[-1]}]")
    days.press("Enter")
    submit = browser.page.get_by_role("button", name=f"Submit {len(DAYS)} runs")
    submit.wait_for()
    browser.picture("backfill-dialog")
    submit.click()
    browser.page.get_by_text("Created backfill").wait_for()
    browser.picture("backfill-launched")
    address = browser.page.locator("a[href^='/runs/b/']").first.get_attribute("href")
    assert address is not None
    return address.rpartition("/")[2]


def assert_succeeded(browser: Browser, backfill: str) -> None:
    browser.open(f"/runs/b/{backfill}")
    browser.text("100% completed").wait_for()
    browser.picture("backfill")
    cells = browser.page.get_by_role("cell").all_inner_texts()
    targeted, in_progress, succeeded, failed = map(int, cells[-4:])
    assert (targeted, in_progress, succeeded, failed) == (len(DAYS), 0, len(DAYS), 0)


def assert_report(browser: Browser, run_id: str) -> None:
    browser.open(f"/runs/{run_id}?levels=debug|event")
    browser.page.get_by_placeholder("Filter…").fill('Yielded output "result" of type "Dict')
    browser.text("batches").wait_for()
    browser.picture("backfill-report")
    cells = browser.page.get_by_role("cell").all_inner_texts()
    report = dict(zip(cells[::2], cells[1::2], strict=True))  # names and values in turn
    assert {name: report[name] for name in ("planned", "current", "indexed", "batches")} == {
        "planned": str(A_DAY),
        "current": "0",
        "indexed": str(A_DAY),
        "batches": "1",
    }
