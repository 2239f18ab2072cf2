"""Photos: runs a model on a photo's file, one network at a time in this process.

A network has one thread of its own, not a lock. OpenMP keeps a team of threads for each thread that calls
torch, and teams that share cores slow each other down. Two photos at once would take twice the memory and no
less time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from answer.progress import OnStage, ignore_stage
from answer.result import Result
from detections import Detections
from inference import (
    WORKING_SIDE,
    SegmentationModel,
    detail_of,
    look_inside,
    reading_side,
    segment_closer,
    segment_many_or_fall_back,
    segment_or_fall_back,
)
from network import zero_gpu
from network.detail import CLOSER, FULL_DETAIL
from network.inside import Inside
from photo.images import read_photo
from photo.strips import fit_within

FIRST_FRAME = "This file holds more than one picture; only the first was looked at."

CLOSE_ENOUGH = "The model sees this photo at its full size anyway, so looking closer changed nothing."

T = TypeVar("T")
Looked = tuple[Detections, SegmentationModel, str | None, float]
"""What was found, the model that found it, a note for the visitor, and the milliseconds it took."""

NETWORK = "network"
"""How the name of the thread for networks begins."""

_network_thread = ThreadPoolExecutor(1, NETWORK)


def on_network_thread(work: Callable[[], T]) -> T:
    """Runs `work` alone in the thread for networks, and returns or raises what `work` does."""
    return _network_thread.submit(copy_context().run, work).result()


def on_device(model: SegmentationModel, work: Callable[[], T]) -> T:
    """Runs `work` in the thread for networks, or here if `model` borrows a processor of its own."""
    lent = zero_gpu.ACTIVE and model.device.type == "cuda"
    return work() if lent else on_network_thread(work)


def run_spare(work: Callable[[], T]) -> T:
    """Runs the work of a spare model in the thread for networks, also if the caller is that thread."""
    if threading.current_thread().name.startswith(NETWORK):
        return work()
    return on_network_thread(work)


def segment_file(
    path: str | os.PathLike[str],
    model: SegmentationModel,
    on_stage: OnStage = ignore_stage,
    load_spare: Callable[[str], SegmentationModel] | None = None,
    detail: str = FULL_DETAIL,
    seconds: float | None = None,
) -> Result:
    """Reads a photo and runs `model` on it, once.

    Args:
        on_stage: Called before each stage.
        load_spare, detail: As for `inference.segment_or_fall_back`. For "closer", each look has a turn of its
            own in the thread for networks, so that other photos do not wait for all of them.
        seconds: How long the model will probably need for one look, if that is known.

    Raises:
        ImageError: As `images.read_photo`.
        MemoryError: There is too little memory, on the CPU as well.
    """
    on_stage(0.1, "Reading the photo")
    start = time.perf_counter()
    photo = read_photo(path, reading_side(model, detail))
    read_ms = (time.perf_counter() - start) * 1000
    on_stage(0.2, "Waiting for other photos")
    notes = [FIRST_FRAME] if photo.animated else []
    if detail == CLOSER:
        (found, used, note, model_ms), looks = _look_closer(
            model, photo.pixels, on_stage, load_spare, seconds
        )
        notes += [CLOSE_ENOUGH] if looks == 1 else []
    else:
        found, used, note, model_ms = _look(model, photo.pixels, on_stage, load_spare, detail)
    return Result(
        Path(path),
        fit_within(photo.pixels, WORKING_SIDE),
        found.resized(*photo.size),
        used,
        {"read": read_ms, "model": model_ms},
        photo.format,
        (*notes, *photo.notes, *used.notes, *([note] if note else [])),
        note,
        detail_of(used, detail),
    )


def _look(
    model: SegmentationModel,
    image: NDArray[np.uint8],
    on_stage: OnStage,
    load_spare: Callable[[str], SegmentationModel] | None,
    detail: str,
) -> Looked:
    def look() -> Looked:
        on_stage(0.3, "Looking for objects")
        start = time.perf_counter()
        found = segment_or_fall_back(model, image, load_spare, detail, run_spare)
        return *found, (time.perf_counter() - start) * 1000

    return on_device(model, look)


def _look_closer(
    model: SegmentationModel,
    image: NDArray[np.uint8],
    on_stage: OnStage,
    load_spare: Callable[[str], SegmentationModel] | None,
    seconds: float | None,
) -> tuple[Looked, int]:
    """Looks at a photo and its parts. Also returns the number of looks."""
    used, note, working, looks = model, None, 0.0, 0

    def find(images: Sequence[NDArray[np.uint8]]) -> Sequence[Detections]:
        def run() -> list[Detections]:
            nonlocal used, note, working
            start = time.perf_counter()
            found, used, failure = segment_many_or_fall_back(used, images, load_spare, run_spare=run_spare)
            working += time.perf_counter() - start
            note = failure or note
            return found

        return on_device(used, run)

    def on_look(done: int, all: int) -> None:
        nonlocal looks
        looks = all
        each = working / done if done else seconds
        left = f", about {max(1, round(each * (all - done)))} s left" if each is not None else ""
        on_stage(0.2 + 0.75 * done / all, f"Looking closer: {done} of {all} looks done{left}")

    found = segment_closer(model, image, find, on_look)
    return (found, used, note, working * 1000), looks


def inside_file(
    path: str | os.PathLike[str],
    model: SegmentationModel,
    on_stage: OnStage = ignore_stage,
    detail: str = FULL_DETAIL,
) -> Inside:
    """Reads a photo and returns every step that `model` takes for it.

    Args:
        on_stage: Called before each stage.
        detail: As for `inference.look_inside`.

    Raises:
        ImageError: As `images.read_photo`.
    """
    on_stage(0.1, "Reading the photo")
    return inside_image(read_photo(path, WORKING_SIDE).pixels, model, on_stage, detail)


def inside_image(
    image: NDArray[np.uint8],
    model: SegmentationModel,
    on_stage: OnStage = ignore_stage,
    detail: str = FULL_DETAIL,
) -> Inside:
    """Returns every step that `model` takes for an image that was read before, (H, W, 3) uint8 RGB."""
    on_stage(0.2, "Waiting for other photos")

    def look() -> Inside:
        on_stage(0.4, "Looking inside")
        return look_inside(model, image, detail)

    return on_device(model, look)
