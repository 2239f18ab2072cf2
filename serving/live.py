"""Live: looks at the frames of visitors' cameras, one at a time, and follows the objects in them.

A visitor who shows a camera has one of a few places. For each place the server keeps the state of the
tracker, and nothing of the frames. The first frame takes a place, and its answer names the place by a token
that nobody can guess. A place without a frame for `QUIET_SECONDS` is free again.

Frames wait in the line for photos. So turns rotate between live visitors and visitors with photos.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from gradio.utils import get_upload_folder
from numpy.typing import NDArray

from categories import Categories
from detections import Detections
from inference import FALLBACK_NAME, SegmentationModel, detail_of, segment
from network import zero_gpu
from network.detail import FULL_DETAIL
from network.zero_gpu import NotLentError
from photo.errors import ImageError
from photo.images import Photo, read_photo
from serving.lease import Lease
from serving.photos import on_device
from serving.scheduler import Busy, Job
from serving.service import Request, Service
from serving.timing import FIRST_GUESS
from tracks import Options, Tracks, step

PLACES_VARIABLE = "SEGMENTATION_LIVE"
"""The environment variable with the number of visitors who may be live at once. 0 turns live off."""
PLACES = 2
"""The number of places if the variable does not say it."""
FRAME_SIDE = 640
"""The longest side of a frame, in pixels."""
FRAME_SECONDS = 0.2
"""A model that needs longer than this for a frame is too slow for live."""
PATIENCE = 5
"""The number of slow frames, one after the other, after which a faster model takes over."""
FAST_DETAIL = "fast"
REFUSED_SECONDS = 60.0
"""The time after which a graphics processor is asked for again, if none was lent."""
QUIET_SECONDS = 10.0
"""The time without a frame after which a place is free again."""
TOKEN_BYTES = 16
FULL = "The live camera is busy, because others use it. Please try again in a minute."
OFF = "The live camera is turned off here. Please take a photo instead."
ONE_AT_A_TIME = "Please send the next frame when the answer to the last one has come."

T = TypeVar("T")

log = logging.getLogger("requests")


def places(text: str | None) -> int:
    """Returns the number of places that the owner's setting names, or `PLACES` if it is no whole number."""
    return int(text) if text and text.isdecimal() else PLACES


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a visitor wants to see live.

    Args:
        model, detail: As on the page. A faster model may take their place.
        score_threshold: The lowest score that is shown. Every object that is shown is followed.
    """

    model: str
    detail: str
    score_threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What was found in a frame.

    Args:
        detections: The instances, in pixels of the frame.
        categories: The names of their kinds.
        track_ids: (N,) int64, the track of each instance, 0 if it has none.
        words: A line that says which model looked, and why if it is not the one that was wanted.
    """

    detections: Detections
    categories: Categories
    track_ids: NDArray[np.int64]
    words: str


@dataclass(slots=True, eq=False)
class _Place:
    """A live visitor. The tracker's state changes with each frame."""

    wanted: Wanted
    last: float
    began: float
    tracks: Tracks = field(default_factory=Tracks)
    in_flight: bool = False
    frames: int = 0
    slow: int = 0
    """The number of slow frames, one after the other."""
    faster: int = 0
    """How many models the visitor's own model is to be replaced by, one after the other."""
    lease: Lease | None = None
    refusal: str = ""
    """Why no graphics processor was lent."""
    ask_again: float = 0.0
    """When the next lease may be asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """How the next frame is looked at.

    Args:
        words: As in `Seen`.
        find: Finds the instances in a frame, (H, W, 3) uint8 RGB.
        categories: The names of their kinds.
    """

    words: str
    find: Callable[[NDArray[np.uint8]], Detections]
    categories: Categories


class Live:
    """The places of live visitors.

    Args:
        service: Gives models, turns and lines of the log.
        most: The number of places.
    """

    def __init__(self, service: Service, most: int | None = None) -> None:
        self._service = service
        self._most = places(os.environ.get(PLACES_VARIABLE)) if most is None else most
        self._places: dict[str, _Place] = {}

    async def look(
        self, token: str, frame: bytes, wanted: Wanted, request: Request, answer: Callable[[Seen], T]
    ) -> tuple[str, T]:
        """Finds and follows the objects in a frame, when its turn has come.

        Args:
            token: The token from the last answer. With any other text the frame takes a new place.
            frame: A picture file, for example a JPEG, of at most `FRAME_SIDE` pixels a side.
            request: The request that is handled.
            answer: Turns what was seen into the answer, in the thread that does the work.

        Returns:
            The token of the visitor's place, and the answer.

        Raises:
            Busy: All places are taken, or the answer to the last frame has not come yet.
            ImageError: The frame is no picture, or it is too large.
        """
        token, place = self._enter(token, wanted)
        place.in_flight = True
        try:
            way = await self._way(place, request)
            seconds = time.monotonic()

            def work(job: Job) -> T:
                return answer(self._seen(place, frame, way, seconds))

            return token, await request.glance(work)
        finally:
            place.in_flight = False
            place.last = time.monotonic()
            if not place.frames:  # nobody has learned the token
                self._forget(token)

    def leave(self, token: str) -> None:
        """Frees the place with this token, if there is one."""
        if (place := self._forget(token)) is not None:
            seconds = round(time.monotonic() - place.began)
            log.info(json.dumps({"kind": "live", "frames": place.frames, "seconds": seconds}))

    def _forget(self, token: str) -> _Place | None:
        place = self._places.pop(token, None)
        if place is not None and place.lease is not None:
            place.lease.give_back()
        return place

    def _enter(self, token: str, wanted: Wanted) -> tuple[str, _Place]:
        now = time.monotonic()
        for other, taken in list(self._places.items()):
            if not taken.in_flight and taken.last < now - QUIET_SECONDS:
                self.leave(other)
        place = self._places.get(token)
        if place is None:
            if len(self._places) >= self._most:
                raise Busy(FULL if self._most else OFF)
            token, place = secrets.token_urlsafe(TOKEN_BYTES), _Place(wanted, now, now)
            self._places[token] = place
        elif place.in_flight:
            raise Busy(ONE_AT_A_TIME)
        elif (wanted.model, wanted.detail) != (place.wanted.model, place.wanted.detail):
            place.slow = place.faster = 0
        place.wanted = wanted
        return token, place

    async def _way(self, place: _Place, request: Request) -> _Way:
        """Returns which model looks at the next frame of this visitor."""
        chosen = self._service.models.ready(place.wanted.model)
        if chosen is None:  # a camera cannot wait for a download
            self._service.models.start(place.wanted.model)
            small = await request.model(FALLBACK_NAME)
            return self._timed(
                place, small, FULL_DETAIL, f"Model {small.name}: the other one is not loaded yet."
            )
        if zero_gpu.ACTIVE and chosen.device.type == "cuda":
            return await self._borrowed(place, chosen)
        detail = detail_of(chosen, place.wanted.detail)
        ways = [(chosen, detail)]
        if detail_of(chosen, FAST_DETAIL) != detail:
            ways.append((chosen, FAST_DETAIL))
        if chosen.name != FALLBACK_NAME:
            small = await request.model(FALLBACK_NAME)
            if small.categories == chosen.categories:  # else it would find other things
                ways.append((small, FULL_DETAIL))
        if place.slow >= PATIENCE:
            place.slow, place.faster = 0, place.faster + 1
        place.faster = min(place.faster, len(ways) - 1)
        while place.faster < len(ways) - 1 and not place.frames and self._is_slow(*ways[place.faster]):
            place.faster += 1
        model, detail = ways[place.faster]
        words = f"Model {model.name}."
        if model is not chosen:
            words = f"Model {model.name}: {chosen.name} is too slow here for live."
        elif place.faster:
            words = f"Model {model.name} with {detail} detail: more is too slow here for live."
        return self._timed(place, model, detail, words)

    def _is_slow(self, model: SegmentationModel, detail: str) -> bool:
        """Returns whether the model is known to be too slow. An unknown one gets a chance."""
        seconds = self._service.seconds.measured(model, detail)
        if seconds is None:
            seconds = FIRST_GUESS.get(model.name, 0.0) if model.device.type == "cpu" else 0.0
        return seconds > FRAME_SECONDS

    def _timed(self, place: _Place, model: SegmentationModel, detail: str, words: str) -> _Way:
        """Returns the way of a model on a device of our own. Counts its slow frames."""

        def find(image: NDArray[np.uint8]) -> Detections:
            def run() -> Detections:
                start = time.perf_counter()
                found = segment(model, image, detail)
                place.slow = place.slow + 1 if time.perf_counter() - start > FRAME_SECONDS else 0
                return found

            return on_device(model, run)

        return _Way(words, find, model.categories)

    async def _borrowed(self, place: _Place, chosen: SegmentationModel) -> _Way:
        """Returns the way on a Zero GPU Space: a lease, or the small model on the CPU until there is one."""
        small = await asyncio.to_thread(self._service.models.on_cpu, FALLBACK_NAME)
        if small.categories != chosen.categories:
            small = await asyncio.to_thread(self._service.models.on_cpu, chosen.name)
        now = time.monotonic()
        lease = place.lease
        if (lease is None or lease.over) and now >= place.ask_again:
            if lease is not None and lease.refusal is not None:
                place.refusal, place.ask_again = lease.refusal, now + REFUSED_SECONDS
                lease = place.lease = None
            else:
                lease = place.lease = Lease(chosen)
        left = lease.seconds_left if lease is not None else 0.0
        if lease is None or left <= 0:
            told = place.refusal or "a graphics processor was asked for."
            return self._timed(place, small, FULL_DETAIL, f"Model {small.name} on the CPU: {told}")
        place.refusal = ""
        borrowed, detail = lease, place.wanted.detail

        def find(image: NDArray[np.uint8]) -> Detections:
            try:
                return borrowed.segment(image, detail)
            except NotLentError:  # it has just ended
                return on_device(small, lambda: segment(small, image))

        words = f"Model {chosen.name} on a graphics processor, lent for {left:.0f} more seconds."
        return _Way(words, find, chosen.categories)

    def _seen(self, place: _Place, frame: bytes, way: _Way, seconds: float) -> Seen:
        photo = _read(frame)
        if max(photo.size) > FRAME_SIDE:
            size = f"{photo.size[1]} x {photo.size[0]}"
            raise ImageError(f"Expected a frame of at most {FRAME_SIDE} pixels a side, got {size}.")
        found = way.find(photo.pixels)
        place.frames += 1
        threshold = place.wanted.score_threshold
        options = Options(begins=threshold, certain=min(Options().certain, threshold))
        place.tracks, track_ids = step(place.tracks, found, seconds, options)
        return Seen(found, way.categories, track_ids, way.words)


def _read(frame: bytes) -> Photo:
    """Reads a frame as every picture is read, from a file that is deleted at once."""
    Path(get_upload_folder()).mkdir(parents=True, exist_ok=True)
    opened, name = tempfile.mkstemp(dir=get_upload_folder(), prefix="frame-")
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(frame)
        return read_photo(name, FRAME_SIDE)
    finally:
        Path(name).unlink()
