"""Origins: says which web pages of other hosts may read the app's answers (CORS).

A browser asks the server whether the page that sent a request may read the answer. Gradio allows every page,
and sends the visitor's cookies and passwords along. The app itself needs neither. But a proxy in front of a
private app does, and then every page on the web could read what only the visitor may see. So pages that
nobody knows may call the API only without credentials. The pages of the Hugging Face hub and of this machine
may call it with credentials.

Programs that are no web pages send no origin, and nothing changes for them.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from gradio.route_utils import CustomCORSMiddleware
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

HUB = re.compile(r"https://(huggingface\.co|([\w-]+\.)+(huggingface\.co|hf\.space))")
"""The origins of the Hugging Face hub and of its Spaces."""
LOCAL = re.compile(r"https?://(localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(:\d+)?")
"""The origins of pages on this machine."""
LOCAL_HOSTS = (
    "localhost",
    "127.0.0.1",
    "0.0.0.0",  # nosec B104
    "::1",
)
"""The names of this machine."""
METHODS = "GET, HEAD, OPTIONS, POST"
PREFLIGHT_SECONDS = 600
"""The time for which a browser may remember the answer to its question."""


def is_preflight(scope: Scope) -> bool:
    """Returns whether a request is the question that a browser asks before it lets a page call the API."""
    headers = Headers(scope=scope)
    asks = "origin" in headers and "access-control-request-method" in headers
    return asks and scope["method"] == "OPTIONS"


def is_own(scope: Scope) -> bool:
    """Returns whether a request comes from a page that may do all that the app's own page does.

    A program that is no web page sends no origin, and may do it too.
    """
    origin = Headers(scope=scope).get("origin")
    return origin is None or _is_trusted(origin, scope)


def rewrite(response: MutableHeaders, scope: Scope) -> None:
    """Replaces the CORS headers of the response to a request."""
    for name in [name for name in response if name.startswith("access-control-")]:
        del response[name]
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is None:
        return
    response.add_vary_header("Origin")
    if _is_trusted(origin, scope):
        response["Access-Control-Allow-Origin"] = origin
        response["Access-Control-Allow-Credentials"] = "true"
    elif not _is_local(scope):  # an app on this machine is for pages on this machine only
        response["Access-Control-Allow-Origin"] = "*"
    if is_preflight(scope):
        response["Access-Control-Allow-Methods"] = METHODS
        response["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        if wanted := headers.get("access-control-request-headers"):
            response["Access-Control-Allow-Headers"] = wanted


def take_over(app: Any) -> None:
    """Removes Gradio's own CORS headers, which Gradio adds outside of the guard.

    Args:
        app: Gradio's web app, while it starts.
    """
    app.user_middleware = [part for part in app.user_middleware if part.cls is not CustomCORSMiddleware]
    app.middleware_stack = app.build_middleware_stack()


def _is_trusted(origin: str, scope: Scope) -> bool:
    host = Headers(scope=scope).get("host", "")
    if LOCAL.fullmatch(origin) or origin == f"{scope.get('scheme', 'http')}://{host}":
        return True
    return HUB.fullmatch(origin) is not None and not _is_local(scope)


def _is_local(scope: Scope) -> bool:
    """Returns whether the request was sent to a name of this machine."""
    try:
        return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname in LOCAL_HOSTS
    except ValueError:  # not the name of a host
        return False
