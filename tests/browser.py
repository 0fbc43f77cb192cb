"""A real browser for tests: headless Chromium, what it complains of and what it asks the network for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

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


Open = Callable[..., Visit]
"""``open_page(address, width=1400, height=900)``"""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One Chromium per session: that of ``STSEARCH_CHROMIUM``, or of the system; skips where there is none."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    found = os.environ.get("STSEARCH_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("needs Chromium: no chromium on the PATH, and STSEARCH_CHROMIUM names none")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Open addresses in pages of their own, closed at the end."""
    contexts = []

    def open_page(address: str, width: int = 1400, height: int = 900) -> Visit:
        context = chromium.new_context(viewport={"width": width, "height": height})
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

    yield open_page
    for context in contexts:
        context.close()
