"""Clips: opens a clip of any usual kind, and gives its frames one after the other, within limits.

A process of its own decodes each clip (`photo.client`, `photo.video`), because the file comes from a
stranger. The frames stream through a small shared memory, so the app's memory does not grow with the clip.
This module says what is asked of the process, and checks what comes back.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photo.client import DecoderFault, Talk, client
from photo.errors import ImageError
from photo.formats import CLIP_FORMATS
from photo.images import MAX_NOTE, MAX_NOTES, pair
from photo.limits import MAX_CLIP_BYTES, MAX_CLIP_PIXELS, MAX_CLIP_SECONDS
from photo.strips import reduced_size
from photo.video import RATES, Frame


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What a clip's file says about itself.

    Attributes:
        size: (height, width) of an upright frame in pixels.
        shape: (height, width) of the frames that `OpenClip.frames` yields.
        rate: Frames per second, on average, as the file states them.
        seconds: The length in seconds, at most `MAX_CLIP_SECONDS`. None if the file states none.
        is_cut: The file states a longer length, and only the beginning is read.
        format: One of `photo.formats.CLIP_FORMATS`.
    """

    size: tuple[int, int]
    shape: tuple[int, int]
    rate: float
    seconds: float | None
    is_cut: bool
    format: str

    @property
    def frames(self) -> int | None:
        """The number of frames that will probably be read. None if the file states no length."""
        return None if self.seconds is None else max(1, round(self.seconds * self.rate))


class OpenClip:
    """A clip that a process holds open."""

    def __init__(self, talk: Talk, facts: ClipFacts, notes: tuple[str, ...]) -> None:
        self._talk, self.facts, self.notes = talk, facts, notes
        """`notes`: what the visitor should know about the clip, in sentences. Reading adds to them."""

    def frames(self, stride: int = 1, count: int = 1) -> Iterator[list[Frame]]:
        """Yields every `stride`-th frame in groups of `count`. The last group may be smaller.

        While the caller works on a group, the process decodes the next one. Can be called once.

        Args:
            stride: 1 for every frame, 2 for every other frame, and so on.
            count: At most the count that `open_clip` was told.

        Raises:
            ImageError: The clip is damaged so badly that no frame could be read, or it is too slow to read.
            DecoderFault: There is a bug in the code that decodes.
        """
        size = 3 * math.prod(self.facts.shape)
        last, group = -math.inf, 0
        while True:
            reply = self._talk.reply({"stride": stride, "count": count})
            found, room = [], self._talk.room()
            for k, (number, seconds) in enumerate(_told(reply, count)):
                if not last < seconds < 24 * 3600:
                    raise DecoderFault(f"the times of the frames do not rise: {last}, {seconds}")
                last, at = seconds, (group * count + k) * size
                pixels = room[at : at + size].reshape(*self.facts.shape, 3).copy()
                found.append(Frame(number, seconds, pixels))
            self.notes += _notes(reply)
            group = 1 - group
            if found:
                yield found
            if reply.get("ended"):
                return


@contextlib.contextmanager
def open_clip(
    file: str | os.PathLike[str], longest_side: int, most_seconds: float = MAX_CLIP_SECONDS, count: int = 1
) -> Iterator[OpenClip]:
    """Opens the clip in `file`. Its frames are reduced so that no side exceeds `longest_side`.

    The content tells the format, not the name. Rotation is applied, pixels that are not square are made
    square, HDR becomes sRGB, and transparency is laid over white. The first frame was decoded when the block
    begins.

    Args:
        most_seconds: Frames at this time and later are not read.
        count: How many frames `OpenClip.frames` will give at once.

    Raises:
        ImageError: Empty, too large, not a clip, a format that is not read, damaged, or no picture in it.
        DecoderFault: There is a bug in the code that decodes.
    """
    path = Path(file)
    try:
        bytes_ = path.stat().st_size
        if bytes_ == 0:
            raise ImageError("This file is empty. Please choose a clip with something in it.")
        if bytes_ > MAX_CLIP_BYTES:
            raise ImageError(f"This clip is too large: at most {MAX_CLIP_BYTES >> 20} MB are taken here.")
        request = {"kind": "clip", "longest_side": longest_side, "seconds": most_seconds}
        room = 2 * count * 3 * longest_side**2
        with contextlib.ExitStack() as stack:
            talk = stack.enter_context(client().talk(path, request, room))
            facts, notes = _facts(talk.reply(), longest_side, most_seconds)
            closing = stack.pop_all()
    except OSError as error:
        raise ImageError("The clip could not be opened. Please send it again.") from error
    with closing:
        yield OpenClip(talk, facts, notes)


def _facts(reply: dict[str, Any], longest_side: int, most: float) -> tuple[ClipFacts, tuple[str, ...]]:
    try:
        shape, size = pair(reply["shape"]), pair(reply["size"])
        rate, seconds = float(reply["rate"]), reply["seconds"]
        seconds = None if seconds is None else float(seconds)
        good = (
            math.prod(size) <= MAX_CLIP_PIXELS
            and shape == reduced_size(size, longest_side)
            and RATES[0] <= rate <= RATES[1]
            and (seconds is None or 0 < seconds < math.inf)
            and reply["format"] in CLIP_FORMATS
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DecoderFault(f"the answer is malformed: {error!r}") from error
    if not good:
        raise DecoderFault(f"the answer is impossible: {shape} of {size}, {rate}, {seconds}")
    is_cut = seconds is not None and seconds > most + 1 / rate
    length = None if seconds is None else min(seconds, most)
    return ClipFacts(size, shape, rate, length, is_cut, reply["format"]), _notes(reply)


def _told(reply: dict[str, Any], count: int) -> list[tuple[int, float]]:
    """Returns the number and the time of each frame in a group."""
    try:
        found = [(int(number), float(seconds)) for number, seconds in reply["frames"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DecoderFault(f"the answer is malformed: {error!r}") from error
    if len(found) > count or not (found or reply.get("ended") is True):
        raise DecoderFault(f"the answer is impossible: {len(found)} frames")
    return found


def _notes(reply: dict[str, Any]) -> tuple[str, ...]:
    notes = reply.get("notes")
    if not isinstance(notes, list):
        raise DecoderFault("the answer is malformed: no notes")
    return tuple(str(note)[:MAX_NOTE] for note in notes[:MAX_NOTES])
