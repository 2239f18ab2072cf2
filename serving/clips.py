"""Clips: runs a model on a clip's file, a few frames at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
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
from serving.results import Key, key_of

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


class ClipResults:
    """Keeps the results of a few clips, so that another format or threshold does not run the network again.

    A result is found again by the content of the clip's file, as in `serving.results`. What is kept has no
    path. All methods may be called from any thread.

    Args:
        most: The number of results that are kept. One takes about 40 MB for a minute with 30 objects.
        seconds: How long a result is kept after it was used last.
    """

    def __init__(self, most: int = 4, seconds: float = 3600.0) -> None:
        self.most, self.seconds = most, seconds
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, tuple[float, ClipResult]] = OrderedDict()

    def find(self, path: Path, model: SegmentationModel, detail: str, stride: int) -> ClipResult | None:
        """Returns the result for a clip's file and for what was asked for, or None."""
        key = _key(path, model, detail, stride)
        with self._lock:
            self._forget()
            if key not in self._kept:
                return None
            _, result = self._kept.pop(key)
            self._kept[key] = time.monotonic(), result
        return replace(result, path=path, cached=True)

    def keep(self, result: ClipResult, model: SegmentationModel, detail: str, stride: int) -> None:
        """Keeps a whole result that was found with `model` itself."""
        if result.is_whole and result.model is model:
            key = _key(result.path, model, detail, stride)
            with self._lock:
                self._kept[key] = time.monotonic(), replace(result, path=Path())
                self._kept.move_to_end(key)
                while len(self._kept) > self.most:
                    self._kept.popitem(last=False)

    def forget(self) -> None:
        """Drops the results that were not used for too long."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        end = time.monotonic() - self.seconds
        self._kept = OrderedDict((key, kept) for key, kept in self._kept.items() if kept[0] > end)


def _key(path: Path, model: SegmentationModel, detail: str, stride: int) -> Key:
    return (*key_of(path, model, detail), str(stride))


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
                    notes=tuple(dict.fromkeys((*clip.notes, *used.notes, *notes))),
                    seconds=working,
                )
                yield ClipProgress(new, len(looks), frames, speed, (frames - len(looks)) / speed, result)
                if working > MOST_SECONDS:
                    notes[LONG.format(minutes=MOST_SECONDS / 60)] = None
                    break
                start = time.perf_counter()
        done = replace(result, is_whole=True, notes=tuple(dict.fromkeys((*clip.notes, *used.notes, *notes))))
        yield ClipProgress((), len(looks), len(looks), len(looks) / working, 0.0, done)
