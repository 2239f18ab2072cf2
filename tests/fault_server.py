"""Runs a file server on this machine with the faults that a test chooses."""

from __future__ import annotations

import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.patience import PATIENCE_SECONDS


@dataclass(frozen=True)
class Answer:
    """How the server answers one request. The defaults send the file without a fault."""

    status: int = 200
    body: bytes | None = None
    """The bytes to send instead of the file."""
    length: int | None = None
    """The Content-Length to state instead of the true length. 0 states no length."""
    ends_after: int | None = None
    """The number of bytes of the body after which the answer ends."""
    end: str = "close"
    """How the answer ends: "close", "reset" or "hang" (until the server stops)."""
    piece: int = 1 << 16
    """The number of bytes to send at once."""
    pause: float = 0.0
    """The seconds between two pieces."""
    ranges: bool = True
    """Whether the server honours a Range."""
    content_range: str | None = None
    """The Content-Range to state instead of the true one."""
    location: str | None = None
    """The address of a redirect."""


@dataclass
class FaultServer:
    """Serves `body` at every path.

    Each request uses up one of `answers`. The last answer stays for all further requests. `ranges` lists the
    Range of each request, or None for a request for the whole file.
    """

    body: bytes
    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    ranges: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        fault_server, self.sent, self.stopping = self, 0, threading.Event()
        self.has_sent = threading.Condition()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fault_server.ranges.append(self.headers["Range"])
                answers = fault_server.answers
                try:
                    fault_server.give(self, answers.pop(0) if len(answers) > 1 else answers[0])
                except ConnectionError:
                    """The client has gone."""

            def log_message(self, *args: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def wait_until_sent(self, count: int) -> None:
        """Waits until `count` bytes of bodies were sent in all."""
        with self.has_sent:
            assert self.has_sent.wait_for(lambda: self.sent >= count, PATIENCE_SECONDS)

    def stop(self) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()

    def give(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        body, status = self.body if answer.body is None else answer.body, answer.status
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
        content_range = None
        if asked and answer.ranges and status == 200:
            start = int(asked[1])
            status = 206 if start < len(body) else 416
            content_range = answer.content_range or f"bytes {start}-{len(body) - 1}/{len(body)}"
            body = body[start:] if status == 206 else b""
        handler.send_response(status)
        if answer.length != 0:
            handler.send_header("Content-Length", str(answer.length or len(body)))
        if status == 206:
            handler.send_header("Content-Range", str(content_range))
        if answer.location:
            handler.send_header("Location", answer.location)
        handler.end_headers()
        for at in range(0, len(body[: answer.ends_after]), answer.piece):
            piece = body[: answer.ends_after][at : at + answer.piece]
            handler.wfile.write(piece)
            with self.has_sent:
                self.sent += len(piece)
                self.has_sent.notify_all()
            if answer.pause:
                self.stopping.wait(answer.pause)
        if answer.end == "hang":
            self.stopping.wait(60)
        if answer.end == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.rfile.close()  # otherwise the file keeps the connection open
            handler.connection.close()
