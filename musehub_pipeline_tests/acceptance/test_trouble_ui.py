"""What an operator sees of trouble in the UI, in a real browser, and after how many clicks."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, expect

from musehub_pipeline.domain import ids
from musehub_pipeline.postgres.schema import metadata
from musehub_pipeline_tests.acceptance.browser import Browser, open_browser
from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.acceptance.pushes import push_what_is_refused
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub

ASSETS = ["mpacks", "objects", "object_refs", "snapshots", "commits", "branches", "mpack_index"]
CODES = [
    "BAD_PATH",
    "BAD_PAYLOAD",
    "MPACK_MALFORMED",
    "NON_FAST_FORWARD",
    "OBJECT_HASH_MISMATCH",
    "PARENT_NOT_HELD",
]

SHAPES = """() => {
  const shapes = selector => [...document.querySelectorAll(selector)].map(shape => {
    const {left, right} = shape.getBoundingClientRect();
    return [shape.textContent, left, right];
  }).sort((one, other) => one[1] - other[1]);
  return [shapes('foreignObject'), shapes('path[marker-end]').map(([, ...ends]) => ends)];
}"""
"""Of the lineage: the name of each node, and where nodes and edges begin and end, from the left."""

Row = tuple[str, str, str, str]
"""Of a job: its id, its repository, its outcome and the reason."""


def test_trouble_is_found_in_two_clicks(
    warm: Dev, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    hub = warm.hub
    refused = push_what_is_refused(hub, tmp_path)
    warm.settle()
    [run] = warm.runs()
    pictures = pytestconfig.rootpath / ".artefacts" / "trouble_ui"
    with open_browser(url=warm.url, pictures=pictures, home=tmp_path) as browser:
        tags = [f"musehub/codes: {','.join(CODES)}", f"musehub/failed: {len(CODES)}"]
        well, *others = [row_of(hub, job_id) for job_id in refused]
        assert found_from_the_runs(browser, run["run_id"], tags) == [*others, well]
        line = ", ".join(f"{code} 1" for code in CODES)
        assert_found_from_the_asset(browser, "refused_pushes", line)
        assert_lineage(browser)
        assert_columns_and_plots(browser)

        history = small_history()
        mpack_key, repo_id = hub.upload(history.mpack()), hub.create_repo()
        with storage_away(hub):
            job_id = hub.enqueue(repo_id, mpack_key=mpack_key, branch="main")
            warm.wait(lambda: "musehub/put_back" in warm.runs()[-1]["tags"], seconds=60)
            row = row_of(hub, job_id)
            tags = ["musehub/codes: STORAGE_UNAVAILABLE", "musehub/put_back: 1"]
            assert found_from_the_runs(browser, warm.runs()[-1]["run_id"], tags) == [row]
            assert row[2] == "pending again STORAGE_UNAVAILABLE"
            assert_found_from_the_asset(browser, "trouble", "STORAGE_UNAVAILABLE 1")
        hub.sql("UPDATE musehub_background_jobs SET not_before = now() WHERE status = 'pending'")
        warm.wait(lambda: hub.job(job_id)["status"] == "done", seconds=60)

    assert {urlsplit(address).hostname for address in browser.addresses} == {"127.0.0.1"}


@contextmanager
def storage_away(hub: Hub) -> Iterator[None]:
    """Have the directory of the storage elsewhere for a while."""
    store = Path(urlsplit(str(hub.settings.storage_url)).path)
    elsewhere = store.rename(store.with_name("elsewhere"))
    yield
    elsewhere.rename(store)


def row_of(hub: Hub, job_id: str) -> Row:
    """Return what the table of the batch has to say of a job."""
    job = hub.job(job_id)
    [repo] = hub.sql(
        "SELECT owner || '/' || slug AS name FROM musehub_repos WHERE repo_id = %(repo_id)s", job
    )
    status = "pending again" if job["status"] == "pending" else job["status"]
    outcome = f"{status} {job['error_code']}" if job["error_code"] else status
    return ids.short(job_id), repo["name"], outcome, job["error"] or ""


def found_from_the_runs(browser: Browser, run_id: str, tags: list[str]) -> list[Row]:
    """Look for a run in the list, which tells the codes, and see the table of its batch."""
    browser.open("/runs")
    link = browser.page.get_by_role("link", name=run_id[:8])
    for tag in tags:
        browser.text(tag).first.wait_for()
    browser.picture("runs")
    browser.click(link)
    browser.click(browser.page.get_by_text("View full message").last)
    table = browser.page.get_by_role("dialog").get_by_role("table").nth(1)
    table.wait_for()
    browser.picture("batch")
    assert browser.clicks == 2
    return [row_shown(row) for row in table.get_by_role("row").all()[1:]]


def row_shown(row: Locator) -> Row:
    """Return what a row shows without scrolling."""
    cells = row.get_by_role("cell").all()[:4]
    for cell in cells:
        expect(cell).to_be_in_viewport(ratio=1)
    job, repo, outcome, reason = (cell.inner_text() for cell in cells)
    return job, repo, outcome, reason


def assert_found_from_the_asset(browser: Browser, check: str, line: str) -> None:
    browser.open("/assets/musehub/mpack_index")
    browser.click(browser.text("Checks"))
    browser.click(browser.text(check).first)
    expect(browser.text(line)).to_be_in_viewport(ratio=1)
    browser.picture(f"check-{check}")
    assert browser.clicks == 2


def assert_lineage(browser: Browser) -> None:
    """See each asset, and an edge from each to the next."""
    browser.open("/asset-groups")
    expect(browser.page.locator("foreignObject")).to_have_count(len(ASSETS))
    browser.picture("lineage")
    nodes, edges = browser.page.evaluate(SHAPES)
    assert [name for name, _, _ in nodes] == ASSETS
    gaps = [[right, left] for (_, _, right), (_, left, _) in pairwise(nodes)]
    assert edges == [pytest.approx(gap, abs=5) for gap in gaps]


def assert_columns_and_plots(browser: Browser) -> None:
    browser.open("/assets/musehub/objects")
    browser.text("Column name").wait_for()
    browser.picture("columns")
    cells = browser.page.get_by_role("table").first.get_by_role("row").all()
    shown = [row.get_by_role("cell").first.inner_text() for row in cells[1:]]
    assert shown == list(metadata.tables["musehub_objects"].columns.keys())
    browser.text("Plots").click()
    points = browser.points()
    browser.picture("columns-plots")
    assert len(points["objects_inserted"]) == 1
