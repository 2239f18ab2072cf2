"""Makes COCO files and annotated pictures of photos and clips, in this process or with a running app.

A segmenter is a function that does this for one photo or clip. `local_segmenter` returns one that runs a
model here. `remote_segmenter` returns one that asks a `Server`.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # else the client would report its use to Gradio

import httpx
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError
from PIL import Image
from tqdm import tqdm

from answer.files import export_file
from answer.formats import to_coco
from answer.result import View, in_view
from answer.settings import Filters, SettingsError, check_clip_detail
from clips.files import export_clip
from clips.result import ClipView
from inference import SegmentationModel
from network.detail import FULL_DETAIL
from photo.errors import ImageError
from serving.clips import segment_clip_file
from serving.photos import segment_file
from serving.timing import Seconds
from visualize import Style

PAUSES = (5.0, 15.0, 45.0, 135.0)
"""Seconds to wait before each new request to a server that is busy or gone."""
SILENCE_SECONDS = 60.0
"""After so long a silence the connection counts as lost. Gradio sends a sign of life every 15 seconds."""
AGAIN = re.compile(r"Please try again (in|later)|queue is full", re.IGNORECASE)
"""Found in each message in which the server says that it is busy. Such a message is not about the photo."""

Segmenter = Callable[[Path], tuple[dict[str, Any], Path | None]]
"""Returns a photo's COCO file as `to_coco` makes it, and the path of its annotated picture or None.

The caller may move the picture.
"""


ClipSegmenter = Callable[[Path], list[Path]]
"""Writes a clip's COCO file with tracks, and its annotated clip if that is wanted. Returns their paths.

The caller may move the files.
"""


class PhotoError(ValueError):
    """This photo could not be segmented, but other photos may be; the message says why."""


class ServerError(RuntimeError):
    """The server cannot be reached, or does not run this project's app; the message says which."""


class _TryAgainError(Exception):
    """The server is busy or gone. `last` is the error to raise if no attempt is left."""

    def __init__(self, last: PhotoError | ServerError) -> None:
        super().__init__(str(last))
        self.last = last


def local_segmenter(
    model: SegmentationModel, filters: Filters, folder: Path, pictures: bool, detail: str = FULL_DETAIL
) -> Segmenter:
    """Returns a segmenter that runs `model` in this process.

    Args:
        folder: The segmenter writes annotated pictures into this folder.
        pictures: Whether the segmenter makes annotated pictures.
        detail: One of `network.detail.DETAILS`.
    """

    def segment(photo: Path) -> tuple[dict[str, Any], Path | None]:
        try:
            result = segment_file(photo, model, detail=detail)
            shown = in_view(result.detections, model.categories, filters)
            found = to_coco(shown, model.categories, photo.name, filters.mask_threshold)
            if not pictures:
                return found, None
            style = Style(mask_threshold=filters.mask_threshold)
            return found, export_file(View(result, filters, style), "annotated", folder)
        except ImageError as error:
            raise PhotoError(str(error)) from error
        except MemoryError as error:
            raise PhotoError("There is too little memory for this photo.") from error

    return segment


def remote_segmenter(
    server: Server, model: str, filters: Filters, folder: Path, pictures: bool, detail: str = FULL_DETAIL
) -> Segmenter:
    """Returns a segmenter that asks `server` to run a model.

    With pictures, each photo is sent twice: for the format "coco" and for "annotated". The network runs once,
    because the server keeps what it found. The format "zip" would hold both, but also all other files. It
    took 1.5 s and 34 MB for a photo of 12 megapixels with 9 instances, and each cut-out adds to this. "coco"
    and "annotated" together took 1.0 s and 15 MB (built-in model, the server on the same machine, and the
    network ran twice).

    Args:
        model: The model's name on the server.
        folder: Not used, because `server` has its own folder for its answers.
        pictures: Whether the segmenter also asks for annotated pictures.
        detail: One of `network.detail.DETAILS`. A server of an older version knows only `FULL_DETAIL`.
    """
    settings: dict[str, Any] = {
        "model": model,
        "score_threshold": filters.score_threshold,
        "classes": None if filters.classes is None else list(filters.classes),
        "mask_threshold": filters.mask_threshold,
    } | ({} if detail == FULL_DETAIL else {"detail": detail})
    if filters.thresholds:  # a server of an older version does not know them
        settings["thresholds"] = dict(filters.thresholds)

    def segment(photo: Path) -> tuple[dict[str, Any], Path | None]:
        found = Path(server.call("/export", photo, format="coco", **settings))
        picture = Path(server.call("/export", photo, format="annotated", **settings)) if pictures else None
        return json.loads(found.read_text("utf-8")), picture

    return segment


def local_clip_segmenter(
    model: SegmentationModel, filters: Filters, folder: Path, pictures: bool, detail: str = FULL_DETAIL
) -> ClipSegmenter:
    """Returns a segmenter of clips that runs `model` in this process. The arguments are as for photos."""
    seconds = Seconds()

    def segment(clip: Path) -> list[Path]:
        try:
            check_clip_detail(detail)
            for progress in segment_clip_file(clip, model, seconds.expected(model, detail), detail=detail):
                result = progress.result
            seconds.note(model, detail, result.seconds / len(result.looks))
            for note in result.notes:
                tqdm.write(f"{clip.name}: {note}", file=sys.stderr)
            view = ClipView(result, filters, Style(mask_threshold=filters.mask_threshold))
            return [export_clip(view, format, folder) for format in clip_formats(pictures)]
        except (ImageError, SettingsError) as error:
            raise PhotoError(str(error)) from error
        except MemoryError as error:
            raise PhotoError("There is too little memory for this clip.") from error

    return segment


def remote_clip_segmenter(
    server: Server, model: str, filters: Filters, pictures: bool, detail: str = FULL_DETAIL
) -> ClipSegmenter:
    """Returns a segmenter of clips that asks `server` to run a model. The network runs once for each file."""
    settings: dict[str, Any] = {
        "model": model,
        "score_threshold": filters.score_threshold,
        "classes": None if filters.classes is None else list(filters.classes),
        "mask_threshold": filters.mask_threshold,
        "detail": detail,
    }
    if filters.thresholds:
        settings["thresholds"] = dict(filters.thresholds)

    def segment(clip: Path) -> list[Path]:
        return [
            Path(server.call("/segment_video", clip, "video", format=format, **settings)["file"])
            for format in clip_formats(pictures)
        ]

    return segment


def clip_formats(pictures: bool) -> tuple[str, ...]:
    """Returns the formats of the files that are written for a clip."""
    return ("coco", "video") if pictures else ("coco",)


class Server:
    """A running app or a Space. A request is repeated while the server is busy or gone.

    Args:
        address: The server's address, such as "http://127.0.0.1:7860" or "owner/space".
        folder: The folder for the files that the server sends.
        pause: A function that waits for a number of seconds.

    Raises:
        ServerError: The server cannot be reached. This first attempt is not repeated.
    """

    def __init__(self, address: str, folder: Path, pause: Callable[[float], object] = time.sleep) -> None:
        self.address, self.folder = address, folder
        self._pause = pause
        self._client: Client | None = self._connected()

    def model(self, name: str) -> dict[str, Any]:
        """Returns the facts that `/segment` states about the model called `name`: "name", "sha256" and more.

        Prints the server's warnings on standard error.
        """
        blank = self.folder / "blank.png"
        Image.new("RGB", (32, 32), "grey").save(blank)
        try:
            answer = self.call("/segment", blank, model=name)
        except PhotoError:
            raise
        except ValueError as error:  # Gradio's client did not find the endpoint
            raise ServerError(f"{self.address} is not this project's app: it has no /segment.") from error
        for warning in answer["warnings"]:
            tqdm.write(warning, file=sys.stderr)
        model: dict[str, Any] = answer["model"]
        return model

    def call(self, endpoint: str, photo: Path, argument: str = "image", **settings: object) -> Any:
        """Sends a photo, or a clip as `argument`, to an endpoint and returns the answer.

        Raises:
            PhotoError: The server refused the photo, or was still busy at the last attempt.
            ServerError: The server was gone at the last attempt.
        """
        for seconds in (*PAUSES, None):
            try:
                return self._call(endpoint, photo, argument, settings)
            except _TryAgainError as error:
                if seconds is None:
                    raise error.last from error
                tqdm.write(f"{error} It is asked again in {seconds:.0f} seconds.", file=sys.stderr)
                self._pause(seconds)
        raise AssertionError("the last round returns or raises")

    def _call(self, endpoint: str, photo: Path, argument: str, settings: dict[str, object]) -> Any:
        try:
            # A restarted server does not know its earlier clients, so a lost connection needs a new client.
            self._client = self._client or self._connected()
            most = self._client.config.get("max_file_size")
            if most and photo.stat().st_size > most:
                raise PhotoError(f"This file is too large: the server takes at most {most // 2**20} MB.")
            job = self._client.submit(api_name=endpoint, **{argument: handle_file(photo)}, **settings)
        except ServerError as error:
            raise _TryAgainError(error) from error
        try:
            return job.result()
        except KeyboardInterrupt:
            # Else the job's thread would wait for the answer, and Python would wait for the thread.
            job.cancel()
            raise
        except AppError as error:
            if AGAIN.search(str(error)):
                raise _TryAgainError(PhotoError(str(error))) from error
            raise PhotoError(str(error)) from error
        except QueueError as error:
            raise _TryAgainError(PhotoError("Too many requests wait at the server.")) from error
        except (httpx.HTTPError, concurrent.futures.CancelledError) as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
            if status and status < 500 and status not in (408, 429):
                raise PhotoError(f"The server refused this photo (HTTP status {status}).") from error
            self._client = None
            raise _TryAgainError(ServerError(f"The connection to {self.address} was lost.")) from error

    def _connected(self) -> Client:
        try:
            return Client(
                self.address,
                verbose=False,
                download_files=self.folder,
                analytics_enabled=False,
                httpx_kwargs={"timeout": SILENCE_SECONDS},
            )
        except Exception as error:  # Gradio's and the Hub's clients do not say which errors they raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ServerError(f"{self.address} cannot be reached ({reason:.200}).") from error
