"""Runs the decoding server with children that do what a file says, for the tests of its client.

    python -m tests.photo.odd_server SOCKET

A file that starts with "{" is a JSON object with one of these keys. All other files are read as usual.
    signal  the child sends itself this signal, and goes on when it was stopped and continues
    exit    the child ends with this status
    hang    the child waits for ever
    reply   the child's answer
    bytes   the child's answer, byte by byte, in hexadecimal digits
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

from photo import server, work
from photo.content import Content
from photo.messages import packed

read_as_usual, talk_as_usual = work.answer, work.talk


def answer(content: Content, room: memoryview, request: dict[str, Any]) -> dict[str, Any]:
    if content[:1] != b"{":
        return read_as_usual(content, room, request)
    wish = json.loads(content[:])
    if "signal" in wish:
        os.kill(os.getpid(), wish["signal"])
    if "exit" in wish:
        os._exit(wish["exit"])
    while "hang" in wish:
        signal.pause()
    return wish


def talk(
    content: Content, room: memoryview, request: dict[str, Any], wish: work.Wish
) -> Iterator[dict[str, Any]]:
    if content[:1] == b"{":
        yield answer(content, room, request)
    else:
        yield from talk_as_usual(content, room, request, wish)


def packed_as_wished(message: dict[str, Any]) -> bytes:
    if "bytes" in message:
        return bytes.fromhex(message["bytes"])
    return packed(message.get("reply", message))


if __name__ == "__main__":
    setattr(work, "answer", answer)  # noqa: B010
    setattr(work, "talk", talk)  # noqa: B010
    setattr(work, "packed", packed_as_wished)  # noqa: B010
    server.main()
