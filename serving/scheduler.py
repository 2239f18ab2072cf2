"""Scheduler: how many pieces of work run at once, and whose turn it is next.

Turns go round the visitors' addresses, within an address round its sessions, and within a session in order
of arrival, so that whoever sends twenty photos delays others by one photo and not by twenty. A place in the
work is held until its thread ends, whatever became of the request: a thread cannot be stopped from outside,
and two more would have begun beside it.
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
"""How often a request that waits is asked whether its client is still there."""
REMEMBERED = 1000
"""Addresses and sessions whose last turn is remembered."""


class Visitor(NamedTuple):
    address: str
    session: str


class Busy(RuntimeError):
    """Too much waits already; the message says when to try again."""


class TookTooLong(RuntimeError):
    """The work, or the wait for it, did not end in the time that it may take."""


class Abandoned(RuntimeError):
    """Nobody waits for the answer any more."""


class Job:
    """What a piece of work is told of its request, and tells of itself."""

    def __init__(self, on_stage: OnStage = ignore_stage) -> None:
        self._on_stage = on_stage
        self._unwanted = threading.Event()

    def stage(self, share: float, words: str) -> None:
        """Says how far the work is; to be called between its steps.

        Args:
            share: Of the work that is done, 0 to 1.
            words: What comes next, for the visitor.

        Raises:
            Abandoned: Nobody waits for the answer; the work should end here.
        """
        if self._unwanted.is_set():
            raise Abandoned("The request was cancelled.")
        self._on_stage(share, words)

    def abandon(self) -> None:
        """Makes the next call of `stage` raise."""
        self._unwanted.set()


async def wanted_result(future: asyncio.Future[T], seconds: float, is_wanted: Callable[[], bool]) -> T:
    """What comes of `future`, which is not cancelled when the caller is.

    Raises:
        TimeoutError: After so many seconds.
        Abandoned: `is_wanted` said no.
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
    """How many turns had been given by then."""


class Scheduler:
    """Runs work in threads, a few at once, by fair turns. For use in one event loop.

    Args:
        slots: Pieces of work that run at once.
        waiting: Requests that may wait; one more is refused.
        waiting_each: Of these, how many may come from one address.
        wait_seconds: How long a request waits for its turn at most.
        run_seconds: How long its work may take. Work that exceeds it is answered for and told to stop, but
            holds its slot until it does.
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
        self._turns = 0
        self._last_turn: OrderedDict[str | Visitor, int] = OrderedDict()

    async def run(
        self,
        visitor: Visitor,
        work: Callable[[Job], T],
        job: Job | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> T:
        """What `work` returns, or raises, once it had its turn.

        Args:
            visitor: Who asks.
            work: Runs in a thread, in the caller's context.
            job: Is given to `work`; `stage` is called for the time of waiting, too.
            is_wanted: Whether somebody still waits for the answer.

        Raises:
            Busy: `waiting` or `waiting_each` is reached.
            TookTooLong: After `wait_seconds` without a turn or `run_seconds` of work.
            Abandoned: `is_wanted` said no.
        """
        job = job or Job()
        await self._turn(visitor, job, is_wanted)
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
            if thread.done():  # the work's own
                raise
            job.abandon()
            raise TookTooLong(
                f"This took longer than {_minutes(self.run_seconds)} and was given up. "
                "Please try a smaller photo, or try again later."
            ) from error
        except BaseException:
            job.abandon()
            raise

    async def _turn(self, visitor: Visitor, job: Job, is_wanted: Callable[[], bool]) -> None:
        """Waits for a free slot, which is then taken."""
        if self._running < self.slots and not self._line:
            self._take(visitor)
            return
        same = sum(one.visitor.address == visitor.address for one in self._line)
        if len(self._line) >= self.waiting or same >= self.waiting_each:
            raise Busy("Too many photos are waiting just now. Please try again in a minute.")
        entry = _Waiting(visitor, asyncio.get_running_loop().create_future(), self._turns)
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
            elif not entry.turn.cancelled():
                self._free()  # the turn came in the same moment
            if isinstance(error, TimeoutError):
                raise TookTooLong(
                    f"After {_minutes(self.wait_seconds)} there was still no turn for this photo. "
                    "Please try again later."
                ) from error
            raise

    def _order(self) -> list[_Waiting]:
        """Those who wait, as they will be served if nobody else comes."""
        addresses: dict[str, dict[Visitor, list[_Waiting]]] = {}
        for entry in self._line:
            addresses.setdefault(entry.visitor.address, {}).setdefault(entry.visitor, []).append(entry)
        return self._by_turns({address: self._by_turns(sessions) for address, sessions in addresses.items()})

    def _by_turns(self, groups: Mapping[Any, list[_Waiting]]) -> list[_Waiting]:
        """The first of each group, then the second of each, and so on.

        The group comes first whose turn, or arrival if that was later, is the longest ago: whoever comes new
        does not go before those who wait already, and whoever was served goes behind.
        """

        def since(group: Any) -> tuple[int, int]:
            last = self._last_turn.get(group, 0)
            return max(last, min(entry.arrived for entry in groups[group])), last

        turns = zip_longest(*(groups[group] for group in sorted(groups, key=since)))
        return [entry for turn in turns for entry in turn if entry is not None]

    def _take(self, visitor: Visitor) -> None:
        self._running += 1
        self._turns += 1
        for key in (visitor.address, visitor):
            self._last_turn[key] = self._turns
            self._last_turn.move_to_end(key)
        while len(self._last_turn) > REMEMBERED:
            self._last_turn.popitem(last=False)

    def _free(self) -> None:
        self._running -= 1
        while self._line and self._running < self.slots:
            entry = self._order()[0]
            self._line.remove(entry)
            if not entry.turn.done():
                self._take(entry.visitor)
                entry.turn.set_result(None)

    def _ended(self, thread: asyncio.Future[T]) -> None:
        self._free()
        if not thread.cancelled():
            thread.exception()  # was told to whoever waits; nobody may be left


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
