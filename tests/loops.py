"""Runs coroutines to their end, with a limit of time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
SECONDS = 30


def in_a_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine for at most `SECONDS`. Returns its value or raises its error.

    The coroutine runs in a thread of its own, because Playwright has an event loop in the thread of the
    tests.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asyncio.wait_for(coroutine, SECONDS)).result()
