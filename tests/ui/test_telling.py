from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from tests.loops import in_a_loop
from ui.telling import told_while


def test_what_is_told_comes_in_order_and_the_answer_last() -> None:
    async def work(tell: Callable[[str], None]) -> str:
        tell("first")
        await asyncio.sleep(0)
        tell("second")
        tell("third")
        return "answer"

    async def read() -> list[str]:
        return [said async for said in told_while(work)]

    assert in_a_loop(read()) == ["first", "second", "third", "answer"]


def test_a_thread_may_tell_too_and_nothing_of_it_is_lost() -> None:
    async def work(tell: Callable[[int], None]) -> int:
        def count() -> None:
            for number in range(500):
                tell(number)

        await asyncio.to_thread(count)
        return 500

    async def read() -> list[int]:
        return [said async for said in told_while(work)]

    assert in_a_loop(read()) == list(range(501))


def test_it_is_told_while_the_work_goes_on() -> None:
    async def read() -> list[str]:
        heard = asyncio.Event()

        async def work(tell: Callable[[str], None]) -> str:
            tell("early")
            await heard.wait()  # for ever, if "early" came only with the answer
            return "answer"

        all_said = []
        async for said in told_while(work):
            all_said.append(said)
            heard.set()
        return all_said

    assert in_a_loop(read()) == ["early", "answer"]


def test_none_is_an_answer_like_any_other() -> None:
    async def work(tell: Callable[[None], None]) -> None:
        tell(None)

    async def read() -> list[None]:
        return [said async for said in told_while(work)]

    assert in_a_loop(read()) == [None, None]


def test_an_error_comes_after_what_was_told_before_it() -> None:
    async def work(tell: Callable[[str], None]) -> str:
        tell("so far")
        raise LookupError("gone")

    said = []

    async def read() -> None:
        async for words in told_while(work):
            said.append(words)

    with pytest.raises(LookupError, match="gone"):
        in_a_loop(read())
    assert said == ["so far"]


@pytest.mark.parametrize("how", ["stops reading", "is cancelled"])
def test_if_nobody_reads_on_the_work_is_cancelled(how: str) -> None:
    async def read() -> list[str]:
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def work(tell: Callable[[str], None]) -> str:
            tell("begun")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.set_result("cancelled")
                raise
            return "answer"

        reader = told_while(work)
        assert await anext(reader) == "begun"
        if how == "stops reading":
            await reader.aclose()  # type: ignore[attr-defined]
        else:
            waiting = asyncio.ensure_future(anext(reader))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        return [await ended]

    assert in_a_loop(read()) == ["cancelled"]


def test_what_a_thread_tells_after_the_end_does_no_harm() -> None:
    tells: list[Callable[[str], None]] = []

    async def work(tell: Callable[[str], None]) -> str:
        tells.append(tell)
        return "answer"

    async def read() -> list[str]:
        all_said = [said async for said in told_while(work)]
        thread = threading.Thread(target=tells[0], args=("late",))
        thread.start()
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)
        return all_said

    assert in_a_loop(read()) == ["answer"]
