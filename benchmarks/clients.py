"""The app in a process of its own, and clients that ask it, for load.py and soak.py."""

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
"""Pixels across."""
SILENCE_SECONDS = 120.0
"""Without a word from the server a request is lost; Gradio sends a sign of life every 15 seconds."""


@dataclass(frozen=True)
class Server:
    """A running app.

    Args:
        url: Its address.
        process: For its memory, files and threads.
        folder: Holds all its temporary files.
        log: What it wrote to its standard error.
    """

    url: str
    process: psutil.Process
    folder: Path
    log: Path

    @property
    def rss_mb(self) -> float:
        """The memory that it holds now."""
        rss: int = self.process.memory_info().rss
        return rss / 2**20

    @property
    def temp_bytes(self) -> int:
        total = 0
        for parent, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += Path(parent, name).lstat().st_size
                except FileNotFoundError:  # swept away just now
                    continue
        return total

    def complaints(self) -> list[str]:
        """The lines of its log that are no ordinary request's."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if line and not line.startswith("INFO ")]


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    """The app, started with `options` of serve.py, until the block ends."""
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
                # Gradio may say other things first.
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
    """What came of a request.

    Attributes:
        outcome: "result"; "busy"; "error", which has a sentence of the app's; or "lost", which has none.
        seconds: From the upload's first byte to the answer's last.
        words: The app's, or the connection's, where there is no result.
    """

    outcome: str
    seconds: float
    words: str = ""


class Client:
    """One visitor, at an address and with a connection of its own. To be used by one thread."""

    # Not Locust: it counts and times single HTTP calls, while a request here is an upload, a call, and a
    # stream of events whose last one decides what came of it; it rounds percentiles to two digits; and it
    # replaces the sockets and threads of its whole process. 32 threads cost little, and Gradio brings httpx.

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
        """Sends a picture, waits for the answer, and fetches the file that it names, if any."""
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
        """Sends a picture, and goes away while the app works on it. Raises `httpx.HTTPError`."""
        event = self.call(endpoint, self.upload(picture), **arguments)
        with self._http.stream("GET", f"/call/v2/{endpoint}/{event}") as stream:
            stream.raise_for_status()
            time.sleep(after_seconds)

    def upload(self, picture: bytes) -> str:
        """The path that the app gave to a picture. Raises `httpx.HTTPError`."""
        sent = self._http.post("/upload", files={"files": ("photo.jpg", picture)}).raise_for_status()
        path: str = sent.json()[0]
        return path

    def call(self, endpoint: str, path: str, **arguments: Any) -> str:
        """Asks for an uploaded picture; gives what `answer` needs. Raises `httpx.HTTPError`."""
        image = {"path": path, "meta": {"_type": "gradio.FileData"}}
        called = self._http.post(f"/call/v2/{endpoint}", json={"image": image, **arguments})
        event: str = called.raise_for_status().json()["event_id"]
        return event

    def answer(self, endpoint: str, event: str) -> tuple[str, str]:
        """The outcome and the words, as in `Answer`. Raises `httpx.HTTPError`."""
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
    """One of the addresses that are kept for examples (RFC 2544)."""
    return f"198.18.{number // 250}.{number % 250 + 1}"


def picture(seed: int) -> bytes:
    """A JPEG of one of the example scenes with a coloured dot somewhere, another for each seed."""
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
    """Calls `work` with a number and a client of its own in so many threads, until all have returned."""

    def run(number: int) -> None:
        with Client(server.url, address(number)) as client:
            work(number, client)

    with ThreadPoolExecutor(clients) as threads:
        for _ in threads.map(run, range(clients)):
            pass
