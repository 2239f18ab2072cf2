"""Clips: runs a model on a clip's file, a few frames at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clips.look import Plan, plan, segment_clip
from clips.result import ClipResult, Look
from detections import Detections
from inference import BATCH, WORKING_SIDE, SegmentationModel, detail_of, segment_many_or_fall_back
from network.detail import FULL_DETAIL
from photo.clips import open_clip
from serving.photos import on_device, run_spare

MOST_SECONDS = 600.0
"""So long a clip is worked on, apart from waiting. What was found until then is the result."""
LONG = "After {minutes:.0f} minutes the rest of the clip was left out."


@dataclass(frozen=True, slots=True, eq=False)
class ClipProgress:
    """How far the work on a clip is.

    Args:
        new: What was found since the last progress.
        done: The number of frames that were looked at.
        frames: The number of frames that will probably be looked at.
        frames_per_second: How many were looked at in each second of work. 0 before the first.
        seconds_left: How long the rest will probably take.
        result: What was found so far. It is whole with the last progress.
    """

    new: tuple[Look, ...]
    done: int
    frames: int
    frames_per_second: float
    seconds_left: float
    result: ClipResult

    @property
    def words(self) -> str:
        """The progress in words, such as "12 of 40 frames, 8.3 a second, 3 s left"."""
        left = f", {self.seconds_left:.0f} s left" if self.seconds_left >= 1 else ""
        return f"{self.done} of {self.frames} frames, {self.frames_per_second:.1f} a second{left}"


def plan_clip_file(path: Path, seconds_per_frame: float, stride: int = 0) -> tuple[Plan, tuple[str, ...]]:
    """Returns which frames of a clip will be looked at, and what the visitor should know before.

    Raises:
        ImageError: As `photo.clips.open_clip`.
    """
    with open_clip(path, WORKING_SIDE) as clip:
        notes = (f"Only the first {clip.facts.seconds:.0f} seconds will be looked at.",)
        return plan(clip.facts, seconds_per_frame, stride=stride), notes if clip.facts.is_cut else ()


def segment_clip_file(
    path: Path,
    model: SegmentationModel,
    seconds_per_frame: float,
    load_spare: Callable[[str], SegmentationModel] | None = None,
    detail: str = FULL_DETAIL,
    stride: int = 0,
) -> Generator[ClipProgress, None, None]:
    """Yields what `model` finds in a clip, step by step. Each step is one group of frames.

    The work of a step is done when the next progress is asked for, so the caller can wait for a turn between
    two steps. Closing the generator ends the decoding process.

    Args:
        seconds_per_frame: How long the model will probably need for a frame. It decides the stride.
        load_spare, detail: As for `inference.segment_or_fall_back`.
        stride: If it is above 0, every `stride`-th frame is looked at.

    Raises:
        ImageError: As `photo.clips.open_clip`.
        MemoryError: There is too little memory, on the CPU as well.
    """
    count = BATCH if model.device.type == "cuda" else 1
    used, working = model, 0.0
    notes: dict[str, None] = {}

    def find(images: Sequence[NDArray[np.uint8]]) -> Sequence[Detections]:
        nonlocal used
        found, used, note = on_device(
            used, lambda: segment_many_or_fall_back(used, images, load_spare, detail, run_spare)
        )
        if note:
            notes[note] = None
        return found

    start = time.perf_counter()
    with open_clip(path, WORKING_SIDE, count=count) as clip:
        chosen = plan(clip.facts, seconds_per_frame, stride=stride)
        looks: list[Look] = []
        result = ClipResult(
            path, clip.facts, chosen.stride, (), model, detail_of(model, detail), is_whole=False
        )
        with contextlib.closing(
            segment_clip(clip.frames(chosen.stride, count), find, clip.facts.size)
        ) as steps:
            for new in steps:
                working += time.perf_counter() - start
                looks += new
                speed = len(looks) / working
                frames = max(chosen.frames, len(looks))
                result = replace(
                    result,
                    looks=tuple(looks),
                    model=used,
                    notes=tuple(dict.fromkeys((*clip.notes, *notes))),
                    seconds=working,
                )
                yield ClipProgress(new, len(looks), frames, speed, (frames - len(looks)) / speed, result)
                if working > MOST_SECONDS:
                    notes[LONG.format(minutes=MOST_SECONDS / 60)] = None
                    break
                start = time.perf_counter()
        done = replace(result, is_whole=True, notes=tuple(dict.fromkeys((*clip.notes, *notes))))
        yield ClipProgress((), len(looks), len(looks), len(looks) / working, 0.0, done)
