"""Service: how what a visitor asks for becomes work: by turns, within limits, told in sentences, logged.

Page and API go the same way. `Service.request` turns every error into one sentence, and writes one line of
JSON when the request ends: what was asked, how long it took, what came of it. No names, no contents.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import logging
import re
import secrets
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio import processing_utils
from gradio.context import LocalContext
from gradio.utils import get_upload_folder

from answer.progress import OnStage, ignore_stage
from answer.result import Result
from answer.settings import SettingsError, said
from inference import NAMES, ModelError, SegmentationModel
from network.weights import WeightsError
from photo.fetch import fetch
from photo.images import ImageError
from serving.janitor import touch
from serving.models import Models
from serving.photos import segment_file
from serving.scheduler import Abandoned, Busy, Job, Scheduler, TookTooLong, Visitor, wanted_result
from serving.sessions import named

T = TypeVar("T")

FETCHES, FETCHES_EACH = 8, 2
"""Pictures that are fetched from web addresses at once, and how many of them for one address."""
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
    """What every request of one app shares: the models, and the lines of those who wait.

    Args:
        scheduler: For photos, which take seconds.
        views: For looks at a result, which take milliseconds and do not wait for photos.
    """

    def __init__(
        self, models: Models, scheduler: Scheduler | None = None, views: Scheduler | None = None
    ) -> None:
        self.models = models
        self.scheduler = scheduler or Scheduler()
        self.views = views or Scheduler(waiting=100, waiting_each=50, wait_seconds=30.0, run_seconds=60.0)
        self._fetching: Counter[str] = Counter()

    async def fetch(self, url: str) -> Path:
        """The file of what a web address or data URL leads to; raises as `fetch.fetch`, or `Busy`."""
        address = _visitor().address
        if self._fetching.total() >= FETCHES or self._fetching[address] >= FETCHES_EACH:
            raise Busy("Too many pictures are being fetched just now. Please try again in a minute.")
        self._fetching[address] += 1
        try:
            return await fetch(url, new_folder())
        finally:
            self._fetching[address] -= 1
            self._fetching += Counter()  # drops those that are at 0

    @asynccontextmanager
    async def request(self, kind: str, on_stage: OnStage = ignore_stage) -> AsyncIterator[Request]:
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
        except gr.Error as error:  # a Space's, that no processor was lent; its words are for the visitor
            request.fail(error)
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
        url = path or _field(image, "url")  # Gradio gives an upload an address, too
        if url != path or (url and re.match("(https?|data):", url)):
            return await self._service.fetch(str(url))
        if path is None:
            raise ImageError(
                "image: no picture was sent. With the Python client, use handle_file('photo.jpg')."
            )
        if not _is_upload(Path(path)):
            raise ImageError(
                "image: expected an uploaded file. With the Python client, use handle_file('photo.jpg')."
            )
        return Path(path)

    async def model(self, name: object) -> SegmentationModel:
        """The model of that name, once it is loaded.

        Raises:
            ModelError, WeightsError: As `inference.load`.
            TookTooLong: It is still being loaded.
        """
        if name not in NAMES:
            raise ModelError(f"model: expected one of {', '.join(NAMES)}, got {said(name)}.")
        if (ready := self._service.models.ready(str(name))) is not None:
            return ready
        self._job.stage(0.0, "Loading the model (the first time takes longest)")
        loading = asyncio.wrap_future(self._service.models.start(str(name)))
        try:
            return await wanted_result(loading, LOAD_SECONDS, _is_wanted)
        except TimeoutError as error:
            raise TookTooLong("The model is still being loaded. Please try again in some minutes.") from error

    async def look(self, work: Callable[[], T]) -> T:
        """As `run`, for what takes milliseconds: it does not wait for photos, and is logged if it fails."""
        self._facts["look"] = True
        return await self.run(lambda job: work(), self._service.views)

    async def run(self, work: Callable[[Job], T], line: Scheduler | None = None) -> T:
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

        return await (line or self._service.scheduler).run(_visitor(), loudly, self._job, _is_wanted)

    def segment(self, path: Path, model: SegmentationModel, job: Job) -> Result:
        """Runs `model` on a photo's file, as `segment_file`, and notes for the log what the photo was."""
        result = segment_file(path, model, job.stage, self._service.models.on_cpu)
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
        well = logging.DEBUG if facts.pop("look", False) and self.outcome == "ok" else logging.INFO
        log.log(logging.ERROR if "error" in facts else well, json.dumps(facts))

    def _milliseconds(self) -> int:
        return round((time.perf_counter() - self._start) * 1000)


def new_folder() -> Path:
    """A new folder where Gradio serves files from."""
    Path(get_upload_folder()).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=get_upload_folder()))


def keep(path: Path) -> None:
    """Counts a photo as used just now, so that it is not swept away as too old."""
    if _is_upload(path):
        touch(path)


def leave_addresses_alone() -> None:
    """Keeps Gradio from fetching what clients name as web addresses, wherever in a request they stand.

    It would do so before a request has a turn, without limits of size and number, and it takes some addresses
    for public that are not. `Request.photo` fetches the one that is the photo.
    """

    async def unread(url: str, cache_dir: str) -> str:
        return url

    processing_utils.async_ssrf_protected_download = unread


def _is_upload(path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(Path(get_upload_folder()).resolve())
    except (ValueError, OSError):  # no name that a file can have
        return False


def _field(image: object, name: str) -> str | None:
    value = image.get(name) if isinstance(image, dict) else getattr(image, name, None)
    return value if isinstance(value, str) and value else None


def _visitor() -> Visitor:
    """Whom Gradio works for: the address that a proxy forwards (uvicorn reads it), else the connection's.

    Of IPv6 the network counts, since each of its subscribers has all the addresses in it.
    """
    request = LocalContext.request.get(None)
    if request is None:
        return Visitor("", "")
    host = request.client.host if request.client else ""
    with contextlib.suppress(ValueError):  # a name, or nothing
        if (address := ipaddress.ip_address(host)).version == 6:
            host = str(ipaddress.ip_network((address, 64), strict=False))
    return Visitor(host, named(request.session_hash))


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
