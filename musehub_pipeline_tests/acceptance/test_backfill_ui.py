"""Backfills from the UI's own dialog, in a real browser: of three days, and by tags of one."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from musehub_pipeline_tests.acceptance.backfills import Backfills
from musehub_pipeline_tests.acceptance.browser import Browser, open_browser
from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.acceptance.publications import count_publications, publications
from musehub_pipeline_tests.acceptance.pushes import make_past, push_many
from musehub_pipeline_tests.orchestration.backfilling import date_failures_back, push_bad

DAYS = [date(2025, 1, day) for day in (6, 7, 8)]
A_DAY = 4
TAGS = {
    "musehub/select": "failed",
    "musehub/codes": "MPACK_MISSING",
    "musehub/repo": "ada/lost",
}


def test_backfills_are_launched_and_show_what_they_took(
    warm: Dev, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    hub = warm.hub
    jobs = push_many(hub, repos=len(DAYS) * A_DAY, each=1)
    warm.settle()
    make_past(hub, DAYS)
    failed = {repo: push_bad(hub, hub.create_repo(repo)) for repo in ("lost", "other")}
    warm.settle()
    for bad in failed.values():
        date_failures_back(hub, bad, day=str(DAYS[0]))
    count_publications(hub)

    pictures = pytestconfig.rootpath / ".artefacts" / "backfill_ui"
    with open_browser(url=warm.url, pictures=pictures, home=tmp_path) as browser:
        backfill = launch(browser, DAYS[:1], tags={"musehub/dry_run": "true"})
        status, [run] = Backfills(warm).finish(backfill, seconds=180)
        assert status == "COMPLETED_SUCCESS"
        assert_report(browser, run.run_id, planned=A_DAY, indexed=0, batches=0)
        assert publications(hub) == []

        backfill = launch(browser, DAYS, tags={})
        status, runs = Backfills(warm).finish(backfill, seconds=180)
        assert status == "COMPLETED_SUCCESS"
        assert [run.day for run in runs] == [str(day) for day in DAYS]
        assert_succeeded(browser, backfill)
        for run in runs:
            assert_report(browser, run.run_id, planned=A_DAY, current=0, indexed=A_DAY, batches=1)

        backfill = launch(browser, DAYS[:1], tags=TAGS)
        status, [run] = Backfills(warm).finish(backfill, seconds=180)
        assert (status, run.day) == ("COMPLETED_SUCCESS", str(DAYS[0]))
        assert_report(browser, run.run_id, planned=1, current=0, indexed=0, batches=1)
        browser.picture("backfill-report-by-tags")
        attempts = {
            (repo, code): hub.job(job_id)["attempt"]
            for repo, jobs_by_code in failed.items()
            for code, job_id in jobs_by_code.items()
        }
        assert attempts == {
            ("lost", "MPACK_MISSING"): 2,
            ("lost", "MPACK_MALFORMED"): 1,
            ("other", "MPACK_MISSING"): 1,
            ("other", "MPACK_MALFORMED"): 1,
        }

    assert publications(hub) == sorted(jobs)
    assert {urlsplit(address).hostname for address in browser.addresses} == {"127.0.0.1"}


def launch(browser: Browser, days: Sequence[date], *, tags: Mapping[str, str]) -> str:
    """Open the job, choose days and tags in the dialog, and return the id of the backfill."""
    browser.open("/locations/musehub_pipeline/jobs/backfill_mpacks/partitions")
    browser.page.get_by_role("button", name="Launch backfill…").click()
    choose = browser.page.get_by_placeholder("ex: ").first
    choose.fill(f"[{days[0]}...{days[-1]}]")
    choose.press("Enter")
    browser.page.get_by_text("Completed (").click()
    if tags:
        add_tags(browser, tags)
    submit = browser.page.get_by_role("button", name=f"Submit {len(days)} run")
    submit.wait_for()
    browser.picture("backfill-dialog-with-tags" if tags else "backfill-dialog")
    submit.click()
    created = browser.page.get_by_text("Created backfill").inner_text()
    browser.picture("backfill-launched")
    return created.split()[-1]


def add_tags(browser: Browser, tags: Mapping[str, str]) -> None:
    browser.page.get_by_role("button", name="Add tags to backfill runs").click()
    for tag, value in tags.items():
        browser.page.get_by_placeholder("Tag Key").last.fill(tag)
        browser.page.get_by_placeholder("Tag Value").last.fill(value)
        browser.page.get_by_role("button", name="Add custom tag").click()
    browser.page.get_by_role("button", name="Apply").click()


def assert_succeeded(browser: Browser, backfill: str) -> None:
    browser.open(f"/runs/b/{backfill}")
    browser.text("100% completed").wait_for()
    browser.picture("backfill")
    cells = browser.page.get_by_role("cell").all_inner_texts()
    targeted, in_progress, succeeded, failed = map(int, cells[-4:])
    assert (targeted, in_progress, succeeded, failed) == (len(DAYS), 0, len(DAYS), 0)
    browser.open(f"/runs/b/{backfill}?tab=runs")
    browser.text(f"musehub/indexed: {A_DAY}").nth(len(DAYS) - 1).wait_for()
    browser.picture("backfill-runs")


def assert_report(browser: Browser, run_id: str, **expected: int) -> None:
    browser.open(f"/runs/{run_id}?levels=debug|event")
    browser.page.get_by_placeholder("Filter…").fill('Yielded output "result" of type "Dict')
    browser.text("batches").wait_for()
    browser.picture("backfill-report")
    cells = browser.page.get_by_role("cell").all_inner_texts()
    report = dict(zip(cells[::2], cells[1::2], strict=True))  # names and values in turn
    assert {name: report[name] for name in expected} == {
        name: str(value) for name, value in expected.items()
    }
