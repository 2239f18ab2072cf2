"""Segmenters: a photo's COCO file and annotated picture, made in this process or by a running app."""

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

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # the client would report that it is used

import httpx
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError
from PIL import Image
from tqdm import tqdm

from answer.files import export_file
from answer.formats import to_coco
from answer.result import Filters, segment_file, view
from inference import SegmentationModel
from photo.images import ImageError
from visualize import Style

PAUSES = (5.0, 15.0, 45.0, 135.0)
"""Seconds before a server that is busy or gone is asked again."""
SILENCE_SECONDS = 60.0
"""Without a word from the server the connection is lost; Gradio sends a sign of life every 15 seconds."""
AGAIN = re.compile(r"Please try again (in|later)|queue is full", re.IGNORECASE)
"""In the sentences that say that not the photo is in the way, but that others are being served."""

Segmenter = Callable[[Path], tuple[dict[str, Any], Path | None]]
"""Gives a photo's COCO file as `to_coco` makes it, and its annotated picture, which may be moved away."""


class PhotoError(ValueError):
    """This photo could not be segmented, others may be; the message says why."""


class ServerError(RuntimeError):
    """The server cannot be reached, or is none of ours; the message says which."""


class _TryAgainError(Exception):
    """The server is busy or gone. `last` is what is raised when it was asked often enough."""

    def __init__(self, last: PhotoError | ServerError) -> None:
        super().__init__(str(last))
        self.last = last


def local_segmenter(model: SegmentationModel, filters: Filters, folder: Path, pictures: bool) -> Segmenter:
    """Runs `model` in this process, and writes pictures, if wanted, into `folder`."""

    def segment(photo: Path) -> tuple[dict[str, Any], Path | None]:
        try:
            result = segment_file(photo, model)
            found = to_coco(view(result.detections, filters), photo.name, filters.mask_threshold)
            if not pictures:
                return found, None
            style = Style(mask_threshold=filters.mask_threshold)
            return found, export_file(result, filters, style, "annotated", folder)
        except ImageError as error:
            raise PhotoError(str(error)) from error
        except MemoryError as error:
            raise PhotoError("There is too little memory for this photo.") from error

    return segment


def remote_segmenter(server: Server, model: str, filters: Filters, folder: Path, pictures: bool) -> Segmenter:
    """Has `server` run the model of that name; `folder` is where its answers are put.

    The network runs twice for a photo with its picture. One "zip" would hold both, but all else too: of a
    photo of 12 megapixels with 9 instances it took 1.5 s and 34 MB, "coco" and "annotated" 1.0 s and 15 MB
    together (built-in model, the server on the same machine), and each cut-out adds to it.
    """
    settings = {
        "model": model,
        "score_threshold": filters.score_threshold,
        "classes": None if filters.classes is None else list(filters.classes),
        "mask_threshold": filters.mask_threshold,
    }

    def segment(photo: Path) -> tuple[dict[str, Any], Path | None]:
        found = Path(server.call("/export", photo, format="coco", **settings))
        picture = Path(server.call("/export", photo, format="annotated", **settings)) if pictures else None
        return json.loads(found.read_text("utf-8")), picture

    return segment


class Server:
    """A running app or a Space, asked again where it is busy or gone for a while.

    Args:
        address: "http://127.0.0.1:7860" or "owner/space".
        folder: Where its files are put.
        pause: Waits so many seconds.

    Raises:
        ServerError: It cannot be reached. Here it is asked once.
    """

    def __init__(self, address: str, folder: Path, pause: Callable[[float], object] = time.sleep) -> None:
        self.address, self.folder = address, folder
        self._pause = pause
        self._client: Client | None = self._connected()

    def model(self, name: str) -> dict[str, Any]:
        """What `/segment` says of the model that answers to `name`: "name", "sha256" and more.

        What a visitor should know about it is told on standard error.
        """
        blank = self.folder / "blank.png"
        Image.new("RGB", (32, 32), "grey").save(blank)
        try:
            answer = self.call("/segment", blank, model=name)
        except PhotoError:
            raise
        except ValueError as error:  # Gradio's client finds no such endpoint
            raise ServerError(f"{self.address} is not this project's app: it has no /segment.") from error
        for warning in answer["warnings"]:
            tqdm.write(warning, file=sys.stderr)
        model: dict[str, Any] = answer["model"]
        return model

    def call(self, endpoint: str, photo: Path, **settings: object) -> Any:
        """What an endpoint answers.

        Raises:
            PhotoError: It refused the photo, or was busy each time it was asked.
            ServerError: It was gone each time.
        """
        for seconds in (*PAUSES, None):
            try:
                return self._call(endpoint, photo, settings)
            except _TryAgainError as error:
                if seconds is None:
                    raise error.last from error
                tqdm.write(f"{error} It is asked again in {seconds:.0f} seconds.", file=sys.stderr)
                self._pause(seconds)
        raise AssertionError("the last round returns or raises")

    def _call(self, endpoint: str, photo: Path, settings: dict[str, object]) -> Any:
        try:
            # A server that was started anew knows nothing of a client it had before.
            self._client = self._client or self._connected()
            most = self._client.config.get("max_file_size")
            if most and photo.stat().st_size > most:
                raise PhotoError(f"This file is too large: the server takes at most {most // 2**20} MB.")
            job = self._client.submit(image=handle_file(photo), api_name=endpoint, **settings)
        except ServerError as error:
            raise _TryAgainError(error) from error
        try:
            return job.result()
        except KeyboardInterrupt:
            job.cancel()  # else its thread would wait for the answer, and Python for the thread
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
        except Exception as error:  # Gradio's client and the Hub's promise no types
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ServerError(f"{self.address} cannot be reached ({reason:.200}).") from error
