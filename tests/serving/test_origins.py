"""Which web pages may read the app's answers: alone, and in the running app."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from serving.disk import Disk
from serving.guard import Guard
from tests.loops import in_a_loop
from tests.serving.test_guard import ask

PUBLIC = "photos.example.org"
HUB = ("https://huggingface.co", "https://me-photos.hf.space", "https://a.b.hf.space")
OF_THIS_MACHINE = ("http://localhost:3000", "https://localhost", "http://127.0.0.1:8080", "http://[::1]:5173")
STRANGERS = (
    "https://evil.example",
    "http://huggingface.co",
    "https://huggingface.co.evil.example",
    "https://evilhuggingface.co",
    "https://hf.space",
    "https://evil-hf.space",
    "https://me.hf.space:444",
    "http://localhost.evil.example",
    "http://localhost:3000.evil.example",
    "http://127.0.0.1.evil.example",
    "null",
    "",
    "https://",
)
WITH, WITHOUT, NOTHING = "with credentials", "without credentials", "nothing"


def allowed(headers: dict[str, str] | httpx.Headers, origin: str) -> str:
    """Returns what a browser may do for a page of `origin`, by the headers of an answer."""
    shown = headers.get("access-control-allow-origin")
    if shown is None:
        assert "access-control-allow-credentials" not in headers
        return NOTHING
    if "access-control-allow-credentials" in headers:
        assert (shown, headers["access-control-allow-credentials"]) == (origin, "true")
        return WITH
    assert shown == "*"
    return WITHOUT


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """A stand-in for Gradio, which lets every page read everything."""
    headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}
    await PlainTextResponse("through", headers=headers)(scope, receive, send)


PAGES = [
    *((origin, PUBLIC, WITH) for origin in (*HUB, *OF_THIS_MACHINE, f"https://{PUBLIC}")),
    *((origin, PUBLIC, WITHOUT) for origin in (*STRANGERS, f"http://{PUBLIC}", f"https://{PUBLIC}:444")),
    *((origin, "localhost:7860", WITH) for origin in OF_THIS_MACHINE),
    *((origin, host, NOTHING) for origin in STRANGERS for host in ("localhost", "127.0.0.1:7860", "[::1]")),
    *((origin, "127.0.0.1:7860", NOTHING) for origin in HUB),
    ("https://evil.example", "[not a host", WITHOUT),
]


@pytest.mark.parametrize("kind", ["a call", "a question before a call", "a refusal"])
@pytest.mark.parametrize(("origin", "host", "expected"), PAGES)
def test_known_pages_may_send_credentials_and_others_may_read(
    origin: str, host: str, expected: str, kind: str, tmp_path: Path
) -> None:
    headers = {"Origin": origin, "Host": host}
    method = "GET"
    if kind == "a question before a call":
        method = "OPTIONS"
        headers |= {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}

    async def test() -> None:
        app = Guard(inner, lambda *args: None, Disk(tmp_path))
        path = "/closed" if kind == "a refusal" else "/config"
        answer = await ask(app, method, path, headers=headers, scheme="https")
        assert allowed(answer.headers, origin) == expected
        assert answer.status == (404 if kind == "a refusal" else 200)
        assert answer.headers["vary"] == "Origin"
        if method == "OPTIONS":
            assert answer.text == "OK"
            assert answer.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS, POST"
            assert answer.headers["access-control-allow-headers"] == "content-type"

    in_a_loop(test())


def test_a_program_that_is_no_page_gets_no_such_headers(tmp_path: Path) -> None:
    async def test() -> None:
        answer = await ask(Guard(inner, lambda *args: None, Disk(tmp_path)), path="/config")
        assert answer.text == "through"
        assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]

    in_a_loop(test())


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("https://evil.example", PUBLIC, WITHOUT),
        ("https://huggingface.co", PUBLIC, WITH),
        ("http://localhost:3000", None, WITH),
        ("https://evil.example", None, NOTHING),
    ],
)
def test_gradio_adds_no_rules_of_its_own(
    origin: str, host: str | None, expected: str, method: str, server: str
) -> None:
    headers = {"Origin": origin} | ({"Host": host} if host else {})
    if method == "OPTIONS":
        headers["Access-Control-Request-Method"] = "POST"
    path = "gradio_api/queue/join" if method != "GET" else "config"
    answer = httpx.request(method, server + path, headers=headers, timeout=20)
    assert allowed(answer.headers, origin) == expected
    assert answer.headers["x-content-type-options"] == "nosniff"
