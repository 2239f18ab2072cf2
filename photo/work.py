"""Work: what a decoding process does with one request, and how requests and answers look.

Requests and answers are JSON (`photo.messages`). Pixels go through a file that both processes map into their
memory. The picture's file and this file come as open files, or as paths on systems that cannot send open
files. A picture is one request and one answer. A clip is a talk: its first answer holds its facts, and each
further answer a few frames, which are decoded while the app still works on the frames before.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import mmap
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from photo import decoder, fence, video
from photo.content import Content
from photo.errors import ImageError, too_much_memory
from photo.messages import LENGTH, MAX_MESSAGE, RECEIVED, packed

Wish = Callable[[], dict[str, Any] | None]
"""Waits for the app's next message about a clip. None: the app needs nothing more."""


def _read_photo(content: Content, room: memoryview, request: dict[str, Any]) -> dict[str, Any]:
    side = request["longest_side"]
    side = float("inf") if side is None else side
    if content[8:12] == b"WEBP":
        # To read its header, Pillow asks calloc for two pictures' worth of memory, which it may never use.
        fence.fill_fresh_memory(False)
    found = decoder.decode(content, side, room, lambda: fence.fill_fresh_memory(True))
    return {
        "shape": found.shape,
        "size": found.size,
        "format": found.format,
        "animated": found.animated,
        "notes": found.notes,
    }


def _read_clip(
    content: Content, room: memoryview, request: dict[str, Any], wish: Wish
) -> Iterator[dict[str, Any]]:
    """Yields the facts of a clip, and then a group of frames for each wish of the app.

    The room holds two groups. One of them is decoded while the app works on the other.
    """
    clip = video.Video(content, request["longest_side"], request["seconds"])
    yield {"shape": clip.shape, **clip.facts._asdict()}
    wanted = wish()
    if wanted is None:
        return
    count, group, is_first = wanted["count"], 0, True
    frames = clip.frames(wanted["stride"], lambda: fence.allow_processor(fence.PROCESSOR_SECONDS))
    size = 3 * clip.shape[0] * clip.shape[1]
    while True:
        told = []
        for k, frame in enumerate(itertools.islice(frames, count)):
            at = (group * count + k) * size
            room[at : at + size] = np.ascontiguousarray(frame.pixels).data.cast("B")
            told.append((frame.number, frame.seconds))
        if not is_first and wish() is None:
            return
        yield {"frames": told, "ended": len(told) < count, "notes": clip.notes}
        group, is_first = 1 - group, False


KINDS: dict[str, Callable[[Content, memoryview, dict[str, Any]], dict[str, Any]]] = {"photo": _read_photo}


def _own_picture() -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (128, 128)).save(picture, "JPEG")
    return picture.getvalue()


OWN_PICTURE = _own_picture()


def answer(content: Content, room: memoryview, request: dict[str, Any]) -> dict[str, Any]:
    """Returns what a request asks for, or {"refused": sentence}, or a bug of ours: {"fault", "where"}."""
    try:
        return KINDS[request["kind"]](content, room, request)
    except Exception as error:
        return _told(error, "picture")


def talk(content: Content, room: memoryview, request: dict[str, Any], wish: Wish) -> Iterator[dict[str, Any]]:
    """Yields the answers of a talk about a clip, one for the request and one for each wish."""
    try:
        yield from _read_clip(content, room, request, wish)
    except Exception as error:
        yield _told(error, "clip")


def _told(error: Exception, what: str) -> dict[str, Any]:
    if isinstance(error, ImageError):
        return {"refused": str(error)}
    if isinstance(error, MemoryError):
        return {"refused": str(too_much_memory(what))}
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return {"fault": f"{type(error).__name__}: {error}"[:500], "where": where[-20:]}


def warm_up() -> None:
    """Reads a small picture of our own, so that the decoder's pages are in memory when a stranger's comes."""
    decoder.decode(OWN_PICTURE, 64, memoryview(bytearray(3 * 64 * 64)))


def serve_one(connection: socket.socket) -> None:
    """Answers one request, or all of a talk, that comes with the file and the shared memory as open files."""
    message, files, _, _ = socket.recv_fds(connection, MAX_MESSAGE, 2)
    if len(files) != 2:  # the app has ended
        return
    with _mapped(files[0], mmap.ACCESS_READ) as content, _mapped(files[1], mmap.ACCESS_WRITE) as room:
        fence.close_files()
        request = json.loads(message[LENGTH.size :])
        if request["kind"] == "clip":
            for reply in talk(content, memoryview(room), request, lambda: _next_wish(connection)):
                connection.sendall(packed(reply))
            return
        reply = answer(content, memoryview(room), request)
        connection.sendall(packed(reply))  # before the maps are closed, which takes a moment


def _next_wish(connection: socket.socket) -> dict[str, Any] | None:
    """Waits for the app's next message. The clock stands still, because the app may work on other things."""
    fence.stop_clock()
    message = connection.recv(MAX_MESSAGE)
    fence.start_clock()
    fence.allow_processor(fence.PROCESSOR_SECONDS)
    return json.loads(message[LENGTH.size :]) if message else None


def serve_forever(requests: IO[bytes], out: IO[bytes]) -> None:
    """Answers requests that name both files by path, until there are no more."""
    for line in requests:
        out.write(RECEIVED)
        out.flush()
        request = json.loads(line)
        content = Path(request["file"]).read_bytes()
        with Path(request["room"]).open("r+b") as shared, _mapped(shared.fileno(), mmap.ACCESS_WRITE) as room:
            if request["kind"] == "clip":

                def wish() -> dict[str, Any] | None:
                    line = requests.readline()
                    return json.loads(line) if line else None

                replies = talk(content, memoryview(room), request, wish)
            else:
                replies = iter([answer(content, memoryview(room), request)])
            for reply in replies:
                out.write(packed(reply))
                out.flush()


@contextlib.contextmanager
def _mapped(descriptor: int, access: int) -> Iterator[mmap.mmap]:
    mapped = mmap.mmap(descriptor, 0, access=access)
    yield mapped
    with contextlib.suppress(BufferError):  # an error's traceback may still hold an array
        mapped.close()
