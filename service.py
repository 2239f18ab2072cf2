"""Service: how what a visitor asks for becomes work: by turns, within limits, told in sentences, logged.

Page and API go the same way. `Service.request` turns every error into one sentence, and writes one line of
JSON when the request ends: what was asked, how long it took, what came of it. No names, no contents.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import re
import secrets
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio import processing_utils
from gradio.context import LocalContext
from gradio.utils import get_upload_folder

from fetch import fetch
from images import ImageError
from inference import NAMES, ModelError, SegmentationModel
from janitor import touch
from models import Models
from result import Result, SettingsError
from scheduler import Abandoned, Busy, Job, Scheduler, TookTooLong, Visitor, wanted_result
from weights import WeightsError

T = TypeVar("T")
OnStage = Callable[[float, str], object]

FETCHES = 8
"""Pictures that are fetched from web addresses at once."""
LOADERS = 4
"""Models that are loaded at once; the others wait."""
LOAD_SECONDS = 900.0
"""How long a request waits for its model at most, which may have to be downloaded first."""
EXPECTED_ERRORS = (ImageError, ModelError, SettingsError, WeightsError)
"""Errors whose message is written for the person who caused them, or whom they concern."""
OUTCOMES: dict[type[BaseException], str] = {
    Busy: "busy",
    TookTooLong: "too long",
    Abandoned: "abandoned",
    asyncio.CancelledError: "cancelled",
    MemoryError: "out of memory",
}

log = logging.getLogger("requests")


class Service:
    """What every request of one app shares: the models, and the line of those who wait."""

    def __init__(self, models: Models, scheduler: Scheduler | None = None) -> None:
        self.models = models
        self.scheduler = scheduler or Scheduler()
        self.loaders = ThreadPoolExecutor(LOADERS, "load")
        self._fetches = asyncio.Semaphore(FETCHES)

    async def fetch(self, url: str) -> Path:
        """The file of what a web address or data URL leads to; raises as `fetch.fetch`."""
        async with self._fetches:
            return await fetch(url, new_folder())

    def fetch_for_gradio(self) -> None:
        """Makes Gradio fetch what clients name as web addresses in our way, wherever in a request they stand.

        Its own way has no limit of size, and takes some addresses for public that are not.
        """

        async def download(url: str, cache_dir: str) -> str:
            try:
                return str(await self.fetch(url))
            except ImageError as error:
                raise gr.Error(str(error), print_exception=False) from error

        processing_utils.async_ssrf_protected_download = download

    @asynccontextmanager
    async def request(
        self, kind: str, on_stage: OnStage = lambda share, words: None
    ) -> AsyncIterator[Request]:
        """For the time of one request. Whatever goes wrong inside comes out as `gr.Error` with a sentence.

        Args:
            kind: What is asked for, as the log names it.
            on_stage: Is told how far the work is, as `Job.stage`.
        """
        request = Request(self, kind, on_stage)
        try:
            yield request
        except EXPECTED_ERRORS as error:
            request.refuse(error)
            raise gr.Error(str(error), print_exception=False) from error
        except (Busy, TookTooLong, Abandoned) as error:
            request.outcome = OUTCOMES[type(error)]
            raise gr.Error(str(error), print_exception=False) from error
        except asyncio.CancelledError:
            request.outcome = "cancelled"
            raise
        except BaseException as error:
            request.fail(error)
            raise gr.Error(_apology(error, request.id), print_exception=False) from error
        finally:
            request.close()


class Request:
    """One request, from its first check to its answer."""

    def __init__(self, service: Service, kind: str, on_stage: OnStage) -> None:
        self.id = secrets.token_hex(4)
        self.outcome = "ok"
        self._service, self._job = service, Job(on_stage)
        self._start = time.perf_counter()
        self._closed = False
        self._facts: dict[str, object] = {"id": self.id, "kind": kind}

    async def photo(self, image: object) -> Path:
        """The file of what a client sent as an image: an upload, or a web address or data URL to fetch.

        Raises:
            ImageError: It is none of them. Any other path that a client names is refused.
        """
        path = _field(image, "path")
        url = path if path and re.match(r"(https?|data):", path) else None if path else _field(image, "url")
        if url:
            return await self._service.fetch(url)
        if path is None:
            raise ImageError(
                "image: no picture was sent. With the Python client, use handle_file('photo.jpg')."
            )
        if not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
            raise ImageError(
                "image: expected an uploaded file. With the Python client, use handle_file('photo.jpg')."
            )
        return Path(path)

    async def model(self, name: object) -> SegmentationModel:
        """The model of that name, once it is loaded.

        Raises:
            ModelError, WeightsError: As `inference.load_model`.
            TookTooLong: It is still being loaded.
        """
        if name not in NAMES:
            raise ModelError(f"model: expected one of {', '.join(NAMES)}, got {str(name)[:40]!r}.")
        models, name = self._service.models, str(name)
        if (ready := models.ready(name)) is not None:
            return ready
        self._job.stage(0.0, "Loading the model (the first time takes longest)")
        loading = asyncio.get_running_loop().run_in_executor(self._service.loaders, models.get, name)
        try:
            return await wanted_result(loading, LOAD_SECONDS, _is_wanted)
        except TimeoutError as error:
            raise TookTooLong("The model is still being loaded. Please try again in some minutes.") from error

    async def run(self, work: Callable[[Job], T]) -> T:
        """What `work` returns, which runs in a thread when its turn has come."""

        def loudly(job: Job) -> T:
            self._facts["waited_ms"] = self._milliseconds()
            try:
                return work(job)
            except (*EXPECTED_ERRORS, Abandoned):
                raise
            except BaseException as error:  # here, since nobody may wait for it any more
                self.fail(error)
                raise

        return await self._service.scheduler.run(_visitor(), loudly, self._job, _is_wanted)

    def saw(self, result: Result) -> Result:
        """Notes for the log what kind of photo it was. Returns `result`."""
        height, width = result.detections.image_size
        self._facts |= {"format": result.format, "width": width, "height": height}
        self._facts |= {"model": result.model.name, "instances": len(result.detections)}
        return result

    def refuse(self, error: BaseException) -> None:
        """Notes that the visitor was told what is wrong."""
        self.outcome = f"refused: {type(error).__name__}"

    def fail(self, error: BaseException) -> None:
        """Writes down a fault for engineers: where it came from, and its words without names of uploads."""
        self.outcome = OUTCOMES.get(type(error), "fault")
        if "error" not in self._facts:
            frames = traceback.extract_tb(error.__traceback__)
            self._facts["error"] = f"{type(error).__name__}: {_without_uploads(str(error))}"
            self._facts["where"] = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
            if self._closed:  # the visitor left before
                self.close()

    def close(self) -> None:
        """Writes the line."""
        self._closed = True
        facts = self._facts | {"outcome": self.outcome, "ms": self._milliseconds()}
        log.log(logging.ERROR if "error" in facts else logging.INFO, json.dumps(facts))

    def _milliseconds(self) -> int:
        return round((time.perf_counter() - self._start) * 1000)


def new_folder() -> Path:
    """A new folder where Gradio serves files from."""
    Path(get_upload_folder()).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=get_upload_folder()))


def keep(path: Path) -> None:
    """Counts a photo as used just now, so that it is not swept away as too old."""
    if path.resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        touch(path)


def _field(image: object, name: str) -> str | None:
    value = image.get(name) if isinstance(image, dict) else getattr(image, name, None)
    return value if isinstance(value, str) and value else None


def _visitor() -> Visitor:
    """Whom Gradio works for: the address that a proxy forwards (uvicorn reads it), else the connection's."""
    request = LocalContext.request.get(None)
    client = request.client if request else None
    return Visitor(client.host if client else "", str(request.session_hash) if request else "")


def _is_wanted() -> bool:
    """Whether the client that asked is still there; Gradio tells nobody, but knows."""
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event: Any = blocks._queue.event_ids_to_events.get(event_id) if blocks and event_id else None
    return event is None or event.alive


def _apology(error: BaseException, id: str) -> str:
    if isinstance(error, MemoryError):
        return "The server ran out of memory. Please try a smaller photo, or try again in a minute."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The server's disk is full. Please try again in a few minutes."
    return f"Something went wrong on the server. Please try again; if it happens again, report number {id}."


def _without_uploads(text: str) -> str:
    """`text` with no path below the folder of uploads, whose names are the visitors'."""
    return re.sub(re.escape(get_upload_folder()) + ".*", "(a file)", text)
