"""A real browser on the UI of `dev`; it keeps pictures, and every address that a page asked for."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import (
    BrowserContext,
    FloatRect,
    Locator,
    Page,
    ViewportSize,
    sync_playwright,
)

from musehub_pipeline_tests.servers import debian

_FLAGS = (
    "--headless",
    "--no-sandbox",  # it is of no use to root, as whom a container runs
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_SIZE: ViewportSize = {"width": 1600, "height": 1000}
_MILLISECONDS = 30_000

# A canvas has pixels only. Chart.js draws each point as a circle, and wipes before it draws anew.
_KEEP_CIRCLES = """
const {arc, clearRect} = CanvasRenderingContext2D.prototype;
Object.assign(CanvasRenderingContext2D.prototype, {
  clearRect(...box) {
    this.canvas.circles = [];
    return clearRect.apply(this, box);
  },
  arc(...circle) {
    (this.canvas.circles ??= []).push(circle.slice(0, 2));
    return arc.apply(this, circle);
  },
});
"""


class Browser:
    """A window on the UI at `url`; pictures of it go into a folder."""

    def __init__(self, context: BrowserContext, *, url: str, pictures: Path) -> None:
        self.addresses: set[str] = set()
        self.clicks = 0
        self._url = url
        self._pictures = pictures
        context.set_default_timeout(_MILLISECONDS)
        context.add_init_script(_KEEP_CIRCLES)
        context.on("request", lambda request: self.addresses.add(_address(request.url)))
        self.page: Page = context.new_page()
        self.page.on("websocket", lambda socket: self.addresses.add(socket.url))

    def open(self, path: str) -> None:
        """Open a page of the UI, and count clicks from there."""
        self.page.goto(f"{self._url}{path}")
        self.clicks = 0

    def click(self, place: Locator) -> None:
        """Click, and count it."""
        place.click()
        self.clicks += 1

    def picture(self, name: str, *shown: Locator, margin: int = 12) -> None:
        """Keep what the window shows, or of it just the box around some things."""
        self.page.screenshot(
            path=self._pictures / f"{name}.png",
            animations="disabled",
            clip=_box_around(shown, margin) if shown else None,
        )

    def bars(self, count: int) -> list[tuple[str, float]]:
        """Wait for the bars of steps that succeeded; return step and width, from left to right.

        Until the chart knows the times its boxes are white and too wide, and it draws none that
        it has no room for.
        """
        bars = self.page.locator(".chart-element:is(.box, .dot)[style*=accent-green]")
        bars.nth(count - 1).wait_for()
        measured: list[tuple[float, str, float]] = bars.evaluate_all(
            "async bars => {"
            "  const moves = bars.flatMap(bar => bar.getAnimations());"
            "  await Promise.all(moves.map(move => move.finished));"
            "  return bars.map(bar => {"
            "    const {left, width} = bar.getBoundingClientRect();"
            "    return [left, bar.dataset.tooltip, width];"
            "  });"
            "}"
        )
        return [(step, width) for _, step, width in sorted(measured)]

    def points(self) -> dict[str, list[list[float]]]:
        """Return where the points of each chart were drawn, x and y from the upper left."""
        self.page.wait_for_function(
            "() => { const charts = [...document.querySelectorAll('canvas')];"
            "  return charts.length && charts.every(chart => chart.circles?.length); }"
        )
        drawn: list[tuple[str, list[list[float]]]] = self.page.locator("canvas").evaluate_all(
            "charts => charts.map(chart => ["
            "  chart.parentElement.parentElement.previousElementSibling.innerText, chart.circles])"
        )
        return dict(drawn)

    def text(self, text: str) -> Locator:
        """Return what on the page reads exactly so."""
        return self.page.get_by_text(text, exact=True)


def _box_around(shown: Sequence[Locator], margin: int) -> FloatRect:
    """Return the least box that holds all of that, and a margin."""
    boxes = [box for each in shown for one in each.all() if (box := one.bounding_box())]
    left = max(0, min(box["x"] for box in boxes) - margin)
    top = max(0, min(box["y"] for box in boxes) - margin)
    right = max(box["x"] + box["width"] for box in boxes) + margin
    bottom = max(box["y"] + box["height"] for box in boxes) + margin
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def _address(url: str) -> str:
    """Return where a request goes: a blob is of the page that has made it."""
    return url.removeprefix("blob:")


@contextmanager
def open_browser(*, url: str, pictures: Path, home: Path) -> Iterator[Browser]:
    """Run Debian's Chromium, with an empty profile."""
    program = debian.program("chromium")
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=program, args=_FLAGS, env=os.environ | {"HOME": str(home)}
        ) as chromium,
        chromium.new_context(viewport=_SIZE, locale="en-GB", timezone_id="UTC") as context,
    ):
        browser = Browser(context, url=url, pictures=pictures)
        try:
            yield browser
        except Exception:
            browser.picture("failure")
            raise
