"""Calls the API over plain HTTP, as a program without Gradio's client does."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import httpx

FILE_DATA = {"_type": "gradio.FileData"}


class Answer(NamedTuple):
    """The answer to a call: the first HTTP status that is not 200, otherwise the event and its data."""

    status: int
    event: str
    data: Any

    @property
    def sentence(self) -> str:
        """The sentence that a person reads if there is no result."""
        if self.status != 200:
            try:
                return str(self.data["detail"])
            except (TypeError, KeyError):
                return str(self.data)
        return str((self.data or {}).get("error")) if isinstance(self.data, dict | None) else str(self.data)


def call(server: str, name: str, arguments: Any, http: httpx.Client) -> Answer:
    """Calls an endpoint with named arguments and waits for the answer."""
    joined = http.post(f"{server}gradio_api/call/v2/{name}", json=arguments)
    if joined.status_code != 200:
        return Answer(joined.status_code, "refused", _content(joined))
    event, data = "", None
    with http.stream("GET", f"{server}gradio_api/call/v2/{name}/{joined.json()['event_id']}") as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: ") and event in ("complete", "error"):
                data = json.loads(line[6:])
                break
    return Answer(stream.status_code, event, data)


def segment_bytes(server: str, name: str, content: bytes, http: httpx.Client, **arguments: Any) -> Answer:
    """Uploads a file and calls `/segment` with it."""
    uploaded = http.post(f"{server}gradio_api/upload", files={"files": (name, content)})
    if uploaded.status_code != 200:
        return Answer(uploaded.status_code, "refused", uploaded.text)
    image = {"path": uploaded.json()[0], "meta": FILE_DATA}
    return call(server, "segment", {"image": image} | arguments, http)


def _content(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text
