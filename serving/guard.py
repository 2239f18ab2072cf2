"""Guard: checks requests before Gradio sees them and adds security headers to responses.

The guard is ASGI middleware. Only the routes that the page and the API use are open. The guard limits a body
by the bytes that arrive, not by the length that its header claims. It reads a JSON body completely before
anything acts on the body. If it refuses a body that still arrives, it sends its answer and reads on for a
moment, because many clients read no answer until they have sent everything.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from photo.formats import CLIP_START, clip_format, is_zip
from photo.limits import MAX_CLIP_BYTES, MAX_FILE_BYTES, MAX_MANY_BYTES
from serving import origins
from serving.disk import FULL, MEGABYTE, Disk, DiskFull

JSON_BYTES = MEGABYTE
INSTANT_BYTES = 256 * 1024
"""The limit for the page's instant events, which carry settings and corrections, and no pictures."""
FRAME_BYTES = 512 * 1024
"""The limit for a frame of a camera. A JPEG of 640x480 pixels has about 60 kB."""
AGENT_BYTES = 8 * MEGABYTE
"""The limit for an agent's call, which may hold a photo as base64."""
ENVELOPE_BYTES = 16 * 1024
"""The bytes that a multipart body may hold in addition to its one file."""
JSON_VALUES = 5000
"""The limit for the values in one body. Gradio reads them all several times, and all visitors wait then."""
ADDRESS_LENGTH = 2000
"""The limit for a path with its query, in characters."""
SESSION_LENGTH = 64
"""The limit for the name of a session or event, in characters. Clients choose it, and Gradio keeps it."""
NAME_LENGTH = 200
"""The limit for a name in an agent's message, in characters."""
BOUNDARY_LENGTH = 256
"""The limit for the boundary of a multipart body, in characters. RFC 2046 allows 70."""
BODY_SECONDS = 300.0
"""The longest time that a body may take to arrive."""
REST_SECONDS, REST_BYTES = 2.0, 128 * MEGABYTE
"""The rest of a refused body is read for this time, and up to this size."""
ERROR_BYTES = 1000
"""An error of Gradio's that is longer is replaced. Gradio repeats what a client sent, at any length."""

READ_ROUTES = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/openapi\.json|/pwa_icon"
    r"|/(static|assets)(/[^/]{1,100})+"
    r"|/gradio_api/(info/?|openapi\.json|app_id/?|startup-events|theme\.css|upload_progress"
    r"|heartbeat/[^/]+|queue/((?P<session>data)|status)|call/(v2/)?\w+/(?P<event>\w+)"
    r"|file=(?!\w+:).+|mcp(/schema)?/?)"
)
"""Paths that may be read.

The pattern leaves out three kinds of paths that Gradio has routes for. Gradio's file route would also fetch
web addresses for anybody who asks. Gradio fails at names that are longer than a file's name can be. Gradio
also fails at `pwa_icon` with a size, because Gradio cannot resize our icon.
"""
JSON_ROUTES = re.compile(
    r"/gradio_api/((?P<event>queue/join|(?P<instant>run/predict/?))|(?P<mcp>mcp/?)|cancel|reset/?"
    r"|call/(?P<v2>v2/)?(?P<name>\w+)/?)"
)
"""Paths that take JSON. `run/predict` serves instant events; `api_open=False` closes it to other events."""
UPLOAD_ROUTE = "/gradio_api/upload"
LIVE_ROUTE, LIVE_STOP_ROUTE = "/live", "/live/stop"
"""Paths that take a camera's frames, and the word that no more come. For the app's own page only."""

HUB = "https://huggingface.co https://*.huggingface.co https://*.hf.space"
"""The hosts that may show the page in a frame and add a header to it. A Space's page on the hub does both."""
FRAMES_VARIABLE = "SEGMENTATION_FRAMES"
"""The environment variable with the owner's other sites that may show the page in a frame."""


def framers(text: str) -> str:
    """Returns the sites that may show the page in a frame: its own, the hub, and those in `text`.

    Args:
        text: Origins such as "https://example.org", separated by spaces. Everything else is left out.
    """
    origin = re.compile(r"https?://[\w.-]+(:\d+)?", re.ASCII)
    return " ".join(["'self'", HUB, *filter(origin.fullmatch, text.split())])


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    # Gradio's page starts from inline scripts, and builds the scripts of components with `new Function`.
    "Content-Security-Policy": (
        f"default-src 'self' {HUB}; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        f"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob: {HUB}; media-src 'self' data: blob:; "
        f"connect-src 'self' data: blob: {HUB}; worker-src 'self' blob:; font-src 'self' data:; "
        f"object-src 'none'; base-uri 'self'; form-action 'self'; "
        f"frame-ancestors {framers(os.environ.get(FRAMES_VARIABLE, ''))}"
    ),
}

UNKNOWN_SESSION = {
    "msg": "unexpected_error",
    "event_id": None,
    "message": "404: Not Found",
    "session_not_found": True,
    "success": False,
}
"""The message with which Gradio tells its clients that there is no such session."""

Check = Callable[[str | None, bool, Any], str | None]


class Guard:
    """Passes the requests that the page and the API need on to the app, and refuses all others.

    Args:
        app: The ASGI app behind the guard.
        check: Returns a sentence that says what is wrong with the JSON of a call, or None. Its arguments are
            the endpoint's name, whether the call names its arguments (version 2 of the route), and the JSON.
            The name is None if the call gives the function's number instead, as the page does.
        disk: The room for uploads.
        is_event: Returns whether there is a call with this id whose answer can be fetched.
        is_session: Returns whether there is a session with this name that waits for answers.
    """

    def __init__(
        self,
        app: ASGIApp,
        check: Check,
        disk: Disk,
        is_event: Callable[[str], bool] = lambda id: True,
        is_session: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self._app, self.check, self.disk = app, check, disk
        self.is_event, self.is_session = is_event, is_session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":  # none of our routes serves a websocket
            await self._serve(scope, receive, _with_headers(scope, send))

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on to Gradio. Replaces Gradio's answer if it is a long error."""
        await self._app(scope, receive, _without_long_errors(send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"].removeprefix(scope.get("root_path", "")), scope["method"]
        if len(path) + len(scope["query_string"]) > ADDRESS_LENGTH:
            await _refuse(_RefusedError(414, "This address is too long.").response(), scope, receive, send)
        elif origins.is_preflight(scope):
            await PlainTextResponse("OK")(scope, receive, send)
        elif method in ("GET", "HEAD", "OPTIONS") and (route := READ_ROUTES.fullmatch(path)):
            answer = self._unknown(route, scope)
            await (answer or self.app)(_without_ranges(scope), receive, send)
        elif method == "POST" and path == UPLOAD_ROUTE:
            await self._upload(scope, receive, send)
        elif method == "POST" and (route := JSON_ROUTES.fullmatch(path)):
            await self._json(route, scope, receive, send)
        elif method == "POST" and path in (LIVE_ROUTE, LIVE_STOP_ROUTE):
            await self._frame(scope, receive, send)
        else:
            await _refuse(_nothing(close=method == "POST"), scope, receive, send)

    async def _frame(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the app read a frame when it is whole, if the app's own page sends it."""
        body = _Body(receive, FRAME_BYTES)
        content = bytearray()
        try:
            if not origins.is_own(scope):
                raise _RefusedError(403, "Only the page of this app may send the pictures of a camera.")
            _check_declared(scope, FRAME_BYTES)
            while not body.complete:
                content += (await body.receive()).get("body", b"")
        except _RefusedError as refused:
            await _refuse(refused.response(), scope, body.rest, send)
            return
        await self.app(scope, _replay(content, receive), send)

    def _unknown(self, route: re.Match[str], scope: Scope) -> Response | None:
        """Returns the answer if a request asks for something that does not exist, and None otherwise.

        Gradio would begin a stream in these cases, break it off, and write a traceback into the log.
        """
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if "page" in query:  # there is only one page, and Gradio fails at other names
            return _nothing()
        if scope["method"] != "GET":
            return None
        if (event := route["event"]) and not self.is_event(event):
            sentence = "There is no call with this id, or its answer was fetched already."
            return JSONResponse({"detail": sentence}, 404)
        if route["session"] and "session_hash" in query and not self.is_session(query["session_hash"]):
            return Response(f"data: {json.dumps(UNKNOWN_SESSION)}\n\n", media_type="text/event-stream")
        return None

    async def _json(self, route: re.Match[str], scope: Scope, receive: Receive, send: Send) -> None:
        limit = INSTANT_BYTES if route["instant"] else AGENT_BYTES if route["mcp"] else JSON_BYTES
        body = _Body(receive, limit)
        content = bytearray()
        try:
            _check_declared(scope, limit)
            while not body.complete:
                content += (await body.receive()).get("body", b"")
            fault = self._fault(route, content)
        except _RefusedError as refused:
            await _refuse(refused.response(), scope, body.rest, send)
            return
        if fault:
            await JSONResponse({"detail": fault}, 400)(scope, receive, send)
            return
        if route["mcp"]:
            scope = _forwarded(scope)
        await self.app(scope, _replay(content, receive), send)

    def _fault(self, route: re.Match[str], content: bytearray) -> str | None:
        if sum(content.count(mark) for mark in b",[{") > JSON_VALUES:
            return f"The body holds more than {JSON_VALUES} values."
        try:
            value = json.loads(content)
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return "The body holds half a character (a lone surrogate), which is no text."
        except (ValueError, RecursionError):
            return "The body is not JSON."
        if not isinstance(value, dict):
            return "The body must be a JSON object."
        for key in ("session_hash", "event_id"):
            if len(str(value.get(key, ""))) > SESSION_LENGTH:
                return f"{key}: expected at most {SESSION_LENGTH} characters."
        if route["mcp"]:
            return _long_name(value)
        if route["name"] or route["event"]:
            return self.check(route["name"], bool(route["v2"]), value)
        return None

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = max(MAX_FILE_BYTES, MAX_CLIP_BYTES, MAX_MANY_BYTES) + ENVELOPE_BYTES
        try:
            size = _check_declared(scope, limit)
            parts = _Parts(Headers(scope=scope).get("content-type", ""), size)
            try:  # not in this thread, because it may have to search for files to delete
                room = await asyncio.to_thread(self.disk.reserve, size or limit)
            except DiskFull as error:
                raise _RefusedError(507, FULL) from error
        except _RefusedError as refused:
            await _refuse(refused.response(plain=True), scope, receive, send)
            return
        try:
            await self._limited(_Body(receive, limit, parts.write, parts.end), scope, send)
        finally:
            self.disk.release(room)

    async def _limited(self, body: _Body, scope: Scope, send: Send) -> None:
        """Lets the app read a body piece by piece. Answers in place of the app if the body breaks a rule."""
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if body.refused is None or started:
                started = True
                await send(message)

        try:
            await self.app(scope, body.receive_for_parser, answer)
        except MultiPartException:
            if body.refused is None:
                raise
        if body.refused and not started:
            await _refuse(body.refused.response(plain=True), scope, body.rest, send)


class _RefusedError(Exception):
    """The request is refused; the guard sends this sentence in place of the app's response."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence

    def response(self, plain: bool = False) -> Response:
        """Returns the response as JSON, or as plain text for a person.

        Gradio's page shows the response to a refused upload as it is.
        """
        headers = {"Connection": "close"}  # the client need not send the rest of the body
        if plain:
            return PlainTextResponse(self.sentence, self.status, headers)
        return JSONResponse({"detail": self.sentence}, self.status, headers)


class _Body:
    """Reads a request's body, and limits its size and the time until it is complete.

    Args:
        receive: The ASGI function that returns the next message.
        limit: The largest size in bytes.
        watch: A function that gets each piece of the body. It raises `_RefusedError` to refuse the body.
        end: A function that is called after the last piece. It raises `_RefusedError` to refuse the body.
    """

    def __init__(
        self,
        receive: Receive,
        limit: int,
        watch: Callable[[bytes], None] = lambda piece: None,
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self._receive, self._limit, self._watch, self._ended = receive, limit, watch, end
        self._bytes = 0
        self._end = asyncio.get_running_loop().time() + BODY_SECONDS
        self.complete = False
        self.refused: _RefusedError | None = None

    async def receive(self) -> Message:
        """Returns the next message.

        Raises:
            _RefusedError: The body is too large, too slow or incomplete, or `watch` or `end` refuses it.
        """
        if self.complete:
            return await self._receive()  # comes when the client leaves, so no time limit applies
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError as error:
            raise _RefusedError(408, f"The data did not arrive within {BODY_SECONDS:.0f} seconds.") from error
        if message["type"] != "http.request":
            raise _RefusedError(400, "The data did not arrive whole.")
        piece = message.get("body", b"")
        self.complete = not message.get("more_body", False)
        self._bytes += len(piece)
        if self._bytes > self._limit:
            raise _too_large(self._limit)
        self._watch(piece)
        if self.complete:
            self._ended()
        return message

    async def receive_for_parser(self) -> Message:
        """Returns the next message as `receive` does, for Gradio's parser of multipart bodies.

        Raises:
            MultiPartException: The body is refused. The parser then deletes the files that it has begun.
        """
        try:
            return await self.receive()
        except _RefusedError as refused:
            self.refused = refused
            raise MultiPartException(refused.sentence) from refused

    async def rest(self) -> Message:
        """Returns the next message of a body that was refused. An empty one if the body is complete."""
        return {"type": "http.request"} if self.complete else await self._receive()


class _Parts:
    """Checks a multipart body while Gradio reads it.

    Gradio itself accepts many files in one body, and does not limit the size of fields that are not files.
    The first bytes tell how large a file may be: as large as a clip if they are those of a clip, as large as
    many photos if they are those of a ZIP, or else as large as a photo.

    Args:
        content_type: The value of this header.
        size: The size of the body that its header states. 0 if it states none.
    """

    def __init__(self, content_type: str, size: int = 0) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary or b"charset" in options:
            raise _no_upload()
        if len(boundary) > BOUNDARY_LENGTH:  # the parser's own limit differs from release to release
            raise _no_upload()
        self._files, self._is_whole = 0, False
        self._declared, self._size, self._start = size, 0, b""
        self._header, self._value = bytearray(), bytearray()
        self._dispositions: list[dict[bytes, bytes]] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._dispositions.clear,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    def write(self, piece: bytes) -> None:
        """Checks the next piece of the body.

        Raises:
            _RefusedError: The body holds anything other than one file in the field "files".
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _no_upload() from error

    def end(self) -> None:
        """Checks that the body has its end mark. Gradio takes a body without the mark for an empty one.

        Raises:
            _RefusedError: The mark is missing.
        """
        if not self._is_whole:
            raise _no_upload()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._dispositions.append(parse_options_header(bytes(self._value))[1])
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        if len(self._dispositions) != 1:  # of two, Gradio takes the last one
            raise _no_upload()
        (disposition,) = self._dispositions
        if disposition.get(b"name") != b"files" or b"filename" not in disposition:
            raise _no_upload()
        self._files += 1
        if self._files > 1:
            raise _RefusedError(413, "Please send one picture at a time.")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._start += data[start : min(end, start + CLIP_START - len(self._start))]
        self._size += end - start
        largest = max(self._size, self._declared - ENVELOPE_BYTES)
        is_told = len(self._start) >= CLIP_START or self._size > CLIP_START
        limit = MAX_CLIP_BYTES if clip_format(self._start) else MAX_FILE_BYTES
        limit = MAX_MANY_BYTES if is_zip(self._start) else limit
        if is_told and largest > limit:
            raise _too_large(limit)

    def _on_end(self) -> None:
        if not self._files:
            raise _no_upload()
        self._is_whole = True


def _replay(content: bytearray, receive: Receive) -> Receive:
    """Returns a function that gives a body that was read before, and then what `receive` gives."""
    whole: list[Message] = [{"type": "http.request", "body": bytes(content), "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay


def _no_upload() -> _RefusedError:
    return _RefusedError(400, 'Expected one file, in the field "files" of multipart/form-data.')


def _too_large(limit: int) -> _RefusedError:
    size = f"{limit // MEGABYTE} MB" if limit >= MEGABYTE else f"{limit // 1024} kB"
    return _RefusedError(413, f"This is too large: at most {size} are taken here.")


def _nothing(close: bool = False) -> Response:
    headers = {"Connection": "close"} if close else None
    return JSONResponse({"detail": "There is nothing here."}, 404, headers)


def _check_declared(scope: Scope, limit: int) -> int:
    """Returns the size of the body that the header states. 0 if there is no such header."""
    length = Headers(scope=scope).get("content-length", "0")
    if not length.isdecimal() or int(length) > limit:
        raise _too_large(limit)
    return int(length)


async def _refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Sends a whole response, reads the rest of the request's body for a moment, and ends the response.

    If the connection were closed at once, the client would get an error while it sends, and often never read
    the response. Nothing is read if the body is complete.
    """

    async def send_unended(message: Message) -> None:
        await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

    await response(scope, receive, send_unended)
    left = REST_BYTES
    try:
        async with asyncio.timeout(REST_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):  # the end, or the client has left
                    break
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _long_name(message: dict[str, Any]) -> str | None:
    """Returns a sentence if an agent's message holds a long name, or None. The answer repeats such names."""
    params = message.get("params")
    params = params if isinstance(params, dict) else {}
    meta = params.get("_meta")
    names = {key: message.get(key, "") for key in ("id", "method")}
    names |= {key: params.get(key, "") for key in ("name", "uri")}
    names["progressToken"] = meta.get("progressToken", "") if isinstance(meta, dict) else ""
    for key, name in names.items():
        if len(str(name)) > NAME_LENGTH:
            return f"{key}: expected at most {NAME_LENGTH} characters."
    return None


def _forwarded(scope: Scope) -> Scope:
    """Returns the scope with the client's address in the header "X-Forwarded-For", as a proxy would send it.

    Gradio calls itself for an agent, with the headers of the agent's call. Without this header all agents
    would share one address, and so one place in the line. An address that the agent wrote there is removed.
    """
    kept = [header for header in scope["headers"] if header[0] != b"x-forwarded-for"]
    client = scope.get("client") or ("",)
    return {**scope, "headers": [*kept, (b"x-forwarded-for", str(client[0]).encode())]}


def _without_ranges(scope: Scope) -> Scope:
    """Returns the scope without the header "Range", so that Gradio sends the whole file.

    Gradio fails at some ranges, and copies the headers of such a request into its response.
    """
    return {**scope, "headers": [header for header in scope["headers"] if header[0] != b"range"]}


def _with_headers(scope: Scope, send: Send) -> Send:
    """Returns `send` with the security headers, and with the CORS headers for the page that asks."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(SECURITY_HEADERS)
            origins.rewrite(headers, scope)
        await send(message)

    return send_with_headers


def _without_long_errors(send: Send) -> Send:
    """Returns `send` with a short sentence in place of each error that is longer than `ERROR_BYTES`."""
    start: Message | None = None
    content = bytearray()

    async def send_short(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start" and message["status"] >= 400:
            start = message
            return
        if start is None or message["type"] != "http.response.body":
            await send(message)
            return
        if len(content) <= ERROR_BYTES:
            content.extend(message.get("body", b""))
        if message.get("more_body", False):
            return
        if len(content) > ERROR_BYTES:
            short = JSONResponse({"detail": "The server does not understand this request."})
            start = {**start, "headers": short.raw_headers}
            content[:] = short.body
        await send(start)
        await send({"type": "http.response.body", "body": bytes(content), "more_body": False})

    return send_short
