"""Many: the photos that a visitor sends together, and how far the work on them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from answer.result import Result
from inference import WORKING_SIDE
from photo.images import read_photo
from photo.limits import MAX_MANY_BYTES, MAX_MANY_PIXELS

ZIP_AMONG_OTHERS = "This is a ZIP. Please send it by itself."
TOO_MANY_PIXELS = (
    f"This photo was not looked at, because the photos before it have {MAX_MANY_PIXELS // 10**6} megapixels "
    "together, which is the limit. Please send it by itself."
)
TOO_LARGE = (
    f"These photos are too large: at most {MAX_MANY_BYTES >> 20} MB are taken together. "
    "Please send them in smaller groups."
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One of the photos that a client sent together.

    Args:
        name: Its name without suffix, safe as a file's name. No other of these photos has it.
        path: Its file, or None if there is none.
        fault: Why there is none, in a sentence.
    """

    name: str
    path: Path | None
    fault: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ManyProgress:
    """What became of one photo, and how far the work on all of them is.

    Args:
        place: The photo's place in the list, from 0.
        result: What was found in it, or None if it could not be looked at.
        fault: Why it could not be looked at, in a sentence.
        done: The number of photos that are done.
        count: The number of all photos.
        seconds_left: How long the rest will probably take.
    """

    place: int
    result: Result | None
    fault: str
    done: int
    count: int
    seconds_left: float

    @property
    def words(self) -> str:
        """The progress in words, such as "3 of 12 photos, 20 s left"."""
        return words_of(self.done, self.count, self.seconds_left)


def words_of(done: int, count: int, seconds_left: float) -> str:
    """Returns the progress of the work on photos in words."""
    left = f", {seconds_left:.0f} s left" if seconds_left >= 1 else ""
    return f"{done} of {count} photos{left}"


def light(result: Result) -> Result:
    """Returns a result without the pixels of its photo, which take nearly all of its memory."""
    nothing = np.broadcast_to(np.uint8(0), result.working_image.shape)
    return replace(result, working_image=nothing)


def with_pixels(result: Result) -> Result:
    """Returns a `light` result with the pixels of its photo, which is read again. No network runs.

    Raises:
        ImageError: As `images.read_photo`.
    """
    return replace(result, working_image=read_photo(result.path, WORKING_SIDE).pixels)


def seconds_left(worked: Sequence[float], expected: float, left: int) -> float:
    """Returns how long the photos that are left will probably take.

    Args:
        worked: The seconds that each photo took so far, without those whose result was kept.
        expected: The seconds that a photo takes if none was worked on yet.
    """
    return left * (sum(worked) / len(worked) if worked else expected)
