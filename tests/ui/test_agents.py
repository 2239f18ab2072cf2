from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult
from PIL import Image

from tests.conftest import ROOT
from tests.small_clips import moving_frames, write_clip
from ui.agents import TOOLS

SCENE = ROOT / "examples" / "scenes" / "scene-1.png"
PHOTO = "data:image/png;base64," + base64.b64encode(SCENE.read_bytes()).decode()

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask(server: str) -> Ask:
    """Calls a method of an MCP client that is connected to the app: `ask("call_tool", name, arguments)`."""

    async def ask_over_http(method: str, *arguments: Any) -> Any:
        async with (
            streamable_http_client(f"{server}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await getattr(session, method)(*arguments)

    return lambda method, *arguments: asyncio.run(ask_over_http(method, *arguments))


def text(answer: CallToolResult) -> str:
    return answer.content[0].text  # type: ignore[union-attr]


def test_three_tools_are_offered_and_nothing_else(ask: Ask, server: str) -> None:
    assert [tool.name for tool in ask("list_tools").tools] == [*TOOLS]
    assert ask("list_resources").resources == [] and ask("list_prompts").prompts == []
    schema = httpx.get(f"{server}gradio_api/mcp/schema").json()
    assert [tool["name"] for tool in schema] == [*TOOLS]


def test_the_schemas_say_in_whole_sentences_what_each_argument_is(ask: Ask) -> None:
    for tool in ask("list_tools").tools:
        what = "video" if tool.name == "track_objects" else "image"
        assert tool.inputSchema["required"] == [what]
        properties = tool.inputSchema["properties"]
        assert list(properties) == [what, "score_threshold", "classes", "detail"]
        assert properties["score_threshold"]["default"] == 0.5
        for about in properties.values():
            assert about["description"].endswith((".", "if null.")), about
        assert ("video" if what == "video" else "photo") in tool.description


def test_objects_are_told_as_short_json_in_pixels_of_the_photo(ask: Ask) -> None:
    answer = ask("call_tool", "detect_objects", {"image": PHOTO})
    assert not answer.isError and len(answer.content) == 1
    told = json.loads(text(answer))
    assert told["counts"]["umbrella"] == 3
    assert told["image_size"] == {"width": 512, "height": 384}
    assert sum(told["counts"].values()) == len(told["instances"])
    assert set(told["instances"][0]) == {"id", "category_name", "score", "bbox_xyxy", "area"}
    assert "is less accurate" in told["warnings"][0] and told["model"] == "scenes"
    assert len(text(answer)) < 200 * len(told["instances"]) + 500  # no masks


def test_threshold_and_kinds_are_heeded(ask: Ask) -> None:
    wanted = {"image": PHOTO, "classes": ["umbrella"], "score_threshold": 0.9}
    told = json.loads(text(ask("call_tool", "detect_objects", wanted)))
    assert told["counts"] == {"umbrella": 2}


def test_the_picture_comes_as_an_image(ask: Ask) -> None:
    answer = ask("call_tool", "draw_objects", {"image": PHOTO})
    assert answer.content[0].type == "image"
    with (
        Image.open(io.BytesIO(base64.b64decode(answer.content[0].data))) as drawn,
        Image.open(SCENE) as scene,
    ):
        assert drawn.size == scene.size
        assert drawn.convert("RGB").getpixel((100, 220)) != scene.convert("RGB").getpixel((100, 220))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"image": PHOTO, "classes": ["cats"]}, "there is no category 'cats'; did you mean cat"),
        ({"image": PHOTO, "score_threshold": 7}, "expected a number from 0 to 1, got 7"),
        ({"image": "http://127.0.0.1/photo.jpg"}, "public"),
        ({"image": "photo.jpg"}, "expected a web address"),
        ({}, "'image' is a required property"),
    ],
)
def test_a_wrong_argument_is_answered_by_a_sentence(
    ask: Ask, arguments: dict[str, Any], sentence: str
) -> None:
    answer = ask("call_tool", "detect_objects", arguments)
    assert answer.isError and sentence in text(answer)


def test_other_endpoints_are_no_tools(ask: Ask) -> None:
    answer = ask("call_tool", "segment", {"image": PHOTO})
    assert answer.isError and "There is no tool" in text(answer)


def test_objects_in_a_video_are_followed(ask: Ask, tmp_path: Path) -> None:
    clip = base64.b64encode(write_clip(tmp_path / "a.webm", moving_frames(3)).read_bytes()).decode()
    url = f"data:video/webm;base64,{clip}"
    told = json.loads(text(ask("call_tool", "track_objects", {"video": url})))
    assert set(told) == {"clip", "most_at_once", "tracks", "warnings", "model"}
    assert told["clip"]["frames_looked_at"] == 3 and told["clip"]["width"] == 64


def test_a_video_of_another_form_is_refused_with_what_is_expected(ask: Ask) -> None:
    answer = ask("call_tool", "track_objects", {"video": "clip.mp4"})
    assert answer.isError and text(answer).startswith("video: expected a web address")
