"""Waits for what other processes do. Makes Playwright's `expect` look often and wait long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from playwright.sync_api import Locator, LocatorAssertions
from playwright.sync_api import expect as expect_soon

SECONDS = 1000.0
"""A second in Playwright's unit, milliseconds."""
PATIENCE_SECONDS = 20.0
ATTEMPT = 0.4 * SECONDS
"""The milliseconds of one attempt. In so short a time Playwright looks every 50 ms. In its usual 5 s it soon
looks only twice a second, although most changes of a page take less than half of that."""


def wait_until(holds: Callable[[], object]) -> None:
    """Waits until `holds()` is true, for at most `PATIENCE_SECONDS`.

    It is for things that nobody announces, such as a file of another process.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def expect(locator: Locator, message: str | None = None) -> LocatorAssertions:
    """Returns Playwright's assertions about `locator`, with `PATIENCE_SECONDS` for each assertion."""
    return cast(LocatorAssertions, _Patient(expect_soon(locator, message)))


class _Patient:
    def __init__(self, assertions: LocatorAssertions) -> None:
        self._assertions = assertions

    def __getattr__(self, name: str) -> Callable[..., None]:
        check = getattr(self._assertions, name)

        def check_until_it_holds(*args: Any, **options: Any) -> None:
            end = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    check(*args, timeout=ATTEMPT, **options)
                    return
                except AssertionError:
                    if time.monotonic() > end:
                        raise

        return check_until_it_holds
