"""A real browser for tests: headless Chromium, what it complains of and what it asks the network for."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

_OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
"""No name is found but this machine's own."""
_READING = Path(__file__).with_name("reading.js").read_text()
_INSIDE = ("data", "blob", "about")
"""Schemes of what a page makes itself"""


@dataclass
class Visit:
    """An open page."""

    page: Page
    errors: list[str] = field(default_factory=list)
    """errors and warnings of the console, exceptions and dialogs"""
    left: list[str] = field(default_factory=list)
    """addresses of requests to another origin than the page's own; for a file, all but itself"""

    def unreadable(self) -> list[str]:
        """What of the page some cannot read, see or reach, by ``reading.js`` and, where ``STSEARCH_AXE`` names its
        file, by axe: what it calls serious or critical."""
        found: list[str] = self.page.evaluate(_READING)
        if axe := os.environ.get("STSEARCH_AXE"):
            self.page.evaluate(Path(axe).read_text())
            said = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
            worst = [one for one in said if one["impact"] in ("serious", "critical")]
            found += [f"axe, {one['id']}: {node['html'][:120]}" for one in worst for node in one["nodes"]]
        return found

    def names_apart(self, plot: str = "") -> int:
        """How many names a plot shows; fails where two of them lie on one another."""
        boxes = self.page.evaluate(
            f"[...document.querySelectorAll('{plot} .annotation')].filter(a => a.style.visibility !== 'hidden')"
            ".map(a => a.querySelector('.annotation-text-g').getBoundingClientRect())"
            ".map(r => [r.left, r.top, r.right, r.bottom])"
        )
        for number, (left, top, right, bottom) in enumerate(boxes):
            for other in boxes[:number]:
                assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
        return len(boxes)


Open = Callable[..., Visit]
"""``open_page(address, width=1400, height=900)``"""


PATIENCE_S = 120
"""of one test; a browser that takes longer hangs"""


def _children(pid: int) -> list[int]:
    """All processes below ``pid``, nearest first."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found + [below for child in found for below in _children(child)]


@contextlib.contextmanager
def _killed_if_it_hangs(driver: list[int]) -> Iterator[None]:
    """Playwright waits for its driver without end, and takes the exceptions of time limits for its own.

    With the driver and what it started dead, whatever waits for it raises.
    """

    def kill() -> None:
        for pid in [*driver, *(below for root in driver for below in _children(root))]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    timer = Timer(PATIENCE_S, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@dataclass
class Running:
    """Chromium, and the process that drives it."""

    browser: Browser
    driver: list[int]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Running]:
    """One Chromium per module: that of ``STSEARCH_CHROMIUM``, or of the system; skips where there is none."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    found = os.environ.get("STSEARCH_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("needs Chromium: no chromium on the PATH, and STSEARCH_CHROMIUM names none")
    before, driver = _children(os.getpid()), list[int]()
    with _killed_if_it_hangs(driver):
        manager = sync.sync_playwright()
        playwright = manager.start()
        driver += set(_children(os.getpid())) - set(before)
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu", _OFFLINE])
    yield Running(browser, driver)
    with _killed_if_it_hangs(driver), contextlib.suppress(sync.Error):  # what it did wrong the tests have said
        browser.close()
        playwright.stop()


@pytest.fixture
def open_page(chromium: Running) -> Iterator[Open]:
    """Open addresses in pages of their own, closed at the end."""
    contexts = []

    def open_page(address: str, width: int = 1400, height: int = 900) -> Visit:
        context = chromium.browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        visit = Visit(context.new_page())
        home = urlsplit(address)

        def note(url: str) -> None:
            parts = urlsplit(url)
            own = url == address if home.scheme == "file" else (parts.scheme, parts.netloc) == home[:2]
            if not own and parts.scheme not in _INSIDE:
                visit.left.append(url)

        def complain(kind: str, text: str) -> None:
            if kind in ("error", "warning"):
                visit.errors.append(text)

        def dismiss(dialog: Dialog) -> None:
            complain("error", f"dialog: {dialog.message}")
            dialog.dismiss()

        visit.page.on("request", lambda request: note(request.url))
        visit.page.on("console", lambda message: complain(message.type, message.text))
        visit.page.on("pageerror", lambda error: complain("error", str(error)))
        visit.page.on("dialog", dismiss)
        visit.page.goto(address)
        return visit

    with _killed_if_it_hangs(chromium.driver):
        yield open_page
        for context in contexts:
            context.close()
