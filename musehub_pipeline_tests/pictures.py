"""The pictures in docs/pictures, taken of the real UI.

`make pictures` takes them anew: `python -m musehub_pipeline_tests.pictures`.
"""

import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import ViewportSize

from musehub_pipeline.domain.result import TIMING_OF_PHASE
from musehub_pipeline.postgres import migrate
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.acceptance.browser import Browser, open_browser
from musehub_pipeline_tests.acceptance.dev import Dev
from musehub_pipeline_tests.acceptance.pushes import push_what_is_refused
from musehub_pipeline_tests.conftest import bare_environment, settings_of
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.servers.postgres import Postgres

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"

_WIDE: ViewportSize = {"width": 1600, "height": 1000}
_TALL: ViewportSize = {"width": 1200, "height": 1400}
_COMMITS = {
    "ada/song": 10,
    "bob/fugue": 25,
    "ada/symphony": 60,
    "clara/sonata": 40,
    "bob/chorale": 15,
    "ada/waltz": 30,
    "clara/nocturne": 20,
    "bob/partita": 45,
    "ada/etude": 12,
}
"""The repositories, and how many commits the first push to each has."""
_TAKE_BYTES = 1 << 19
_OPS = len(TIMING_OF_PHASE) + 2


def _picture_run(browser: Browser, dev: Dev) -> None:
    """Show the run of the largest push."""
    largest = list(_COMMITS).index("ada/symphony")
    page = browser.page
    page.set_viewport_size(_WIDE)
    browser.open(f"/runs/{dev.runs()[largest]['run_id']}")
    browser.bars(_OPS)
    began = page.get_by_text(re.compile(r", \d\d:\d\d:\d\d$"))
    browser.picture("run", browser.text("Runs").last, began, page.locator(".chart-element"))


def _picture_batch(browser: Browser, dev: Dev) -> None:
    """Show the table of the run that refused pushes."""
    page = browser.page
    page.set_viewport_size(_WIDE)
    browser.open(f"/runs/{dev.runs()[-1]['run_id']}")
    page.get_by_text("View full message").last.click()
    table = page.get_by_role("dialog").get_by_role("table").nth(1)
    table.wait_for()
    browser.picture("batch", table, margin=0)


def _picture_plots(browser: Browser, _: Dev) -> None:
    """Show what matters first of the figures of all runs."""
    browser.page.set_viewport_size(_TALL)
    browser.open("/assets/musehub/mpack_index")
    browser.text("Plots").click()
    names = list(browser.points())[:6]
    canvases = [browser.page.locator("canvas").nth(n) for n in range(len(names))]
    browser.picture("plots", *map(browser.text, names), *canvases)


def _picture_checks(browser: Browser, _: Dev) -> None:
    """Show the check of the pushes that were refused, beside the list of checks."""
    page = browser.page
    page.set_viewport_size(_TALL)
    browser.open("/assets/musehub/mpack_index?view=checks&checkDetail=refused_pushes")
    figures = page.get_by_role("table")
    figures.wait_for()
    browser.picture(
        "checks", browser.text("Assets"), page.get_by_placeholder("Filter checks"), figures
    )


def _picture_lineage(browser: Browser, _: Dev) -> None:
    """Show all assets."""
    browser.page.set_viewport_size(_WIDE)
    browser.open("/asset-groups")
    nodes = browser.page.locator("foreignObject")
    nodes.nth(6).wait_for()
    browser.page.wait_for_timeout(1000)  # the graph grows into its place
    browser.picture("lineage", nodes)


PICTURES = {
    "run": _picture_run,
    "batch": _picture_batch,
    "plots": _picture_plots,
    "checks": _picture_checks,
    "lineage": _picture_lineage,
}
"""What takes each of them, by its name."""


@contextmanager
def _serving(folder: Path) -> Iterator[Dev]:
    """Run the UI for a hub of its own, which has indexed some pushes and refused the last."""
    with ExitStack() as stack:
        stack.enter_context(bare_environment())
        database_url = stack.enter_context(Postgres()).create_database("pictures")
        with Database(database_url) as database:
            migrate.upgrade(database)
        dev = Dev(Hub(settings_of(database_url, folder)), folder)
        stack.callback(dev.end)
        dev.start()
        for name, commits in _COMMITS.items():
            _push(dev, name, commits)
        push_what_is_refused(dev.hub, folder)
        dev.settle()
        yield dev


def _push(dev: Dev, name: str, commits: int) -> None:
    """Push a history to a new repository, and wait until a run has indexed it."""
    owner, _, slug = name.partition("/")
    history, dice = History(), random.Random(name)
    bars = {f"bars/{n:03}.txt": b"a bar of %d" % n for n in range(400)}
    head: list[str] = []
    for _ in range(commits):
        head = [history.commit(bars | {"take.wav": dice.randbytes(_TAKE_BYTES)}, parents=head)]
    dev.hub.push(dev.hub.create_repo(slug, owner=owner), history.mpack(), head=head[0])
    dev.settle()


def main() -> None:
    """Take all of them, and only then put them in the place of the old ones."""
    with tempfile.TemporaryDirectory(prefix="pictures-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        taken = folder / "taken"
        with (
            _serving(folder) as dev,
            open_browser(url=dev.url, pictures=taken, home=folder) as browser,
        ):
            for take in PICTURES.values():
                take(browser, dev)
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(taken, FOLDER)


if __name__ == "__main__":
    main()
