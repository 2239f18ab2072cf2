"""Result: what the model saw in one photo, and the part of it that passes a visitor's filters.

The page and the API both make a `Result` with `segment_file` and look at it through `view`, so that they
cannot disagree.
"""

from __future__ import annotations

import difflib
import os
import reprlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from answer import coco
from detections import Detections
from inference import WORKING_SIDE, SegmentationModel, on_network_thread, segment_or_fall_back
from photo.images import read_photo


class SettingsError(ValueError):
    """A setting is out of its range; the message says what was expected and what came."""


MAX_ID = 1_000_000
"""No instance has a higher id: a photo has a hundred instances at most."""
MAX_HIDDEN = 1000
"""Ids that may be left out by hand."""
SAID = 60
"""Characters of what came that a sentence repeats at most."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which instances count, and where their masks end.

    Args:
        score_threshold: The least score, 0 to 1. The model keeps nothing at or below 0.05.
        classes: Names of the COCO categories wanted; None for all.
        mask_threshold: A pixel belongs to a mask when its probability is above this, 0 to 1.
        hidden: Ids of instances that are left out whatever their score, for example wrong ones.

    Raises:
        SettingsError: A value of another type or range, or a name that is not one of COCO's 80.
    """

    score_threshold: float = 0.5
    classes: tuple[str, ...] | None = None
    mask_threshold: float = 0.5
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_fraction("score_threshold", self.score_threshold)
        check_fraction("mask_threshold", self.mask_threshold)
        if self.classes is not None:
            _check_names(self.classes)
        if len(self.hidden) > MAX_HIDDEN:
            raise SettingsError(f"hidden: expected at most {MAX_HIDDEN} ids, got {len(self.hidden)}.")
        for id in self.hidden:
            if type(id) is not int:
                raise SettingsError(f"hidden: expected ids of instances such as [2, 5], got {said([id])}.")
            if not 1 <= id <= MAX_ID:
                raise SettingsError(f"hidden: expected ids from 1 to {MAX_ID}, got {said(id)}.")


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What `segment_file` found.

    Args:
        path: The photo's file, kept for full-resolution pictures of it.
        working_image: (h, w, 3) uint8 RGB, the photo as the model was given it.
        detections: Everything above the score floor, in pixels of the photo itself.
        model: What found it.
        timings_ms: Milliseconds by stage: "read", "model".
        format: Of the photo's file, as Pillow names it.
        notes: What a visitor should know about how it was made, in sentences.
    """

    path: Path
    working_image: NDArray[np.uint8]
    detections: Detections
    model: SegmentationModel
    timings_ms: dict[str, float]
    format: str = "PNG"
    notes: tuple[str, ...] = ()


FIRST_FRAME = "This file holds more than one picture; only the first was looked at."


def segment_file(
    path: str | os.PathLike[str],
    model: SegmentationModel,
    on_stage: Callable[[float, str], object] = lambda share, stage: None,
) -> Result:
    """Reads a photo and runs `model` on it, once. One network runs at a time in a process.

    Args:
        on_stage: Called before each stage with the share of the work that is done, 0 to 1, and a few words
            for the visitor.

    Raises:
        ImageError: As `images.read_photo`.
        MemoryError: There is too little memory, also on the CPU.
    """
    on_stage(0.1, "Reading the photo")
    start = time.perf_counter()
    photo = read_photo(path, WORKING_SIDE)
    read_ms = (time.perf_counter() - start) * 1000
    on_stage(0.2, "Waiting for other photos")

    def look() -> tuple[Detections, SegmentationModel, str | None, float]:
        on_stage(0.3, "Looking for objects")
        start = time.perf_counter()
        return *segment_or_fall_back(model, photo.pixels), (time.perf_counter() - start) * 1000

    found, model, note, model_ms = on_network_thread(look)
    return Result(
        Path(path),
        photo.pixels,
        found.resized(*photo.size),
        model,
        {"read": read_ms, "model": model_ms},
        photo.format,
        tuple(text for text in (FIRST_FRAME if photo.animated else None, note) if text),
    )


def view(detections: Detections, filters: Filters) -> Detections:
    """The instances that pass: score at least the threshold, category among the classes, not hidden."""
    keep = detections.scores >= np.float32(filters.score_threshold)
    keep &= ~np.isin(detections.ids, filters.hidden)
    if filters.classes is not None:
        keep &= np.isin(detections.class_ids, [coco.BY_NAME[name].id for name in filters.classes])
    return detections.select(keep)


def names(detections: Detections) -> list[str]:
    """The category name of each instance."""
    return [coco.name_of(int(class_id)) for class_id in detections.class_ids]


def counts(detections: Detections) -> dict[str, int]:
    """Instances by category name, the most frequent first, ties by the highest score."""
    return dict(Counter(names(detections)).most_common())


def check_fraction(name: str, value: object) -> None:
    """Raises `SettingsError` unless `value` is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise SettingsError(f"{name}: expected a number from 0 to 1, got {said(value)}.")


def said(value: object) -> str:
    """`value` as a sentence may repeat it: on one line, and short also where a megabyte came.

    Objects are not spelled out: Gradio writes paths of this server into those that stand for files.
    """
    text = _short.repr(value)
    return text if len(text) <= SAID else text[: SAID - 1] + "…"


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring, self.maxlong, self.maxlist, self.maxlevel = 40, 40, 3, 2

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        return "{…}" if x else "{}"

    def repr_instance(self, x: object, level: int) -> str:
        return repr(x) if isinstance(x, bool | float | None) else "{…}"


_short = _Short()


def _check_names(classes: tuple[str, ...]) -> None:
    if len(classes) > len(coco.BY_NAME):
        raise SettingsError(f"classes: expected at most {len(coco.BY_NAME)} names, got {len(classes)}.")
    for name in classes:
        if not isinstance(name, str) or name not in coco.BY_NAME:
            near = difflib.get_close_matches(str(name)[:SAID], coco.BY_NAME, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "see the list of COCO's 80 categories."
            raise SettingsError(f"classes: there is no category {said(name)}; {hint}")
