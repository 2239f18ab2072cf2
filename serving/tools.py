"""Tools: checks an agent's call of a tool before Gradio does, and keeps the text of an error short.

Agents send pictures in more ways than Gradio takes: as base64 without "data:", or as a JSON object. Gradio
would repeat such a picture in its error, and a megabyte of text would fill the agent's context.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr

from answer.settings import said
from photo.fetch import ADDRESS_LENGTH, is_bare_picture

BEGINNING, END = 150, 100
"""The number of characters at both ends of a long error that are kept."""
EXPECTED = {
    "image": "expected a web address such as https://example.org/photo.jpg, a data URL, or base64.",
    "video": "expected a web address such as https://example.org/clip.mp4, or a data URL.",
}
"""What a tool's argument should be that stands for a file."""


def take_over(blocks: gr.Blocks) -> None:
    """Puts the check before the tools that `blocks` offers to agents. Has no effect if it offers none."""
    offered = blocks.mcp_server_obj
    if offered is not None:
        handlers = offered.mcp_server.request_handlers
        kind = offered.types.CallToolRequest
        handlers[kind] = _checked(handlers[kind], offered)


def _checked(inner: Callable[[Any], Awaitable[Any]], offered: Any) -> Callable[[Any], Awaitable[Any]]:
    types = offered.types

    def refusal(sentence: str) -> Any:
        content = [types.TextContent(type="text", text=sentence)]
        return types.ServerResult(types.CallToolResult(content=content, isError=True))

    async def call(request: Any) -> Any:
        name, arguments = request.params.name, request.params.arguments or {}
        if name not in offered.tool_to_endpoint:
            tools = ", ".join(offered.tool_to_endpoint)
            return refusal(f"There is no tool {said(name)}. Expected one of: {tools}.")
        for argument in EXPECTED.keys() & arguments.keys():
            arguments[argument] = picture(arguments[argument])
            if arguments[argument] is None:
                return refusal(f"{argument}: {EXPECTED[argument]}")
        result = await inner(request)
        if result.root.isError:
            for part in result.root.content:
                part.text = shortened(part.text)
        return result

    return call


def picture(image: object) -> str | None:
    """Returns the picture that an agent sent as a web address or as a data URL. None if it is neither.

    Args:
        image: A web address, a data URL, a picture in base64, or a JSON object that holds one of them as
            "url" or "path".
    """
    if isinstance(image, dict):
        image = image.get("url") or image.get("path")
    if not isinstance(image, str):
        return None
    if is_bare_picture(image):
        text = "".join(image.split())
        return f"data:image/png;base64,{text}{'=' * (-len(text) % 4)}"  # the content tells the true format
    if image.startswith("data:"):
        return image
    is_address = image.startswith(("http://", "https://")) and len(image) <= ADDRESS_LENGTH
    return image if is_address else None


def shortened(text: str) -> str:
    """Returns `text` without its middle if `text` is long."""
    return text if len(text) <= BEGINNING + END else f"{text[:BEGINNING]} … {text[-END:]}"
