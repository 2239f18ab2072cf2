"""The scheduler with work that ends when the test says so."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from serving import scheduler
from serving.scheduler import Abandoned, Busy, Job, Scheduler, TookTooLong, Visitor
from tests.loops import in_a_loop

ANN, BOB = Visitor("192.0.2.1", "a"), Visitor("192.0.2.2", "b")


class Held:
    """Work that runs until the test sets `may_end`."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self, job: Job) -> str:
        self.began.set()
        self.may_end.wait(10)
        return "done"


async def until(condition: Any, seconds: float = 20) -> None:
    """Waits until `condition()` is true.

    Raises:
        TimeoutError: The condition is still false after `seconds`.
    """
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


def named(name: str, order: list[str]) -> Any:
    """Returns work that appends `name` to `order`."""
    return lambda job: order.append(name)


def test_work_runs_in_a_thread_and_gives_what_it_returns() -> None:
    async def test() -> None:
        assert await Scheduler().run(ANN, lambda job: threading.current_thread().name) != "MainThread"

    in_a_loop(test())


def test_what_the_work_raises_reaches_whoever_asked() -> None:
    def work(job: Job) -> None:
        raise TimeoutError("the work's own")

    async def test() -> None:
        line = Scheduler(slots=1)
        with pytest.raises(TimeoutError, match="the work's own"):
            await line.run(ANN, work)
        assert await line.run(ANN, lambda job: "the next") == "the next"

    in_a_loop(test())


def test_no_more_than_the_slots_run_at_once() -> None:
    running, most = [0], [0]
    lock, may_end = threading.Lock(), threading.Event()

    def work(job: Job) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        may_end.wait(10)
        with lock:
            running[0] -= 1

    async def test() -> None:
        line = Scheduler(slots=3)
        tasks = [asyncio.create_task(line.run(ANN, work)) for _ in range(12)]
        await until(lambda: running[0] == 3)
        assert len(line._line) == 9
        may_end.set()
        await asyncio.gather(*tasks)

    in_a_loop(test())
    assert most[0] == 3


def test_turns_go_round_the_addresses_and_in_each_round_the_sessions() -> None:
    order: list[str] = []

    async def test() -> None:
        line, first = Scheduler(slots=1), Held()
        flood = asyncio.create_task(line.run(ANN, first))
        await until(first.began.is_set)
        other_tab = Visitor(ANN.address, "second tab")
        tasks = [asyncio.create_task(line.run(ANN, named(f"ann {i}", order))) for i in range(4)]
        tasks += [
            asyncio.create_task(line.run(other_tab, named(f"ann's other tab {i}", order))) for i in (0, 1)
        ]
        tasks += [asyncio.create_task(line.run(BOB, named(f"bob {i}", order))) for i in (0, 1)]
        await until(lambda: len(line._line) == 8)
        first.may_end.set()
        await asyncio.gather(flood, *tasks)

    in_a_loop(test())
    assert order == [
        "bob 0", "ann's other tab 0", "bob 1", "ann 0", "ann's other tab 1", "ann 1", "ann 2", "ann 3",
    ]  # fmt: skip


def test_who_was_served_before_is_not_passed_by_those_who_come_later() -> None:
    order: list[str] = []

    async def test() -> None:
        line = Scheduler(slots=1, waiting=100)
        await line.run(ANN, lambda job: None)
        first = Held()
        tasks = [asyncio.create_task(line.run(BOB, first))]
        await until(first.began.is_set)

        def newcomer(i: int) -> None:
            tasks.append(
                asyncio.create_task(line.run(Visitor(f"198.51.100.{i}", ""), named(f"new {i}", order)))
            )

        newcomer(0)
        await until(lambda: len(line._line) == 1)
        tasks.append(asyncio.create_task(line.run(ANN, named("ann", order))))
        await until(lambda: len(line._line) == 2)
        first.may_end.set()
        for i in range(1, 30):  # one more newcomer each time a newcomer has had a turn
            newcomer(i)
            await until(lambda i=i: len(order) >= i)
        await asyncio.gather(*tasks)

    in_a_loop(test())
    assert order.index("ann") <= 2


def test_one_more_than_may_wait_is_told_so_at_once_and_one_address_cannot_take_every_place() -> None:
    async def test() -> None:
        line, first = Scheduler(slots=1, waiting=4, waiting_each=3), Held()
        tasks = [asyncio.create_task(line.run(ANN, first))]
        await until(first.began.is_set)
        tasks += [asyncio.create_task(line.run(ANN, lambda job: None)) for _ in range(3)]
        await until(lambda: len(line._line) == 3)
        with pytest.raises(Busy, match="try again in a minute"):
            await line.run(ANN, lambda job: None)
        tasks.append(asyncio.create_task(line.run(BOB, lambda job: None)))
        await until(lambda: len(line._line) == 4)
        with pytest.raises(Busy):
            await line.run(Visitor("192.0.2.3", "c"), lambda job: None)
        first.may_end.set()
        await asyncio.gather(*tasks)

    in_a_loop(test())


def test_work_that_runs_apart_takes_turns_with_the_rest_and_never_runs_beside_it() -> None:
    running: list[str] = []
    seen: list[str] = []

    def work(name: str) -> Any:
        def run(job: Job) -> None:
            running.append(name)
            seen.append(name)
            kinds = {one[0] for one in running}
            threading.Event().wait(0.005)
            running.remove(name)
            assert len(kinds) == 1, "a frame ran beside a photo"

        return run

    async def test() -> None:
        line = Scheduler(slots=2)

        async def camera() -> None:
            for i in range(6):
                await line.run(ANN, work(f"frame {i}"), apart=True)

        photos = [line.run(Visitor("192.0.2.9", str(i)), work(f"photo {i}")) for i in range(6)]
        await asyncio.gather(camera(), *photos)

    in_a_loop(test())
    assert sorted(seen) == sorted([f"{kind} {i}" for kind in ("frame", "photo") for i in range(6)])
    frames = [i for i, name in enumerate(seen) if name.startswith("frame")]
    assert max(b - a for a, b in pairwise(frames)) <= 3, "two photos at most between frames"


def test_who_holds_others_back_and_leaves_lets_them_begin() -> None:
    async def test() -> None:
        line, photo = Scheduler(slots=2), Held()
        first = asyncio.create_task(line.run(ANN, photo))
        await until(photo.began.is_set)
        frame = asyncio.create_task(line.run(BOB, Held(), apart=True))
        await until(lambda: len(line._line) == 1)
        behind = asyncio.create_task(line.run(Visitor("192.0.2.3", "c"), lambda job: "ran"))
        await until(lambda: len(line._line) == 2)
        frame.cancel()
        assert await behind == "ran"
        photo.may_end.set()
        await first

    in_a_loop(test())


def test_a_request_that_is_cancelled_while_it_waits_never_runs() -> None:
    ran: list[str] = []

    async def test() -> None:
        line, first = Scheduler(slots=1), Held()
        task = asyncio.create_task(line.run(ANN, first))
        await until(first.began.is_set)
        waiting = asyncio.create_task(line.run(BOB, named("bob", ran)))
        await until(lambda: line._line)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not line._line
        first.may_end.set()
        await task
        assert await line.run(ANN, lambda job: "free again") == "free again"

    in_a_loop(test())
    assert ran == []


def test_cancelled_work_holds_its_slot_until_its_thread_ends_and_is_told_to() -> None:
    states: list[str] = []
    may_look = threading.Event()

    def work(job: Job) -> None:
        states.append("began")
        may_look.wait(10)
        try:
            job.stage(0.5, "half of it")
        except Abandoned:
            states.append("stopped")
            raise

    async def test() -> None:
        line = Scheduler(slots=1)
        task = asyncio.create_task(line.run(ANN, work))
        await until(lambda: states)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        after = asyncio.create_task(line.run(BOB, named("next", states)))
        await until(lambda: line._line)  # the slot is still taken
        assert states == ["began"]
        may_look.set()
        await after

    in_a_loop(test())
    assert states == ["began", "stopped", "next"]


def test_an_error_of_work_that_nobody_waits_for_is_no_fault_of_the_loop() -> None:
    faults: list[str] = []
    may_end = threading.Event()

    def work(job: Job) -> None:
        may_end.wait(10)
        raise ValueError("too late")

    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["message"]))
        line = Scheduler(slots=1)
        task = asyncio.create_task(line.run(ANN, work))
        await until(lambda: line._running == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_end.set()
        await until(lambda: line._running == 0)
        del task
        gc.collect()  # asyncio complains when it deletes a future whose error nobody has read

    in_a_loop(test())
    assert faults == []


def test_work_that_is_dropped_before_it_begins_frees_its_slot_and_is_no_fault_of_the_loop() -> None:
    faults: list[str] = []

    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["message"]))
        line, first = Scheduler(slots=2), Held()
        line._threads = ThreadPoolExecutor(1)  # the second piece of work has a slot, but no thread yet
        running = asyncio.create_task(line.run(ANN, first))
        await until(first.began.is_set)
        dropped = asyncio.create_task(line.run(BOB, lambda job: None))
        await until(lambda: line._running == 2)
        line._threads.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(asyncio.CancelledError):
            await dropped
        await until(lambda: line._running == 1)
        first.may_end.set()
        assert await running == "done"
        await until(lambda: line._running == 0)

    in_a_loop(test())
    assert faults == []


def test_a_client_that_vanished_costs_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.01)
    ran: list[str] = []
    there = [True]

    async def test() -> None:
        line, first = Scheduler(slots=1), Held()
        task = asyncio.create_task(line.run(ANN, first, is_wanted=lambda: there[0]))
        await until(first.began.is_set)
        waiting = asyncio.create_task(line.run(BOB, named("bob", ran), is_wanted=lambda: there[0]))
        await until(lambda: line._line)
        there[0] = False
        for gone in (task, waiting):
            with pytest.raises(Abandoned):
                await gone
        first.may_end.set()
        assert await line.run(ANN, lambda job: "free again") == "free again"

    in_a_loop(test())
    assert ran == []


def test_stuck_work_is_answered_for_after_its_time_and_still_holds_its_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.01)

    async def test() -> None:
        line, stuck = Scheduler(slots=1, run_seconds=0.05, wait_seconds=0.1), Held()
        with pytest.raises(TookTooLong, match="given up"):
            await line.run(ANN, stuck)
        with pytest.raises(TookTooLong, match="no turn for this photo"):
            await line.run(BOB, lambda job: None)
        assert not line._line
        stuck.may_end.set()
        await until(lambda: line._running == 0)
        assert await line.run(BOB, lambda job: "free again") == "free again"

    in_a_loop(test())


def test_whoever_waits_is_told_how_many_come_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.01)
    words: list[str] = []

    async def test() -> None:
        line, first = Scheduler(slots=1), Held()
        tasks = [asyncio.create_task(line.run(ANN, first))]
        await until(first.began.is_set)
        tasks.append(asyncio.create_task(line.run(ANN, lambda job: None)))
        await until(lambda: line._line)
        tell = Job(lambda share, text: words.append(text))
        tasks.append(asyncio.create_task(line.run(ANN, lambda job: None, tell)))
        await until(lambda: words)
        first.may_end.set()
        await asyncio.gather(*tasks)

    in_a_loop(test())
    assert words[0] == "Waiting for 2 other photos"


def test_the_memory_of_turns_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "REMEMBERED", 10)

    async def test() -> None:
        line = Scheduler()
        for i in range(40):
            await line.run(Visitor(f"192.0.2.{i}", str(i)), lambda job: None)
        assert len(line._last_turn) == 10

    in_a_loop(test())
