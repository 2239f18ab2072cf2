"""Look: finds the instances in a clip's frames and follows them, while the frames stream by.

`plan` says how many frames will be looked at and how long this takes, before anything runs. `segment_clip` is
a generator, so the first results can be shown while the rest is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clips.result import Look, packed
from detections import Detections
from photo.clips import ClipFacts
from photo.video import Frame
from tracks import Tracks, step

SENSIBLE_SECONDS = 60.0
"""A clip should take at most this time, if that leaves `LEAST_RATE`."""
LEAST_RATE = 4.0
"""So many frames of each second are looked at, if there are so many. With fewer, tracks break."""
USUAL_SECONDS = 10.0
"""The length of a clip that does not state it."""

Find = Callable[[Sequence[NDArray[np.uint8]]], Sequence[Detections]]
"""Returns the detections of each frame, (H, W, 3) uint8 RGB, in pixels of this frame."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which frames of a clip will be looked at.

    Args:
        stride: Every `stride`-th frame.
        frames: The number of these frames.
        seconds: How long it will take.
        rate: The number of these frames in each second of the clip.
    """

    stride: int
    frames: int
    seconds: float
    rate: float

    @property
    def words(self) -> str:
        """The plan in words, such as "every 3rd frame, about 40 s"."""
        which = "every frame" if self.stride == 1 else f"every {_ordinal(self.stride)} frame"
        seconds = max(1, round(self.seconds))
        return f"{which}, about {seconds} s" if seconds < 120 else f"{which}, about {seconds / 60:.0f} min"


def plan(
    facts: ClipFacts, seconds_per_frame: float, sensible_seconds: float = SENSIBLE_SECONDS, stride: int = 0
) -> Plan:
    """Chooses which frames to look at: as many as can be looked at in `sensible_seconds`.

    Args:
        seconds_per_frame: How long the model needs for one frame.
        stride: If it is above 0, this stride is taken, and the plan only says how long it takes.
    """
    frames = facts.frames or round(USUAL_SECONDS * facts.rate)
    wanted = math.ceil(frames * seconds_per_frame / sensible_seconds)
    most = max(1, math.floor(facts.rate / LEAST_RATE))
    stride = stride or max(1, min(wanted, most))
    looks = math.ceil(frames / stride)
    return Plan(stride, looks, looks * seconds_per_frame, facts.rate / stride)


def segment_clip(
    groups: Iterable[list[Frame]], find: Find, size: tuple[int, int]
) -> Generator[tuple[Look, ...], None, None]:
    """Yields what was found in each group of frames, as soon as it was found.

    Args:
        groups: The frames in order of time, for example from `photo.clips.OpenClip.frames`.
        find: Runs the network on a group.
        size: (height, width) of the clip's upright frames in pixels. Boxes are in these pixels.
    """
    state = Tracks()
    for group in groups:
        looks = []
        for frame, found in zip(group, find([frame.pixels for frame in group]), strict=True):
            detections = found.resized(*size)
            state, track_ids = step(state, detections, frame.seconds)
            looks.append(packed(frame.number, frame.seconds, detections, track_ids))
        yield tuple(looks)


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
