"""Gives the tests of the page a browser window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page

from tests.patience import SECONDS, expect
from tests.ui.visitor import EMPTY


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Page]:
    """One window for all tests of a module, so Chromium fetches and compiles the page's files only once."""
    page = browser.new_page()
    page.set_default_timeout(20 * SECONDS)
    yield page
    page.close()


@pytest.fixture
def open_page(window: Page, server: str) -> Iterator[Callable[..., Page]]:
    """Opens the page as in a new browser, but faster. Fails if a script of the page raises an error."""
    faults: list[str] = []

    def note_error(error: Error) -> None:
        if "AbortError" not in str(error):  # Gradio's, because the test has opened another page
            faults.append(str(error))

    def note_line(line: ConsoleMessage) -> None:
        """Notes errors in the scripts of components, which Gradio catches and logs to the console."""
        if "Error" in line.text and "AbortError" not in line.text:
            faults.append(line.text)

    def open_page(
        width: int = 1400, height: int = 1000, scheme: Any = "light", query: str = EMPTY, at: str = server
    ) -> Page:
        window.set_viewport_size({"width": width, "height": height})
        window.emulate_media(color_scheme=scheme)
        window.goto(f"{at}{query}")
        expect(window.locator("#picture input[type=file]")).to_be_attached()
        return window

    window.on("pageerror", note_error)
    window.on("console", note_line)
    yield open_page
    window.remove_listener("pageerror", note_error)
    window.remove_listener("console", note_line)
    window.evaluate("localStorage.clear(); sessionStorage.clear()")
    window.context.clear_cookies()
    window.goto("about:blank")
    window.mouse.move(0, 0)
    assert faults == [], "errors of the page's own scripts"


@pytest.fixture
def page(open_page: Callable[[], Page]) -> Page:
    return open_page()
