"""Guard: what reaches Gradio from outside, and what every answer says to browsers. ASGI middleware.

Only the routes that the page and the API use are open. A body is capped by what arrives, not by what its
header claims, and JSON is read whole before anything acts on it.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from photo.limits import MAX_FILE_BYTES

MEGABYTE = 1024 * 1024
JSON_BYTES = MEGABYTE
INSTANT_BYTES = 64 * 1024
"""Of the page's instant events, which carry settings and no pictures."""
AGENT_BYTES = 8 * MEGABYTE
"""Of an agent's call, which may hold a photo as base64."""
ENVELOPE_BYTES = 16 * 1024
"""What a multipart body may hold beside its one file."""
JSON_VALUES = 5000
"""In one body. Gradio walks through all of them, several times, and holds up everybody meanwhile."""
ADDRESS_LENGTH = 2000
"""Of a path with its query."""
SESSION_LENGTH = 64
"""Of the names that clients give to sessions and events, which Gradio keeps."""
BODY_SECONDS = 300.0
"""How long a body may take to arrive."""
SPARE_BYTES = 200 * MEGABYTE
"""Disk space below which no upload is taken."""

READ_ROUTES = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/openapi\.json|/pwa_icon"
    r"|/(static|assets)(/[^/]{1,100})+"
    r"|/gradio_api/(info/?|openapi\.json|app_id/?|startup-events|theme\.css|upload_progress"
    r"|heartbeat/[^/]+|queue/(data|status)|call/(v2/)?\w+/\w+|file=(?!\w+:).+|mcp(/schema)?/?)"
)
"""Paths that may be read. Gradio's file route would also fetch other addresses for whoever asks; names that
are longer than a file's are faults to it, and so is our icon at a size, which it has no way to make.
"""
JSON_ROUTES = re.compile(
    r"/gradio_api/((?P<event>queue/join|(?P<instant>run/predict/?))|(?P<mcp>mcp/?)|cancel|reset/?"
    r"|call/(?P<v2>v2/)?(?P<name>\w+)/?)"
)
"""Paths that take JSON. `run/predict` serves instant events; `api_open=False` keeps others off."""
UPLOAD_ROUTE = "/gradio_api/upload"

HUB = "https://huggingface.co https://*.huggingface.co https://*.hf.space"
"""Who may show the page in a frame, as a Space's own page on the hub does, and lend it a header."""
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    # Gradio's page starts from inline scripts, and builds components' own with `new Function`.
    "Content-Security-Policy": (
        f"default-src 'self' {HUB}; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        f"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob: {HUB}; media-src 'self' data: blob:; "
        f"connect-src 'self' data: blob: {HUB}; worker-src 'self' blob:; font-src 'self' data:; "
        f"object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self' {HUB}"
    ),
}

Check = Callable[[str | None, bool, Any], str | None]


class Guard:
    """Lets through what the page and the API need.

    Args:
        app: What is guarded.
        check: Says in a sentence what is wrong with the JSON of a call, None if nothing is. It is given the
            endpoint's name (None for a function by its number, as the page asks), whether arguments are
            named (version 2 of the route), and the JSON.
        folder: Where uploads are written.
    """

    def __init__(self, app: ASGIApp, check: Check, folder: Path) -> None:
        self.app, self.check, self.folder = app, check, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":  # a websocket is served by none of our routes
            await self._serve(scope, receive, _with_security_headers(send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"].removeprefix(scope.get("root_path", "")), scope["method"]
        if len(path) + len(scope["query_string"]) > ADDRESS_LENGTH:
            await JSONResponse({"detail": "This address is too long."}, 414)(scope, receive, send)
        elif method in ("GET", "HEAD", "OPTIONS") and READ_ROUTES.fullmatch(path) and not _other_page(scope):
            await self.app(_without_ranges(scope), receive, send)
        elif method == "POST" and path == UPLOAD_ROUTE:
            await self._upload(scope, receive, send)
        elif method == "POST" and (route := JSON_ROUTES.fullmatch(path)):
            await self._json(route, scope, receive, send)
        else:
            await JSONResponse({"detail": "There is nothing here."}, 404)(scope, receive, send)

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
            await refused.response()(scope, receive, send)
            return
        if fault:
            await JSONResponse({"detail": fault}, 400)(scope, receive, send)
            return
        if route["mcp"]:
            scope = _forwarded(scope)
        whole: list[Message] = [{"type": "http.request", "body": bytes(content), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, replay, send)

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
        if route["name"] or route["event"]:
            return self.check(route["name"], bool(route["v2"]), value)
        return None

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = MAX_FILE_BYTES + ENVELOPE_BYTES
        try:
            _check_declared(scope, limit)
            if shutil.disk_usage(self.folder if self.folder.exists() else ".").free < SPARE_BYTES:
                raise _RefusedError(507, "The server's disk is full. Please try again in a few minutes.")
            parts = _Parts(Headers(scope=scope).get("content-type", ""))
        except _RefusedError as refused:
            await refused.response(plain=True)(scope, receive, send)
            return
        await self._limited(_Body(receive, limit, parts.write), scope, send)

    async def _limited(self, body: _Body, scope: Scope, send: Send) -> None:
        """Lets the app read a body piece by piece; what it answers to one that broke the rules is ours."""
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
            await body.refused.response(plain=True)(scope, body.receive, send)


class _RefusedError(Exception):
    """What is sent instead of an answer of the app's."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence

    def response(self, plain: bool = False) -> Response:
        """For a person, whom Gradio's page shows an upload's answer as it is, or for a program."""
        headers = {"Connection": "close"}  # the rest of the body is not wanted
        if plain:
            return PlainTextResponse(self.sentence, self.status, headers)
        return JSONResponse({"detail": self.sentence}, self.status, headers)


class _Body:
    """A request's body as it arrives, counted and timed.

    Args:
        limit: In bytes.
        watch: Is given each piece, and may refuse it.
    """

    def __init__(
        self, receive: Receive, limit: int, watch: Callable[[bytes], None] = lambda piece: None
    ) -> None:
        self._receive, self._limit, self._watch = receive, limit, watch
        self._bytes = 0
        self._end = asyncio.get_running_loop().time() + BODY_SECONDS
        self.complete = False
        self.refused: _RefusedError | None = None

    async def receive(self) -> Message:
        """The next message.

        Raises:
            _RefusedError: The body is too large, too slow, broken off, or not what `watch` wants.
        """
        if self.complete:
            return await self._receive()  # the client's leaving, which may take as long as the answer
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError as error:
            raise _RefusedError(408, f"The data did not arrive within {BODY_SECONDS:.0f} seconds.") from error
        if message["type"] != "http.request":
            raise _RefusedError(400, "The data did not arrive whole.")
        piece = message.get("body", b"")
        self._bytes += len(piece)
        if self._bytes > self._limit:
            raise _too_large(self._limit)
        self._watch(piece)
        self.complete = not message.get("more_body", False)
        return message

    async def receive_for_parser(self) -> Message:
        """As `receive`; raises what makes Gradio's parser delete the files that it has begun."""
        try:
            return await self.receive()
        except _RefusedError as refused:
            self.refused = refused
            raise MultiPartException(refused.sentence) from refused


class _Parts:
    """Reads a multipart body along with Gradio, which sets no limit to files, nor to fields that are none."""

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary or b"charset" in options:
            raise _no_upload()
        self._files = 0
        self._header, self._value = bytearray(), bytearray()
        self._disposition: dict[bytes, bytes] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._disposition.clear,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_end": self._on_end,
            },
        )

    def write(self, piece: bytes) -> None:
        """Raises `_RefusedError` for anything but one file in the field "files"."""
        try:
            self._parser.write(piece)
        except MultipartParseError as error:
            raise _no_upload() from error

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition |= parse_options_header(bytes(self._value))[1]
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        if self._disposition.get(b"name") != b"files" or b"filename" not in self._disposition:
            raise _no_upload()
        self._files += 1
        if self._files > 1:
            raise _RefusedError(413, "Please send one picture at a time.")

    def _on_end(self) -> None:
        if not self._files:
            raise _no_upload()


def _no_upload() -> _RefusedError:
    return _RefusedError(400, 'Expected one file, in the field "files" of multipart/form-data.')


def _too_large(limit: int) -> _RefusedError:
    size = f"{limit // MEGABYTE} MB" if limit >= MEGABYTE else f"{limit // 1024} kB"
    return _RefusedError(413, f"This is too large: at most {size} are taken here.")


def _check_declared(scope: Scope, limit: int) -> None:
    length = Headers(scope=scope).get("content-length", "0")
    if not length.isdecimal() or int(length) > limit:
        raise _too_large(limit)


def _other_page(scope: Scope) -> bool:
    """There is one page; Gradio fails at names of others."""
    return "page" in dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


def _forwarded(scope: Scope) -> Scope:
    """As a proxy would pass it on: Gradio calls itself for an agent, with the headers of the agent's call."""
    kept = [header for header in scope["headers"] if header[0] != b"x-forwarded-for"]
    client = scope.get("client") or ("",)
    return {**scope, "headers": [*kept, (b"x-forwarded-for", str(client[0]).encode())]}


def _without_ranges(scope: Scope) -> Scope:
    """As if the whole file was asked for: Gradio fails on some ranges, and repeats the request's headers."""
    return {**scope, "headers": [header for header in scope["headers"] if header[0] != b"range"]}


def _with_security_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(SECURITY_HEADERS)
        await send(message)

    return send_with_headers
