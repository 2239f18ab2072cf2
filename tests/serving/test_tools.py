"""What agents send to the tools, and how long the answers are."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from serving.tools import picture, shortened
from tests.truth import SCENE

PICTURE = base64.b64encode(SCENE.read_bytes()).decode()
URL = f"data:image/png;base64,{PICTURE}"
ADDRESS = "https://example.org/cat.jpg"
LONG = "x" * 500_000
LONGEST = 600
"""The largest number of characters in an answer that is an error."""


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (URL, URL),
        (PICTURE, URL),
        (PICTURE.rstrip("="), URL),
        (base64.encodebytes(SCENE.read_bytes()).decode(), URL),
        ({"url": PICTURE}, URL),
        ({"path": PICTURE}, URL),
        ({"path": URL, "url": None}, URL),
        (ADDRESS, ADDRESS),
        ({"url": ADDRESS, "meta": {"_type": "gradio.FileData"}}, ADDRESS),
        ("http://" + "a" * 2000, None),
        ("cat.jpg", None),
        (LONG, None),
        ("", None),
        (None, None),
        (7, None),
        ([URL], None),
        ({}, None),
        ({"path": 7}, None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_picture_is_taken_in_each_way_that_agents_send_it(image: object, expected: str | None) -> None:
    assert picture(image) == expected


def test_the_middle_of_a_long_error_is_left_out() -> None:
    assert shortened("a" * 250) == "a" * 250
    assert shortened("a" * 200 + "b" * 200) == "a" * 150 + " … " + "b" * 100


# -------------------------------------------------------------------------- through the running app


@pytest.fixture(scope="module")
def ask(server: str) -> Iterator[Callable[[dict[str, Any]], str]]:
    """Sends a message to the app as an agent does, and returns the text of the answer."""
    headers = {"Accept": "application/json, text/event-stream"}
    with httpx.Client(timeout=30, headers=headers) as http:
        yield lambda body: http.post(f"{server}gradio_api/mcp/", json=body).text


def call(arguments: Any, name: str = "detect_objects") -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@pytest.mark.parametrize("image", [PICTURE, {"url": PICTURE}, {"path": URL}], ids=lambda v: str(v)[:20])
def test_an_agents_picture_in_base64_is_looked_at(image: object, ask: Callable[..., str]) -> None:
    answer = json.loads(ask(call({"image": image})).partition("data: ")[2])["result"]
    assert not answer["isError"] and json.loads(answer["content"][0]["text"])["counts"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (call({"image": LONG}), "image: expected a web address such as"),
        (call({"image": [LONG]}), "image: expected a web address such as"),
        (call({"image": "http://" + LONG}), "image: expected a web address such as"),
        (call({"image": f"data:image/png;base64,{LONG}"}), "not a picture that can be read"),
        (call({"image": URL, "score_threshold": LONG}), "is not of type 'number'"),
        (call({"image": URL, "classes": LONG}), "Input validation error"),
        (call({"image": URL, "classes": [LONG]}), "classes: there is no category"),
        (call({"image": URL, LONG: 1}), "view API"),
        (call({LONG: 1}), "'image' is a required property"),
        (call({}, "x" * 200), "There is no tool"),
        (call({}, LONG), "name: expected at most 200 characters"),
        (call(LONG), "Invalid request parameters"),
        ({"jsonrpc": "2.0", "id": LONG, "method": "ping"}, "id: expected at most 200 characters"),
        ({"jsonrpc": "2.0", "id": 1, "method": LONG}, "method: expected at most 200 characters"),
        ({"id": 1, "method": "ping", "x": LONG}, "does not understand this request"),
        (
            {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": f"x://{LONG}"}},
            "uri: expected at most 200 characters",
        ),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_an_agents_error_is_short_whatever_it_sent(
    message: dict[str, Any], words: str, ask: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(message)
    assert words in answer and len(answer) <= LONGEST
    assert not any(LONG[:200] in record.getMessage() for record in caplog.records)
