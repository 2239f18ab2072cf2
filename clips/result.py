"""Result: holds what was found in the frames of one clip, and a view of it.

A look is what was found in one frame. Its instances carry the number of their track as their id, so an object
keeps its id from look to look.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from answer.result import in_view, passes
from answer.settings import Filters
from categories import Categories
from detections import Detections
from inference import SegmentationModel
from network.detail import FULL_DETAIL
from photo.clips import ClipFacts
from visualize import Style

LEVELS = 255
"""A look keeps the probabilities of its masks in steps of 1 / `LEVELS`, packed."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What was found in one frame: N instances, highest score first. Its masks are packed.

    Args:
        number: The frame's number in the clip, from 0.
        seconds: The frame's time.
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the clip's upright frame.
        scores: (N,) float32.
        class_ids: (N,) int64, category ids.
        ids: (N,) int64: from 1, the instance's track; below 0, an instance that belongs to no track.
        image_size: (height, width) of the clip's upright frame.
    """

    number: int
    seconds: float
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    ids: NDArray[np.int64]
    image_size: tuple[int, int]
    _masks: bytes
    _side: int

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def detections(self) -> Detections:
        """The instances with their masks, which are unpacked each time.

        A probability differs from the network's by at most 1 / 510, and lies on the same side of 0.5.
        """
        levels = np.frombuffer(zlib.decompress(self._masks), np.uint8).astype(np.float32)
        masks: NDArray[np.float32] = levels.reshape(len(self), self._side, self._side) / np.float32(LEVELS)
        return Detections(self.boxes, self.scores, self.class_ids, masks, self.ids, self.image_size)


def packed(number: int, seconds: float, detections: Detections, track_ids: NDArray[np.int64]) -> Look:
    """Returns detections as a look.

    Args:
        track_ids: (N,) int64, the track of each instance; 0 for an instance that belongs to no track.
    """
    ids = np.where(track_ids > 0, track_ids, -1 - np.arange(len(track_ids)))
    levels = np.round(detections.mask_probs * LEVELS).astype(np.uint8)
    return Look(
        number,
        seconds,
        detections.boxes,
        detections.scores,
        detections.class_ids,
        ids,
        detections.image_size,
        zlib.compress(levels.tobytes(), 1),
        detections.mask_probs.shape[-1],
    )


@dataclass(frozen=True, slots=True, eq=False)
class ClipResult:
    """Everything that was found in one clip, or in its frames so far.

    Args:
        path: The clip's file.
        facts: What the file says about itself.
        stride: Every `stride`-th frame was looked at.
        looks: What was found in these frames, in order of time.
        model: The model that found it.
        detail: How closely the model looked, one of `network.detail.DETAILS`.
        notes: Sentences for the visitor about how the result was made.
        seconds: How long decoding, the network and tracking took together.
        is_whole: Whether the clip was looked at to its end, or to the end of what is allowed.
        cached: Whether an earlier run on the same clip found it.
    """

    path: Path
    facts: ClipFacts
    stride: int
    looks: tuple[Look, ...]
    model: SegmentationModel
    detail: str = FULL_DETAIL
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    is_whole: bool = True
    cached: bool = False

    @property
    def categories(self) -> Categories:
        """The kinds of object that the model knows."""
        return self.model.categories

    @property
    def times(self) -> NDArray[np.float64]:
        """(L,) the times of the looks in seconds."""
        return np.array([look.seconds for look in self.looks], np.float64)

    @property
    def durations(self) -> NDArray[np.float64]:
        """(L,) how long each look stands for, in seconds: until the next look, or one usual step."""
        times = self.times
        usual = float(np.median(np.diff(times))) if len(times) > 1 else self.stride / self.facts.rate
        return np.diff(times, append=times[-1] + usual) if len(times) else times


@dataclass(frozen=True)
class ClipView:
    """A clip's result as a visitor looks at it. Making or changing a view never runs the network.

    Args:
        result: Everything that was found.
        filters: The rules that decide which instances are in view. `hidden` holds ids of tracks.
        style: How they are drawn.
    """

    result: ClipResult
    filters: Filters = field(default_factory=Filters)
    style: Style = field(default_factory=Style)

    @property
    def categories(self) -> Categories:
        """The names of what is in view."""
        return self.result.categories

    @functools.cached_property
    def kept(self) -> tuple[NDArray[np.bool_], ...]:
        """(N,) bool for each look: which of its instances are in view."""
        return tuple(
            passes(look.scores, look.class_ids, look.ids, self.categories, self.filters)
            for look in self.result.looks
        )

    def shown(self, k: int) -> Detections:
        """Returns the instances of look `k` that are in view, highest score first, with their masks."""
        return in_view(self.result.looks[k].detections, self.categories, self.filters)
