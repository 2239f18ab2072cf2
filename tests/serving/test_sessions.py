"""The sessions and unread answers that Gradio keeps, alone and in the running app."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file

from inference import SegmentationModel
from serving import sessions
from serving.models import Models
from serving.sessions import SHARED, Sessions, Unread
from tests import server
from tests.calls import call
from tests.samples import make_detections, make_result
from tests.server import running
from tests.serving.test_service import wait_for
from tests.truth import SCENE

KEPT = make_result(make_detections([[0, 0, 9, 9]]))


class Blocks:
    """A stand-in for an app with one gr.State."""

    state_session_capacity = 3

    def __init__(self) -> None:
        with gr.Blocks() as blocks:
            self.state = gr.State(None)
        self.default_config, self.blocks = blocks.default_config, blocks.blocks
        self.state_holder: Any = None


@pytest.fixture
def blocks() -> Blocks:
    return Blocks()


@pytest.fixture
def holder(blocks: Blocks) -> Sessions:
    holder = Sessions()
    holder.set_blocks(blocks)  # type: ignore[arg-type]
    return holder


def test_sessions_without_a_result_give_way_first(holder: Sessions, blocks: Blocks) -> None:
    holder["first"][blocks.state._id] = KEPT
    for name in ("a", "b", "c", "d", "e"):
        holder[name]
    assert list(holder.session_data) == ["first", "d", "e"]
    assert holder["first"][blocks.state._id] is KEPT


def test_where_all_hold_results_the_one_that_was_not_used_for_longest_goes(
    holder: Sessions, blocks: Blocks
) -> None:
    for name in ("a", "b", "c"):
        holder[name][blocks.state._id] = KEPT
    holder["a"]
    holder["d"][blocks.state._id] = KEPT
    assert list(holder.session_data) == ["c", "a", "d"]
    assert holder.time_last_used.keys() == holder.session_data.keys()


def test_all_calls_without_a_session_share_one(holder: Sessions) -> None:
    ids = [f"{i:032x}" for i in range(9)]
    assert len({id(holder[name]) for name in ids}) == 1
    assert list(holder.session_data) == [SHARED]
    assert sessions.named("9k2jd0a1b3c") == "9k2jd0a1b3c"  # a name such as Gradio's page makes


def test_a_session_is_dropped_whole_when_it_was_not_used_for_so_long(
    holder: Sessions, blocks: Blocks
) -> None:
    for name in ("old", "used"):
        holder[name][blocks.state._id] = KEPT
        holder.time_last_used[name] = datetime.now() - timedelta(hours=2)
    holder["used"]
    holder.forget_unused(3600)
    assert list(holder.session_data) == list(holder.time_last_used) == ["used"]


def test_a_call_is_known_until_its_answer_is_read_and_a_session_while_it_waits() -> None:
    class Queue:
        event_ids_to_events = {"runs": None}
        pending_event_ids_session = {"session": {"runs", "ended"}}
        pending_messages_per_session = {"session": None}

    class App:
        _queue = Queue()

    for id, known in (("runs", True), ("ended", True), ("read", False), ("session", False)):
        assert sessions.is_event(App(), id) == known  # type: ignore[arg-type]
    for name, known in (("session", True), ("runs", False), ("", False)):
        assert sessions.is_session(App(), name) == known  # type: ignore[arg-type]


def test_calls_of_programs_push_no_visitors_result_out_and_leave_nothing_behind(
    scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[gr.Blocks] = []
    create = server.create_demo

    def create_and_keep(models: Models) -> gr.Blocks:
        built.append(create(models))
        return built[0]

    monkeypatch.setattr(server, "create_demo", create_and_keep)
    with running(scenes_model) as url, httpx.Client(timeout=20) as http:
        (blocks,) = built
        assert isinstance(blocks.state_holder, Sessions)
        client = Client(url, verbose=False)
        client.predict(image=handle_file(SCENE), api_name="/segment")
        before = set(blocks.state_holder.session_data)
        for _ in range(30):
            assert "no picture was sent" in call(url, "segment", {"image": {"path": ""}}, http).sentence
        assert set(blocks.state_holder.session_data) - before == {SHARED}
        unread, queue = Unread(blocks), blocks._queue
        assert len(queue.pending_event_ids_session) >= 30
        wait_for(lambda: not queue.event_ids_to_events)
        unread.forget(0)
        assert not queue.pending_event_ids_session and not queue.pending_messages_per_session
        assert client.predict(image=handle_file(SCENE), api_name="/segment")["instances"]


def test_an_answer_that_waits_is_kept_for_its_time(
    scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Queue:
        event_ids_to_events: dict[str, Any] = {}
        pending_messages_per_session = {"reader": "an answer"}
        pending_event_ids_session = {"reader": {"event"}}

    class App:
        _queue = Queue()

    now = [0.0]
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now[0])
    unread = Unread(App())  # type: ignore[arg-type]
    for now[0] in (0.0, 599.0):
        unread.forget(600)
        assert App._queue.pending_messages_per_session
    now[0] = 601.0
    unread.forget(600)
    assert not App._queue.pending_messages_per_session and not App._queue.pending_event_ids_session
