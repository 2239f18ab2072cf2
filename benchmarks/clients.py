"""Runs the app in a process of its own, and sends requests to it as visitors do, for other benchmarks."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
SCENES = sorted((ROOT / "examples" / "scenes").glob("*.png"))
BUSY = "Too many photos are waiting"
DOT = 12
"""The diameter of a dot in pixels."""
SILENCE_SECONDS = 120.0
"""A request is lost if the server is silent for this long. Gradio sends a sign of life every 15 seconds."""


@dataclass(frozen=True)
class Server:
    """A running app.

    Args:
        url: The app's address.
        process: The app's process, which tells its memory, open files and threads.
        folder: The folder that holds all temporary files of the app.
        log: The file with the app's standard error.
    """

    url: str
    process: psutil.Process
    folder: Path
    log: Path

    @property
    def rss_mb(self) -> float:
        """The memory that the app holds now, in MB."""
        rss: int = self.process.memory_info().rss
        return rss / 2**20

    @property
    def temp_bytes(self) -> int:
        """The size of the app's temporary files together."""
        total = 0
        for parent, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += Path(parent, name).lstat().st_size
                except FileNotFoundError:  # the app has just deleted the file
                    continue
        return total

    def complaints(self) -> list[str]:
        """Returns the lines of the log that are not INFO messages, for example warnings and tracebacks."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if line and not line.startswith("INFO ")]


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    """Runs the app with these options of serve.py until the block ends."""
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name, "temporary"), Path(name, "log")
        folder.mkdir()
        environment = os.environ | {
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": str(folder / "gradio"),
            "HF_HUB_OFFLINE": "1",
            "TMPDIR": str(folder),
        }
        with (
            log.open("w") as errors,
            subprocess.Popen(
                [sys.executable, str(ROOT / "benchmarks" / "serve.py"), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            ) as process,
        ):
            assert process.stdin and process.stdout
            try:
                # Gradio may print other lines before the address.
                url = next((line.strip() for line in process.stdout if line.startswith("http")), "")
                if not url:
                    raise RuntimeError(f"The app did not start:\n{log.read_text()}")
                yield Server(url, psutil.Process(process.pid), folder, log)
            finally:
                process.stdin.close()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


class Answer(NamedTuple):
    """The outcome of a request.

    Attributes:
        outcome: "result", "busy", "error" (the app said why) or "lost" (the app said nothing).
        seconds: The time from the first byte of the upload to the last byte of the answer.
        words: The app's sentence or the connection's error, if there is no result.
    """

    outcome: str
    seconds: float
    words: str = ""


class Client:
    """One visitor, with an address and a connection of its own. Only one thread may use a client."""

    # Locust does not fit here. It counts and times single HTTP calls, but a request here is an upload, a call
    # and a stream of events, and the last event decides the outcome. Locust also rounds percentiles to two
    # digits, and replaces the sockets and threads of its whole process. 32 threads cost little, and Gradio
    # brings httpx anyway.

    def __init__(self, url: str, address: str) -> None:
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/gradio_api",
            headers={"X-Forwarded-For": address},
            timeout=SILENCE_SECONDS,
            trust_env=False,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    def ask(self, endpoint: str, picture: bytes, **arguments: Any) -> Answer:
        """Sends a picture and waits for the answer. If the answer names a file, downloads the file too."""
        start = time.perf_counter()
        try:
            path = self.upload(picture)
            outcome, words = self.answer(endpoint, self.call(endpoint, path, **arguments))
        except httpx.HTTPStatusError as error:
            outcome = "busy" if error.response.status_code == 503 else "lost"
            words = f"HTTP {error.response.status_code} from {error.request.url.path}"
        except httpx.HTTPError as error:
            outcome, words = "lost", repr(error)
        return Answer(outcome, time.perf_counter() - start, words)

    def leave(self, endpoint: str, picture: bytes, after_seconds: float, **arguments: Any) -> None:
        """Sends a picture, and disconnects `after_seconds` later. Raises `httpx.HTTPError`."""
        event = self.call(endpoint, self.upload(picture), **arguments)
        with self._http.stream("GET", f"/call/v2/{endpoint}/{event}") as stream:
            stream.raise_for_status()
            time.sleep(after_seconds)

    def upload(self, picture: bytes) -> str:
        """Uploads a picture, and returns the path that the app gave to it. Raises `httpx.HTTPError`."""
        sent = self._http.post("/upload", files={"files": ("photo.jpg", picture)}).raise_for_status()
        path: str = sent.json()[0]
        return path

    def call(self, endpoint: str, path: str, **arguments: Any) -> str:
        """Calls an endpoint with an uploaded picture. Returns the event's id. Raises `httpx.HTTPError`."""
        image = {"path": path, "meta": {"_type": "gradio.FileData"}}
        called = self._http.post(f"/call/v2/{endpoint}", json={"image": image, **arguments})
        event: str = called.raise_for_status().json()["event_id"]
        return event

    def answer(self, endpoint: str, event: str) -> tuple[str, str]:
        """Waits for an event. Returns the outcome and words of its `Answer`. Raises `httpx.HTTPError`."""
        kind = data = ""
        with self._http.stream("GET", f"/call/v2/{endpoint}/{event}") as stream:
            stream.raise_for_status()
            for line in stream.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    kind = value
                elif field == "data":
                    data = value
        if kind == "complete":
            return self._checked(endpoint, json.loads(data)[0])
        error = json.loads(data) if kind == "error" else f"the stream ended after {kind or 'nothing'}"
        if not isinstance(error, dict) or not error.get("error"):
            return "lost", str(error)
        words = str(error["error"])
        return "busy" if words.startswith(BUSY) else "error", words

    def _checked(self, endpoint: str, value: dict[str, Any]) -> tuple[str, str]:
        if endpoint == "segment":
            return ("result", "") if value["instances"] else ("lost", "an answer without instances")
        content = self._http.get(f"/file={value['path']}").raise_for_status().content
        return ("result", "") if content else ("lost", "an empty file")


def address(number: int) -> str:
    """Returns the address of client `number`, from the range that is reserved for benchmarks (RFC 2544)."""
    return f"198.18.{number // 250}.{number % 250 + 1}"


def picture(seed: int) -> bytes:
    """Returns a JPEG of an example scene with a coloured dot somewhere. Each seed gives another picture."""
    chance = random.Random(seed)
    scene = _scene(chance.choice(SCENES))
    x, y = chance.randrange(scene.width - DOT), chance.randrange(scene.height - DOT)
    ImageDraw.Draw(scene).ellipse((x, y, x + DOT, y + DOT), fill=tuple(chance.choices(range(256), k=3)))
    buffer = io.BytesIO()
    scene.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _scene(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def together(server: Server, clients: int, work: Callable[[int, Client], None]) -> None:
    """Calls `work` in `clients` threads at once, and waits for all of them.

    Each thread gives `work` its number and a client of its own.
    """

    def run(number: int) -> None:
        with Client(server.url, address(number)) as client:
            work(number, client)

    with ThreadPoolExecutor(clients) as threads:
        for _ in threads.map(run, range(clients)):
            pass
