"""Sessions: limits how much Gradio remembers of its visitors, and for how long.

`Sessions` replaces Gradio's own store of sessions. Gradio's store makes a new session for each call without a
session. If there are too many sessions, Gradio's store drops the oldest one, even if it holds a visitor's
result. `forget` drops the answers that nobody read and the names of all files. Gradio keeps both for ever.
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
"""The form of the name that Gradio makes up if a call names no session. Pages and clients use other forms."""
SHARED = "calls without a session"


def named(session_hash: object) -> str:
    """Returns the session's name, or `SHARED` for a name that Gradio made up for a call without a session."""
    return SHARED if OF_A_CALL.fullmatch(str(session_hash)) else str(session_hash)


class Sessions(StateHolder):
    """Keeps Gradio's sessions. Drops sessions without a visitor's result before sessions with a result."""

    def __getitem__(self, session_id: str) -> SessionState:
        return super().__getitem__(named(session_id))

    def update(self, session_id: str) -> None:
        """Marks a session as the last one used. Drops a session if there are more than `capacity`."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            if len(self.session_data) > self.capacity:
                empty = (
                    id for id, state in self.session_data.items() if id != session_id and not _result(state)
                )
                self._forget(next(empty, next(iter(self.session_data))))

    def forget_unused(self, seconds: float) -> None:
        """Drops the sessions that were not used for `seconds`, with everything that they hold."""
        with self.lock:
            since = datetime.now() - timedelta(seconds=seconds)
            for id, used in list(self.time_last_used.items()):
                if used < since:
                    self._forget(id)

    def _forget(self, id: str) -> None:
        self.session_data.pop(id, None)
        self.time_last_used.pop(id, None)


class Unread:
    """Limits how long Gradio keeps answers that nobody reads, and the ids of the requests they belong to."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self._blocks = blocks
        self._idle_since: dict[str, float] = {}

    def forget(self, seconds: float) -> None:
        """Drops the answers to sessions that had no request in progress for `seconds`."""
        queue, now = self._blocks._queue, time.monotonic()
        busy = {event.session_hash for event in list(queue.event_ids_to_events.values())}
        known = {*queue.pending_messages_per_session, *queue.pending_event_ids_session}
        self._idle_since = {id: self._idle_since.get(id, now) for id in known - busy}
        for id, since in self._idle_since.items():
            if since <= now - seconds:
                queue.pending_messages_per_session.pop(id, None)
                queue.pending_event_ids_session.pop(id, None)


def take_over(blocks: gr.Blocks, app: Any) -> None:
    """Replaces Gradio's sessions with `Sessions`.

    Args:
        blocks: The page.
        app: Gradio's web app for `blocks`, while it starts.
    """
    app.state_holder = Sessions()
    app.state_holder.set_blocks(blocks)


def is_event(blocks: gr.Blocks, id: str) -> bool:
    """Returns whether there is a call with this id whose answer can be fetched."""
    queue = blocks._queue
    unread = list(queue.pending_event_ids_session.values())
    return id in queue.event_ids_to_events or any(id in ids for ids in unread)


def is_session(blocks: gr.Blocks, name: str) -> bool:
    """Returns whether there is a session with this name that waits for answers."""
    return name in blocks._queue.pending_messages_per_session


def forget(blocks: gr.Blocks, unread: Unread, unused_seconds: float, unread_seconds: float) -> None:
    """Drops old sessions, old answers that nobody read, and the names of all files.

    Args:
        blocks: The page.
        unread: The unread answers of `blocks`.
        unused_seconds: A session is dropped if it was not used for this time.
        unread_seconds: An answer is dropped if its session had no request in progress for this time.
    """
    if isinstance(blocks.state_holder, Sessions):  # False until the app has started
        blocks.state_holder.forget_unused(unused_seconds)
        unread.forget(unread_seconds)
    for names in blocks.temp_file_sets:
        names.clear()


def _result(state: SessionState) -> bool:
    """Returns whether a session has a result, or the token of one (`ui.page.Run`, `ui.film.Film`)."""
    values = list(state.state_data.values())
    return any(isinstance(value, Result) or hasattr(value, "token") for value in values)
