"""Loops: coroutines run to their end, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
SECONDS = 30


def in_a_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives or raises; in a thread of its own: Playwright has a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asyncio.wait_for(coroutine, SECONDS)).result()
