"""Sessions: what Gradio remembers of visitors, kept within bounds.

Gradio makes a session for each call that names none, evicts the oldest one whatever it holds, and keeps for
ever the answers that nobody read and the names of all files.
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

from answer.result import Result

OF_A_CALL = re.compile("[0-9a-f]{32}")
"""The name that Gradio gives to the session of a call without one; pages and clients make other ones."""
SHARED = "calls without a session"


def named(session_hash: object) -> str:
    """The session of that name, or the one that all calls without a session share."""
    return SHARED if OF_A_CALL.fullmatch(str(session_hash)) else str(session_hash)


class Sessions(StateHolder):
    """Gradio's sessions. One that holds a visitor's result gives way only to others that do."""

    def __getitem__(self, session_id: str) -> SessionState:
        return super().__getitem__(named(session_id))

    def update(self, session_id: str) -> None:
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            if len(self.session_data) > self.capacity:
                empty = (
                    id for id, state in self.session_data.items() if id != session_id and not _result(state)
                )
                self._forget(next(empty, next(iter(self.session_data))))

    def forget_unused(self, seconds: float) -> None:
        """Drops sessions that were not used for so long, with all that they hold."""
        with self.lock:
            since = datetime.now() - timedelta(seconds=seconds)
            for id, used in list(self.time_last_used.items()):
                if used < since:
                    self._forget(id)

    def _forget(self, id: str) -> None:
        self.session_data.pop(id, None)
        self.time_last_used.pop(id, None)


class Unread:
    """The answers that wait to be read, and what Gradio notes of who reads them."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self._blocks = blocks
        self._idle_since: dict[str, float] = {}

    def forget(self, seconds: float) -> None:
        """Drops what belongs to no request that is under way, and did not so long ago either."""
        queue, now = self._blocks._queue, time.monotonic()
        busy = {event.session_hash for event in list(queue.event_ids_to_events.values())}
        known = {*queue.pending_messages_per_session, *queue.pending_event_ids_session}
        self._idle_since = {id: self._idle_since.get(id, now) for id in known - busy}
        for id, since in self._idle_since.items():
            if since <= now - seconds:
                queue.pending_messages_per_session.pop(id, None)
                queue.pending_event_ids_session.pop(id, None)


def take_over(blocks: gr.Blocks, app: Any) -> None:
    """Puts `Sessions` in the place of Gradio's; `app` is that of `blocks`, as it starts."""
    app.state_holder = Sessions()
    app.state_holder.set_blocks(blocks)


def forget(blocks: gr.Blocks, unread: Unread, unused_seconds: float, unread_seconds: float) -> None:
    """Drops what is too old of everything that Gradio remembers, and the names of all files."""
    if isinstance(blocks.state_holder, Sessions):  # not before the app has started
        blocks.state_holder.forget_unused(unused_seconds)
        unread.forget(unread_seconds)
    for names in blocks.temp_file_sets:
        names.clear()


def _result(state: SessionState) -> bool:
    return any(isinstance(value, Result) for value in list(state.state_data.values()))
