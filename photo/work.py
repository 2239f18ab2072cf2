"""Work: what a decoding process does with one request, and how requests and answers look.

Requests and answers are JSON (`photo.messages`). Pixels go through a file that both processes map into their
memory. The picture's file and this file come as open files, or as paths on systems that cannot send open
files. Another kind of work (video) is one more entry in `KINDS`.
"""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from PIL import Image

from photo import decoder, fence
from photo.content import Content
from photo.errors import ImageError, too_much_memory
from photo.messages import LENGTH, MAX_MESSAGE, RECEIVED, packed


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
    except ImageError as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"refused": str(too_much_memory())}
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        return {"fault": f"{type(error).__name__}: {error}"[:500], "where": where[-20:]}


def warm_up() -> None:
    """Reads a small picture of our own, so that the decoder's pages are in memory when a stranger's comes."""
    decoder.decode(OWN_PICTURE, 64, memoryview(bytearray(3 * 64 * 64)))


def serve_one(connection: socket.socket) -> None:
    """Answers one request that comes with the picture and the shared file as open files."""
    message, files, _, _ = socket.recv_fds(connection, MAX_MESSAGE, 2)
    if len(files) != 2:  # the app has ended
        return
    with _mapped(files[0], mmap.ACCESS_READ) as content, _mapped(files[1], mmap.ACCESS_WRITE) as room:
        fence.close_files()
        reply = answer(content, memoryview(room), json.loads(message[LENGTH.size :]))
        connection.sendall(packed(reply))  # before the maps are closed, which takes a moment


def serve_forever(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answers requests that name both files by path, until there are no more."""
    for line in requests:
        answers.write(RECEIVED)
        answers.flush()
        request = json.loads(line)
        with Path(request["room"]).open("r+b") as shared, _mapped(shared.fileno(), mmap.ACCESS_WRITE) as room:
            reply = answer(Path(request["file"]).read_bytes(), memoryview(room), request)
        answers.write(packed(reply))
        answers.flush()


@contextlib.contextmanager
def _mapped(descriptor: int, access: int) -> Iterator[mmap.mmap]:
    mapped = mmap.mmap(descriptor, 0, access=access)
    yield mapped
    with contextlib.suppress(BufferError):  # an error's traceback may still hold an array
        mapped.close()
