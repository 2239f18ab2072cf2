"""The guard in front of an app that records what reaches it, and in front of the real app.

The file is long because its tests share the calls to one guarded app.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from gradio.route_utils import GradioMultiPartParser
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from photo.limits import MAX_FILE_BYTES, MAX_MANY_BYTES
from serving import disk, guard
from serving.disk import Disk
from serving.guard import AGENT_BYTES, ENVELOPE_BYTES, FRAME_BYTES, INSTANT_BYTES, JSON_BYTES, Guard
from tests.loops import in_a_loop
from tests.server import running
from tests.truth import SCENE

JSON_PATH = "/gradio_api/queue/join"
UPLOAD_PATH = "/gradio_api/upload"


class Inner:
    """A stand-in for Gradio that reads the body, records it, and answers "through"."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.begun = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        self.bodies.append(await Request(scope, receive).body())
        await PlainTextResponse("through")(scope, receive, send)


async def ask(
    app: Any,
    method: str = "GET",
    path: str = "/",
    pieces: Iterable[bytes] = (b"",),
    headers: dict[str, str] | None = None,
    whole: bool = True,
    **scope: Any,
) -> Any:
    """Sends a request to `app` and returns the status, headers and text of its response.

    Args:
        app: The ASGI app.
        method: The HTTP method.
        path: The path of the request.
        pieces: The body in the pieces in which it arrives.
        headers: The request's headers.
        whole: Whether the last piece ends the body. If not, the client disconnects after it.
        scope: More values of the ASGI scope.
    """
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1]["more_body"] = not whole
    left = iter(messages)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(left, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    full = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b""} | scope
    await app(full, receive, send)
    assert [m["type"] for m in sent].count("http.response.start") == 1
    return SimpleNamespace(
        status=sent[0]["status"],
        headers={name.decode(): value.decode() for name, value in sent[0]["headers"]},
        text=b"".join(message.get("body", b"") for message in sent[1:]).decode(),
        pieces_left=len(list(left)),
    )


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def door(inner: Inner, tmp_path: Path) -> Callable[..., Any]:
    """Returns a function that sends a request to a guard in front of `inner`, with the arguments of `ask`."""
    app = Guard(inner, lambda name, named, body: body.get("fault"), Disk(tmp_path))

    def door(*args: Any, **options: Any) -> Any:
        answers: list[Any] = []

        async def test() -> None:
            answers.append(await ask(app, *args, **options))

        in_a_loop(test())
        return answers[0]

    return door


def multipart(*parts: tuple[str, bytes]) -> tuple[dict[str, str], bytes]:
    """Returns the headers and the body of a multipart request.

    Args:
        parts: For each part, the end of its Content-Disposition and its content.
    """
    body = b"".join(
        f"--edge\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    return {"Content-Type": "multipart/form-data; boundary=edge"}, body + b"--edge--\r\n"


FILE = 'name="files"; filename="cat.jpg"'


def in_pieces(body: bytes, size: int = 65_536) -> list[bytes]:
    """Cuts a body into pieces of `size` bytes."""
    return [body[at : at + size] for at in range(0, len(body), size)]


@pytest.mark.parametrize(
    "path",
    [
        "/", "/config", "/theme.css", "/favicon.ico", "/assets/index.js", "/static/img/logo.svg",
        "/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/heartbeat/abc123",
        "/gradio_api/queue/data", "/gradio_api/call/segment/0123abcd", "/gradio_api/call/v2/segment/0123abcd",
        "/gradio_api/file=/tmp/photos/abc/cat.jpg", "/gradio_api/upload_progress", "/gradio_api/mcp/schema",
    ],
)  # fmt: skip
def test_what_the_page_and_clients_read_is_open(path: str, door: Callable[..., Any]) -> None:
    assert door("GET", path).text == "through"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
        ("GET", "/monitoring/abc"),
        ("GET", "/gradio_api/deep_link"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/vibe-code"),
        ("GET", "/gradio_api/dev/reload"),
        ("GET", "/gradio_api/token"),
        ("GET", "/gradio_api/proxy=https://example.org/"),
        ("GET", "/gradio_api/file=https://example.org/cat.jpg"),
        ("GET", "/gradio_api/file=HTTP://example.org/cat.jpg"),
        ("GET", "/gradio_api/file=file:///etc/passwd"),
        ("GET", "/gradio_api/custom_component/a/client/b/c"),
        ("GET", "/svelte/x"),
        ("GET", "/docs"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/run/segment"),
        ("POST", "/gradio_api/api/predict"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/stream/abc"),
        ("POST", "/gradio_api/upload/x"),
        ("POST", "/login"),
        ("POST", "/"),
        ("PUT", "/gradio_api/upload"),
        ("DELETE", "/config"),
        ("PATCH", "/gradio_api/queue/join"),
        ("GET", "/gradio_api/mcp/sse"),
        ("POST", "/gradio_api/mcp/messages/"),
        ("DELETE", "/gradio_api/mcp/"),
    ],
)
def test_everything_else_is_closed(method: str, path: str, door: Callable[..., Any], inner: Inner) -> None:
    answer = door(method, path, [b"{}"])
    assert answer.status == 404 and inner.begun == 0


@pytest.mark.parametrize("path", ["/live", "/live/stop"])
def test_the_apps_own_page_may_send_the_frames_of_a_camera(
    path: str, door: Callable[..., Any], inner: Inner
) -> None:
    for headers in ({}, {"Host": "photos.example", "Origin": "http://photos.example"}):
        assert door("POST", path, [b"a fra", b"me"], headers).text == "through"
        assert inner.bodies.pop() == b"a frame"
    answer = door("POST", path, [b"a frame"], {"Host": "photos.example", "Origin": "http://other.example"})
    assert answer.status == 403 and inner.bodies == []
    assert "Only the page of this app" in answer.text
    assert door("GET", path).status == 404


def test_a_frame_is_read_up_to_its_limit(door: Callable[..., Any], inner: Inner) -> None:
    assert door("POST", "/live", in_pieces(bytes(FRAME_BYTES))).text == "through"
    inner.bodies.clear()
    for pieces, headers in (
        (in_pieces(bytes(FRAME_BYTES + 1)), {}),
        ([b"a frame"], {"Content-Length": str(FRAME_BYTES + 1)}),
    ):
        answer = door("POST", "/live", pieces, headers)
        assert answer.status == 413 and "at most 512 kB" in answer.text
    assert inner.bodies == []


def test_behind_a_proxy_the_paths_below_its_prefix_count(door: Callable[..., Any]) -> None:
    assert door("GET", "/prefix/config", root_path="/prefix").text == "through"
    assert door("GET", "/prefix/monitoring", root_path="/prefix").status == 404


def test_a_websocket_is_not_served(inner: Inner, tmp_path: Path) -> None:
    async def test() -> None:
        await Guard(inner, lambda *args: None, Disk(tmp_path))({"type": "websocket", "path": "/"}, None, None)  # type: ignore[arg-type]

    in_a_loop(test())
    assert inner.begun == 0


def test_json_reaches_the_app_as_it_was_sent(door: Callable[..., Any], inner: Inner) -> None:
    body = json.dumps({"data": ["föö", 1]}).encode()
    assert door("POST", JSON_PATH, in_pieces(body, 3)).text == "through"
    assert inner.bodies == [body]


@pytest.mark.parametrize("stated", [True, False], ids=["stated length", "chunked, without a length"])
@pytest.mark.parametrize("excess", [0, 1])
def test_json_is_read_up_to_a_megabyte(
    excess: int, stated: bool, door: Callable[..., Any], inner: Inner
) -> None:
    body = b'{"a": "' + b"x" * (JSON_BYTES + excess - 9) + b'"}'
    headers = {"Content-Length": str(len(body))} if stated else {}
    answer = door("POST", JSON_PATH, in_pieces(body), headers)
    if excess:
        assert (answer.status, inner.begun) == (413, 0)
        assert "at most 1 MB" in json.loads(answer.text)["detail"]
    else:
        assert answer.text == "through" and inner.bodies == [body]


def test_a_length_that_lies_does_not_help(door: Callable[..., Any], inner: Inner) -> None:
    body = b'{"a": "' + b"x" * JSON_BYTES + b'"}'
    assert door("POST", JSON_PATH, in_pieces(body), {"Content-Length": "10"}).status == 413
    assert door("POST", JSON_PATH, in_pieces(body), {"Content-Length": "-1"}).status == 413
    assert inner.begun == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"7", b"null", b"\xff\xfe", b"[" * 2000, b'{"a": NaN'])
def test_what_is_no_json_object_is_said_to_be_none(
    body: bytes, door: Callable[..., Any], inner: Inner
) -> None:
    answer = door("POST", JSON_PATH, [body])
    assert answer.status == 400 and "JSON" in json.loads(answer.text)["detail"]
    assert inner.begun == 0


def test_the_call_of_an_endpoint_is_checked_before_it_goes_on(door: Callable[..., Any], inner: Inner) -> None:
    answer = door("POST", "/gradio_api/call/v2/segment", [b'{"fault": "no such argument"}'])
    assert (answer.status, json.loads(answer.text)) == (400, {"detail": "no such argument"})
    assert inner.begun == 0
    assert door("POST", "/gradio_api/call/segment", [b'{"data": []}']).text == "through"


def test_an_upload_of_one_file_goes_through(door: Callable[..., Any], inner: Inner) -> None:
    headers, body = multipart((FILE, b"\xff\xd8 picture"))
    assert door("POST", UPLOAD_PATH, in_pieces(body, 7), headers).text == "through"
    assert inner.bodies == [body]


def test_a_zip_may_be_as_large_as_many_photos(
    door: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MAX_FILE_BYTES", 20_000)
    monkeypatch.setattr(guard, "MAX_MANY_BYTES", 3 * 2**20)

    def answer(size: int) -> Any:
        headers, body = multipart((FILE, b"PK\3\4".ljust(size, b"\0")))
        return door("POST", UPLOAD_PATH, in_pieces(body, 7000), headers)

    assert answer(3 * 2**20).status == 200
    assert answer(3 * 2**20 + ENVELOPE_BYTES).text == "This is too large: at most 3 MB are taken here."


def test_a_clip_may_be_larger_than_a_photo(door: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_FILE_BYTES", 20_000)
    monkeypatch.setattr(guard, "MAX_CLIP_BYTES", 2 * 2**20)
    starts = {"clip": b"\0\0\0\x18ftypisom", "photo": b"\0\0\0\x18ftypavif", "text": b"x"}

    def answer(kind: str, size: int) -> Any:
        headers, body = multipart((FILE, starts[kind].ljust(size, b"\0")))
        return door("POST", UPLOAD_PATH, in_pieces(body, 7000), headers)

    assert answer("clip", 2 * 2**20).status == 200
    assert (
        answer("clip", 2 * 2**20 + ENVELOPE_BYTES).text == "This is too large: at most 2 MB are taken here."
    )
    assert answer("photo", 20_000).status == 200
    assert [answer(kind, 20_001).status for kind in ("photo", "text")] == [413, 413]


@pytest.mark.parametrize("stated", [True, False], ids=["stated length", "chunked, without a length"])
def test_an_upload_over_the_limit_is_refused_unless_it_fits(
    stated: bool, door: Callable[..., Any], inner: Inner
) -> None:
    for excess, status in ((0, 200), (ENVELOPE_BYTES, 413)):
        headers, body = multipart((FILE, bytes(MAX_FILE_BYTES + excess)))
        headers |= {"Content-Length": str(len(body))} if stated else {}
        answer = door("POST", UPLOAD_PATH, in_pieces(body, 2**20), headers)
        assert answer.status == status
    assert answer.text == "This is too large: at most 25 MB are taken here."
    assert stated or answer.pieces_left <= 1  # the guard does not wait for the rest


@pytest.mark.parametrize("field", ['name="files"', 'name="other"', 'name="other"; filename="a.jpg"', "x=y"])
def test_fields_that_are_no_file_are_refused_before_they_are_read(
    field: str, door: Callable[..., Any], inner: Inner
) -> None:
    for parts in ([(field, bytes(2**20))], [(FILE, b"picture"), (field, b"x")]):
        headers, body = multipart(*parts)
        answer = door("POST", UPLOAD_PATH, in_pieces(body, 2**16), headers)
        assert answer.status == 400 and answer.text.startswith("Expected one file")
    assert inner.bodies == []


def test_an_upload_without_any_part_is_refused(door: Callable[..., Any]) -> None:
    headers, body = multipart()
    assert door("POST", UPLOAD_PATH, [body], headers).status == 400


def test_more_values_than_anything_here_holds_are_refused_unparsed(
    door: Callable[..., Any], inner: Inner
) -> None:
    for body in (b"[" + b"[]," * 5000 + b"1]", b"[" * 6000, b'{"data": [' + b"1," * 5000 + b"1]}"):
        answer = door("POST", JSON_PATH, [body])
        assert answer.status == 400 and "more than 5000 values" in answer.text
    assert inner.begun == 0


@pytest.mark.parametrize("key", ["session_hash", "event_id"])
def test_a_name_that_gradio_would_keep_is_short(key: str, door: Callable[..., Any], inner: Inner) -> None:
    assert door("POST", JSON_PATH, [json.dumps({key: "x" * 64}).encode()]).text == "through"
    answer = door("POST", JSON_PATH, [json.dumps({key: "x" * 65}).encode()])
    assert answer.status == 400 and "at most 64 characters" in answer.text
    assert inner.begun == 1


def test_an_instant_event_carries_no_pictures(door: Callable[..., Any]) -> None:
    for size, status in ((INSTANT_BYTES - 100, 200), (INSTANT_BYTES, 413)):
        body = json.dumps({"data": ["x" * size]}).encode()
        assert door("POST", "/gradio_api/run/predict", in_pieces(body)).status == status


def test_a_long_address_is_refused(door: Callable[..., Any]) -> None:
    assert door("GET", "/gradio_api/file=/" + "x" * 3000).status == 414
    assert door("GET", "/gradio_api/upload_progress", query_string=b"upload_id=" + b"x" * 3000).status == 414


def test_the_call_of_an_agent_may_hold_a_picture_and_is_json(door: Callable[..., Any], inner: Inner) -> None:
    body = b'{"image": "' + b"x" * (AGENT_BYTES - 13) + b'"}'
    assert door("POST", "/gradio_api/mcp/", in_pieces(body)).text == "through"
    assert door("POST", "/gradio_api/mcp/", [*in_pieces(body), b" "]).status == 413
    assert door("POST", "/gradio_api/mcp/", [b"[" * 2000]).status == 400
    assert inner.begun == 1


def headers_passed_on(folder: Path, *args: Any, **options: Any) -> list[Any]:
    """Returns the headers that the app behind a guard sees."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        await PlainTextResponse("through")(scope, receive, send)

    async def test() -> None:
        await ask(Guard(app, lambda *args: None, Disk(folder)), *args, **options)

    in_a_loop(test())
    return seen


def test_an_agent_waits_in_the_line_of_its_own_address(tmp_path: Path) -> None:
    """Gradio calls itself with the headers of the agent's call, and trusts the headers of its own calls."""
    forged = {"X-Forwarded-For": "1.2.3.4", "Accept": "text/event-stream"}
    call = ("POST", "/gradio_api/mcp", [b"{}"], forged)
    seen = headers_passed_on(tmp_path, *call, client=("203.0.113.9", 5000))
    assert seen == [(b"accept", b"text/event-stream"), (b"x-forwarded-for", b"203.0.113.9")]


def test_ranges_are_not_asked_of_gradio(tmp_path: Path) -> None:
    headers = {"Range": "bytes=0-3-4", "Accept": "image/*"}
    seen = headers_passed_on(tmp_path, path="/gradio_api/file=/a", headers=headers)
    assert seen == [(b"accept", b"image/*")]


def test_the_room_for_an_upload_is_reserved_while_it_arrives(
    inner: Inner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, seen = Disk(tmp_path), []
    real = guard._Body.receive

    async def receive(self: Any) -> Any:
        seen.append(sum(reservation.size for reservation in room._reservations))
        return await real(self)

    monkeypatch.setattr(guard._Body, "receive", receive)
    headers, body = multipart((FILE, bytes(1000)))

    async def test() -> None:
        for stated in (True, False):
            more = {"Content-Length": str(len(body))} if stated else {}
            await ask(Guard(inner, lambda *args: None, room), "POST", UPLOAD_PATH, [body], headers | more)

    in_a_loop(test())
    assert seen == [len(body), MAX_MANY_BYTES + ENVELOPE_BYTES] and not room._reservations


def test_one_file_is_taken_and_no_more(door: Callable[..., Any]) -> None:
    headers, body = multipart((FILE, b"one"), (FILE.replace("cat", "dog"), b"two"))
    answer = door("POST", UPLOAD_PATH, in_pieces(body, 11), headers)
    assert (answer.status, answer.text) == (413, "Please send one picture at a time.")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("", b"x"),
        ("application/json", b"{}"),
        ("multipart/form-data", b"--edge\r\n"),
        ("multipart/form-data; boundary=edge", b"no edge at all"),
        ("multipart/form-data; boundary=edge", b"--edge\r\nno colon in this header\r\n\r\nx"),
        ("multipart/form-data; boundary=" + "e" * 257, b"--" + b"e" * 257 + b"--\r\n"),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_what_is_no_upload_is_said_to_be_none(kind: str, body: bytes, door: Callable[..., Any]) -> None:
    answer = door("POST", UPLOAD_PATH, [body], {"Content-Type": kind})
    assert answer.status == 400 and answer.text.startswith("Expected one file")


def test_a_full_disk_takes_no_upload(door: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**20))
    headers, body = multipart((FILE, b"picture"))
    answer = door("POST", UPLOAD_PATH, [body], headers)
    assert (answer.status, answer.text) == (
        507,
        "The server's disk is full. Please try again in a few minutes.",
    )


@pytest.mark.parametrize("path", [JSON_PATH, UPLOAD_PATH])
def test_a_body_that_does_not_arrive_is_given_up(
    path: str, inner: Inner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(guard, "REST_SECONDS", 0.05)
    headers, body = multipart((FILE, b"picture"))
    sent: list[dict[str, Any]] = []
    pieces = [{"type": "http.request", "body": body[:9], "more_body": True}]

    async def receive() -> dict[str, Any]:
        if pieces:
            return pieces.pop()
        await asyncio.Event().wait()  # the rest never comes
        return {}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": raw, "query_string": b""}

    async def test() -> None:
        await Guard(inner, lambda *args: None, Disk(tmp_path))(scope, receive, send)  # type: ignore[arg-type]

    in_a_loop(test())
    assert sent[0]["status"] == 408 and inner.bodies == []


@pytest.mark.parametrize("how", ["too large", "broken off"])
def test_gradios_parser_leaves_no_file_of_an_upload_that_was_refused(how: str, tmp_path: Path) -> None:
    async def parse(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        parser = GradioMultiPartParser(
            request.headers, request.stream(), upload_dir=tmp_path, max_file_size=2**40
        )
        await parser.parse()
        await PlainTextResponse("through")(scope, receive, send)

    headers, body = multipart((FILE, bytes(3 * 2**20)))
    pieces = in_pieces(body, 2**20)
    pieces = [pieces[0], *[bytes(2**20)] * 30] if how == "too large" else pieces[:2]
    answers: list[Any] = []

    async def test() -> None:
        door = Guard(parse, lambda *args: None, Disk(tmp_path))
        answers.append(await ask(door, "POST", UPLOAD_PATH, pieces, headers, whole=False))

    in_a_loop(test())
    assert answers[0].status == (413 if how == "too large" else 400)
    assert list(tmp_path.iterdir()) == []


END_MARK = b"--edge--\r\n"
BROKEN_UPLOADS = {
    "without its end mark": multipart((FILE, b"picture"))[1].removesuffix(END_MARK),
    "with a second part in place of its end mark": multipart((FILE, b"x"))[1].replace(
        END_MARK, b"--edge\r\n"
    ),
    "with a field after a file in one header": multipart(
        (f'{FILE}\r\nContent-Disposition: form-data; name="files"', b"picture")
    )[1],
    "with a file after a field in one header": multipart(
        ('name="files"\r\ncontent-disposition: form-data; filename="a"', b"picture")
    )[1],
}
"""Multipart bodies that Gradio answers with status 500, or takes for empty ones."""


@pytest.mark.parametrize("pieces", [7, 10_000])
@pytest.mark.parametrize("kind", BROKEN_UPLOADS)
def test_a_broken_upload_is_said_to_be_none(kind: str, pieces: int, door: Callable[..., Any]) -> None:
    headers, _ = multipart()
    answer = door("POST", UPLOAD_PATH, in_pieces(BROKEN_UPLOADS[kind], pieces), headers)
    assert answer.status == 400 and answer.text.startswith("Expected one file")


class Sender:
    """A client that sends pieces without end, and notes what it gets while it sends."""

    def __init__(self, first: list[bytes], then: Callable[[], bytes | None]) -> None:
        self.first, self.then = first, then
        self.sent, self.got = 0, []

    async def receive(self) -> dict[str, Any]:
        piece = self.first.pop(0) if self.first else self.then()
        if piece is None:
            await asyncio.Event().wait()
        self.sent += len(piece or b"")
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(self, message: dict[str, Any]) -> None:
        self.got.append((message, self.sent))


@pytest.mark.parametrize("path", [JSON_PATH, UPLOAD_PATH, "/nothing/here"])
@pytest.mark.parametrize("end", ["by its size", "by time"])
def test_the_rest_of_a_refused_body_is_read_for_a_moment_behind_the_answer(
    end: str, path: str, inner: Inner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "REST_SECONDS", 0.1 if end == "by time" else 60)
    monkeypatch.setattr(guard, "REST_BYTES", 2**22)
    piece = bytes(2**16)
    sender = Sender([piece] * 20, lambda: piece if end == "by its size" else None)
    headers = multipart()[0] | {"Content-Length": str(2**30)}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": raw, "query_string": b""}
    in_a_loop(Guard(inner, lambda *args: None, Disk(tmp_path))(scope, sender.receive, sender.send))  # type: ignore[arg-type]
    (start, _), (content, sent_before), (last, sent_after) = sender.got
    assert start["status"] in (404, 413) and content["body"] and sent_before == 0
    assert (b"connection", b"close") in start["headers"]
    assert last == {"type": "http.response.body", "body": b"", "more_body": False}
    assert sent_after == (2**22 if end == "by its size" else 20 * 2**16)


def test_what_gradio_does_not_know_is_answered_before_gradio(
    inner: Inner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = Guard(
        inner, lambda *args: None, Disk(tmp_path), is_event=["there"].count, is_session=["there"].count
    )

    async def test() -> None:
        for path in ("/gradio_api/call/segment/", "/gradio_api/call/v2/segment/"):
            assert (await ask(app, path=f"{path}there")).text == "through"
            answer = await ask(app, path=f"{path}gone")
            assert answer.status == 404
            assert json.loads(answer.text)["detail"].startswith("There is no call with this id")
        path = "/gradio_api/queue/data"
        assert (await ask(app, path=path, query_string=b"session_hash=there")).text == "through"
        assert (await ask(app, path=path)).text == "through"
        answer = await ask(app, path=path, query_string=b"session_hash=gone")
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert json.loads(answer.text.removeprefix("data: "))["session_not_found"] is True

    in_a_loop(test())


@pytest.mark.parametrize("length", [1000, 1001])
@pytest.mark.parametrize("status", [200, 404, 422, 500])
def test_a_long_error_of_gradios_becomes_a_short_sentence(status: int, length: int, tmp_path: Path) -> None:
    async def repeat(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * 600, "more_body": True})
        await send({"type": "http.response.body", "body": b"x" * (length - 600)})

    async def test() -> None:
        answer = await ask(Guard(repeat, lambda *args: None, Disk(tmp_path)))
        assert answer.status == status
        if status == 200 or length == 1000:
            assert answer.text == "x" * length
        else:
            assert json.loads(answer.text) == {"detail": "The server does not understand this request."}
        assert answer.headers["content-length"] == str(len(answer.text))

    in_a_loop(test())


@pytest.mark.parametrize(
    "message",
    [
        {"id": "x" * 201},
        {"method": "x" * 201},
        {"params": {"name": "x" * 201}},
        {"params": {"uri": "x" * 201}},
        {"params": {"_meta": {"progressToken": "x" * 201}}},
        {"id": [["x"] * 100]},
    ],
    ids=lambda message: str(message)[:30],
)
def test_a_name_that_an_agent_would_get_back_is_short(
    message: dict[str, Any], door: Callable[..., Any], inner: Inner
) -> None:
    answer = door("POST", "/gradio_api/mcp/", [json.dumps(message).encode()])
    assert answer.status == 400 and "at most 200 characters" in answer.text and inner.begun == 0
    good = {"id": "x" * 200, "method": "ping", "params": {"name": "x", "_meta": None}}
    for body in (good, {"params": []}, {"params": {"arguments": {"image": "x" * 10_000}}}):
        assert door("POST", "/gradio_api/mcp/", [json.dumps(body).encode()]).text == "through"


def test_every_answer_carries_the_security_headers(door: Callable[..., Any]) -> None:
    for answer in (door(), door("GET", "/closed"), door("POST", JSON_PATH, [b"?"])):
        for name, value in guard.SECURITY_HEADERS.items():
            assert answer.headers[name.lower()] == value


def test_an_owner_can_name_sites_that_may_frame_the_page() -> None:
    named = guard.framers(
        "https://example.org http://localhost:8000 * javascript:x https://a.b;script-src x'y"
    )
    assert named == f"'self' {guard.HUB} https://example.org http://localhost:8000"
    assert guard.framers("") == f"'self' {guard.HUB}"


def test_the_page_may_be_framed_by_its_hub_and_by_nobody_else(door: Callable[..., Any]) -> None:
    headers = door().headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["frame-ancestors"].split() == [
        "'self'",
        "https://huggingface.co",
        "https://*.huggingface.co",
        "https://*.hf.space",
    ]
    assert "x-frame-options" not in headers  # this header cannot hold a list of hosts


# -------------------------------------------------------------------------- in front of the real app


@pytest.fixture
def connection(server: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=20)
    yield connection
    connection.close()


def test_a_chunked_body_without_end_is_cut_off(server: str) -> None:
    host, port = urlsplit(server).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(f"POST {JSON_PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        try:
            while sent < 20 * JSON_BYTES:
                client.sendall(b"10000\r\n" + bytes(65_536) + b"\r\n")
                sent += 65_536
                client.settimeout(0.0001)
                try:
                    answer = client.recv(100)
                    break
                except (TimeoutError, BlockingIOError):
                    client.settimeout(20)
        except ConnectionError:
            answer = client.recv(100)
    assert answer.startswith(b"HTTP/1.1 413") and sent < 10 * JSON_BYTES


@pytest.mark.parametrize("path", [JSON_PATH, UPLOAD_PATH])
def test_a_client_that_sends_everything_before_it_reads_gets_the_refusal(path: str, server: str) -> None:
    """The body is larger than the buffers of both sockets together."""
    host, port = urlsplit(server).netloc.split(":")
    size = 40 * 2**20
    kind = "multipart/form-data; boundary=edge"
    with socket.create_connection((host, int(port)), timeout=20) as client:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
        part = '--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        client.sendall(head.encode() + part.encode())
        for _ in range(size // 2**20):
            client.sendall(bytes(2**20))
        answer = b"".join(iter(lambda: client.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 413") and b"This is too large" in answer


@pytest.mark.parametrize("kind", BROKEN_UPLOADS)
def test_a_broken_upload_is_no_fault_of_the_running_app(kind: str, server: str) -> None:
    answer = httpx.post(
        f"{server}gradio_api/upload", content=BROKEN_UPLOADS[kind], headers=multipart()[0], timeout=20
    )
    assert answer.status_code == 400 and answer.text.startswith("Expected one file")


@pytest.mark.parametrize("path", ["call/segment/nothing", "queue/data?session_hash=nothing"])
def test_an_unknown_name_leaves_no_line_in_the_log(
    path: str, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = httpx.get(f"{server}gradio_api/{path}", timeout=20)
    assert answer.status_code == (404 if "call" in path else 200)
    assert [record for record in caplog.records if record.name != "httpx"] == []


@pytest.mark.parametrize(
    "path", ["monitoring", "monitoring/summary", "gradio_api/deep_link", "gradio_api/file=http://127.0.0.1/"]
)
def test_gradios_side_routes_are_closed(path: str, server: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(server + path)


def test_no_queued_function_runs_outside_the_line(server: str) -> None:
    config = json.load(urllib.request.urlopen(server + "config"))
    queued = {d["id"]: d["inputs"] for d in config["dependencies"] if d["queue"]}
    assert queued
    for id, inputs in queued.items():
        body = json.dumps({"fn_index": id, "data": [None] * len(inputs), "session_hash": "x"}).encode()
        request = urllib.request.Request(
            f"{server}gradio_api/run/predict", body, {"Content-Type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(request)


def test_an_upload_through_the_running_app_is_capped(connection: http.client.HTTPConnection) -> None:
    headers, body = multipart((FILE, SCENE.read_bytes()))
    connection.request("POST", UPLOAD_PATH, body, headers)
    answer = connection.getresponse()
    assert answer.status == 200
    (path,) = json.load(answer)
    assert Path(path).read_bytes() == SCENE.read_bytes()
    headers, body = multipart(('name="files"', bytes(MAX_FILE_BYTES // 2)))
    try:
        connection.request("POST", UPLOAD_PATH, body, headers)
    except ConnectionError:
        """The server closes the connection while the client still sends. The answer has already arrived."""
    answer = connection.getresponse()
    assert answer.status == 400


def test_the_page_works_below_a_proxys_prefix(scenes_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/photos")
    with running(scenes_model) as url:
        for path in ("config", "gradio_api/info", ""):
            with urllib.request.urlopen(url.replace("/photos", "") + path) as answer:
                assert answer.status == 200
