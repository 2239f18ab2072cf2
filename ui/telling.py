"""Telling: passes on what a long piece of work says, while it works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def told_while(work: Callable[[Callable[[T], None]], Awaitable[T]]) -> AsyncIterator[T]:
    """Yields what `work` tells while it works, and then what it returns. Raises what it raises.

    If nobody reads on, the work is cancelled.

    Args:
        work: Gets a function `tell`, which may be called from any thread.
    """
    queue: asyncio.Queue[tuple[T] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(said: T) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, (said,))

    task = asyncio.ensure_future(work(tell))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (item := await queue.get()) is not None:
            yield item[0]
        yield task.result()
    finally:
        task.cancel()
