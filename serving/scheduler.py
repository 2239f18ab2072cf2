"""Scheduler: runs a few pieces of work at once and gives each visitor a fair turn.

Turns rotate over the visitors' addresses. The turns of one address rotate over its sessions, and the requests
of one session run in the order in which they arrive. So a visitor who sends twenty photos delays other
visitors by one photo and not by twenty.

A piece of work keeps its slot until its thread ends, even if the request has ended before. A thread cannot be
stopped from outside, so a slot that became free earlier would let new work begin beside the old thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar

from answer.progress import OnStage, ignore_stage

T = TypeVar("T")

POLL_SECONDS = 0.5
"""Seconds between two checks whether a request is still wanted."""
REMEMBERED = 1000
"""The number of addresses and sessions whose last turn is remembered."""


class Visitor(NamedTuple):
    """The sender of a request: a network address, and one of the sessions at this address."""

    address: str
    session: str


class Busy(RuntimeError):
    """Too many requests are waiting already; the message says when to try again."""


class TookTooLong(RuntimeError):
    """The work, or the wait for a turn, took longer than allowed."""


class Abandoned(RuntimeError):
    """Nobody waits for the answer any more."""


class Job:
    """Connects a piece of work with its request: reports progress, and tells the work when to stop."""

    def __init__(self, on_stage: OnStage = ignore_stage) -> None:
        self._on_stage = on_stage
        self._unwanted = threading.Event()

    def stage(self, share: float, words: str) -> None:
        """Reports the progress of the work. The work calls `stage` between its steps.

        Args:
            share: The share of the work that is done, 0 to 1.
            words: The name of the next step, for the visitor.

        Raises:
            Abandoned: Nobody waits for the answer; the work should end here.
        """
        if self._unwanted.is_set():
            raise Abandoned("The request was cancelled.")
        self._on_stage(share, words)

    def abandon(self) -> None:
        """Makes the next call of `stage` raise `Abandoned`."""
        self._unwanted.set()


async def wanted_result(future: asyncio.Future[T], seconds: float, is_wanted: Callable[[], bool]) -> T:
    """Returns the result of `future`, or raises its error. A cancelled caller does not cancel `future`.

    Raises:
        TimeoutError: `future` is not done after `seconds`.
        Abandoned: `is_wanted` returned False.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not future.done():
        if not is_wanted():
            raise Abandoned("Nobody waits for the answer.")
        if loop.time() >= end:
            raise TimeoutError
        await asyncio.wait({future}, timeout=min(POLL_SECONDS, max(0.0, end - loop.time())))
    return future.result()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    visitor: Visitor
    turn: asyncio.Future[None]
    arrived: int
    """The number of turns that had been given when the request arrived."""
    apart: bool


class Scheduler:
    """Runs work in threads, a few at once, in fair turns. All calls must come from the same event loop.

    Args:
        slots: The number of pieces of work that run at once.
        waiting: The number of requests that may wait. One more request is refused.
        waiting_each: The number of requests from one address that may wait.
        wait_seconds: The longest time that a request waits for its turn.
        run_seconds: The longest time that the work may take. After this time the request ends with an error
            and the work is told to stop. The work keeps its slot until it stops.
    """

    def __init__(
        self,
        slots: int = 2,
        waiting: int = 32,
        waiting_each: int = 24,
        wait_seconds: float = 600.0,
        run_seconds: float = 300.0,
    ) -> None:
        self.slots, self.waiting, self.waiting_each = slots, waiting, waiting_each
        self.wait_seconds, self.run_seconds = wait_seconds, run_seconds
        self._threads = ThreadPoolExecutor(slots, "work")
        self._line: list[_Waiting] = []
        self._running = 0
        self._runs_apart = False
        """Whether the work that runs now, if any, was given as `apart`."""
        self._turns = 0
        self._last_turn: OrderedDict[str | Visitor, int] = OrderedDict()

    async def run(
        self,
        visitor: Visitor,
        work: Callable[[Job], T],
        job: Job | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
        goes_on: bool = False,
        apart: bool = False,
    ) -> T:
        """Waits for a turn, runs `work`, and returns what `work` returns. Errors of `work` are raised here.

        Args:
            visitor: The visitor who sent the request.
            work: The function to run. It runs in a thread, in the caller's context.
            job: The argument for `work`. Its `stage` is also called while the request waits for its turn.
            is_wanted: Returns whether somebody still waits for the answer.
            goes_on: Whether this is a later part of work that has begun. It waits for its turn as others do,
                but is not refused.
            apart: Whether the work runs beside other work of this kind only, never beside the rest. So work
                of one kind waits for the other kind, but is not slowed down by it.

        Raises:
            Busy: `waiting` or `waiting_each` is reached.
            TookTooLong: There was no turn within `wait_seconds`, or the work took longer than `run_seconds`.
            Abandoned: `is_wanted` returned False.
        """
        job = job or Job()
        await self._turn(visitor, job, is_wanted, goes_on, apart)
        try:
            context = contextvars.copy_context()
            thread = asyncio.get_running_loop().run_in_executor(self._threads, context.run, work, job)
        except BaseException:
            self._free()
            raise
        thread.add_done_callback(self._ended)
        try:
            return await wanted_result(thread, self.run_seconds, is_wanted)
        except TimeoutError as error:
            if thread.done():  # the work itself raised this TimeoutError
                raise
            job.abandon()
            raise TookTooLong(
                f"This took longer than {_minutes(self.run_seconds)} and was given up. "
                "Please try a smaller photo, or try again later."
            ) from error
        except BaseException:
            job.abandon()
            raise

    async def _turn(
        self, visitor: Visitor, job: Job, is_wanted: Callable[[], bool], goes_on: bool, apart: bool
    ) -> None:
        """Waits for a free slot and takes it."""
        if self._fits(apart) and not self._line:
            self._take(visitor, apart)
            return
        same = sum(one.visitor.address == visitor.address for one in self._line)
        if not goes_on and (len(self._line) >= self.waiting or same >= self.waiting_each):
            raise Busy("Too many photos are waiting just now. Please try again in a minute.")
        entry = _Waiting(visitor, asyncio.get_running_loop().create_future(), self._turns, apart)
        self._line.append(entry)

        def still_wanted() -> bool:
            ahead = self._running + (self._order().index(entry) if entry in self._line else 0)
            job.stage(0.0, f"Waiting for {ahead} other photo{'' if ahead == 1 else 's'}")
            return is_wanted()

        try:
            await wanted_result(entry.turn, self.wait_seconds, still_wanted)
        except BaseException as error:
            if entry in self._line:
                self._line.remove(entry)
                self._fill()  # the request may have held back those behind it
            elif not entry.turn.cancelled():
                self._free()  # the request ended at the moment when its turn came
            if isinstance(error, TimeoutError):
                raise TookTooLong(
                    f"After {_minutes(self.wait_seconds)} there was still no turn for this photo. "
                    "Please try again later."
                ) from error
            raise

    def _order(self) -> list[_Waiting]:
        """Returns the waiting requests in the order in which they will run if no other request arrives."""
        addresses: dict[str, dict[Visitor, list[_Waiting]]] = {}
        for entry in self._line:
            addresses.setdefault(entry.visitor.address, {}).setdefault(entry.visitor, []).append(entry)
        return self._by_turns({address: self._by_turns(sessions) for address, sessions in addresses.items()})

    def _by_turns(self, groups: Mapping[Any, list[_Waiting]]) -> list[_Waiting]:
        """Returns the first request of each group, then the second request of each group, and so on.

        The groups are sorted by the time of their last turn, or of their first waiting request's arrival if
        the arrival was later. The earliest time comes first. So a new group does not pass the groups that
        wait already, and a group that just had its turn goes to the end.
        """

        def since(group: Any) -> tuple[int, int]:
            last = self._last_turn.get(group, 0)
            return max(last, min(entry.arrived for entry in groups[group])), last

        turns = zip_longest(*(groups[group] for group in sorted(groups, key=since)))
        return [entry for turn in turns for entry in turn if entry is not None]

    def _fits(self, apart: bool) -> bool:
        """Returns whether work of this kind may begin now."""
        return self._running < self.slots and (not self._running or self._runs_apart == apart)

    def _take(self, visitor: Visitor, apart: bool) -> None:
        """Takes a free slot for `visitor` and remembers the turn."""
        self._running += 1
        self._runs_apart = apart
        self._turns += 1
        for key in (visitor.address, visitor):
            self._last_turn[key] = self._turns
            self._last_turn.move_to_end(key)
        while len(self._last_turn) > REMEMBERED:
            self._last_turn.popitem(last=False)

    def _free(self) -> None:
        """Frees a slot and gives it to the next waiting request."""
        self._running -= 1
        self._fill()

    def _fill(self) -> None:
        """Lets the waiting requests begin, as far as there are slots. None passes the one before it."""
        while self._line and self._fits((entry := self._order()[0]).apart):
            self._line.remove(entry)
            if not entry.turn.done():
                self._take(entry.visitor, entry.apart)
                entry.turn.set_result(None)

    def _ended(self, thread: asyncio.Future[T]) -> None:
        self._free()
        if not thread.cancelled():
            thread.exception()  # counts as read now: asyncio must not log it if the visitor has left


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
