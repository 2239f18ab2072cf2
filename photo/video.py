"""Video: from the bytes of a clip to upright 8-bit RGB frames with their times, within limits.

This module meets strangers' bytes, so only the processes of `photo.server` run it, and tests. OpenCV (with
FFmpeg) reads containers of video, and Pillow reads animated GIF and WebP. OpenCV reads from memory, because a
fenced process can open no file.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, NamedTuple, Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photo import colours
from photo.content import Content, Reader
from photo.errors import ImageError, damaged
from photo.fence import PROCESSOR_SECONDS
from photo.formats import CLIP_START, clip_format
from photo.limits import MAX_ASPECT, MAX_CLIP_PIXELS, MAX_SIDE
from photo.sources import DECODER_ERRORS
from photo.strips import reduced_size

Image.init()  # a fenced process can import no plugin when it meets its first file

ACCEPTED = "MP4, MOV, WebM, AVI, MKV, or an animated GIF or WebP"
"""The formats for a message."""
SECONDS_EACH = 8.0
"""The processor time for each second of a clip. 4K with 60 frames a second and 10 bits takes 3."""
THREADS = 2
"""The threads of a decoder. Each keeps frames of its own."""
USUAL_RATE = 25.0
RATES = (0.01, 1000.0)
"""The frame rates, in frames per second, that a header may state."""
INSTANT_MS, INSTANT_SHOWN_MS = 10, 100
"""Browsers show a frame of an animation with at most the first duration for the second duration."""
MISSING = 0.05
"""The share of a clip's length that may be missing at its end before a note says so."""
MAX_FRAMES = 100_000
"""So many frames are read of one clip, however short each of them is."""
COLOUR_BOX = b"colrnclx"
"""How the box begins that tells an MP4's colours, and what its values have to be for HDR (ITU-T H.273)."""
PQ, HLG = 16, 18
BEGINNING = 4 * 2**20
"""Where the colours of an MP4 are looked for: so many bytes at its start, and as many at its end."""

CUT = "Only the first {seconds:.0f} seconds were looked at."
ENDS_EARLY = "This clip is damaged or incomplete: only its first {seconds:.1f} seconds could be read."
SLOW = "This clip takes long to read, so only its first {seconds:.1f} seconds were looked at."
HDR = "This clip has high dynamic range; its colours were converted to those of ordinary screens."


class Facts(NamedTuple):
    """What a clip's header and its first frame say.

    Attributes:
        size: (height, width) of an upright frame, in square pixels.
        rate: Frames per second, as the header states them on average.
        seconds: The length that the header states, or None if it states none that can be true.
        format: One of `formats.CLIP_FORMATS`.
        notes: What the visitor should know, in sentences.
    """

    size: tuple[int, int]
    rate: float
    seconds: float | None
    format: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A decoded frame: its number in the clip from 0, its time in seconds, and (h, w, 3) uint8 RGB pixels."""

    number: int
    seconds: float
    pixels: NDArray[np.uint8]


class _Reader(Protocol):
    """Gives the frames of a clip one after the other."""

    facts: Facts

    def step(self) -> float | None:
        """Goes to the next frame and returns its time in seconds, or None at the end. NaN: it has no time."""

    def pixels(self, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Returns the frame, (h, w, 3) uint8 RGB at this size."""


class Video:
    """A clip whose first frame was decoded.

    Args:
        content: The bytes of the file.
        longest_side: The frames are reduced so that no side exceeds this number of pixels.
        seconds: Frames at this time and later are not read.

    Raises:
        ImageError: Not a clip, a format that is not read, no picture in it, damaged, too large or too narrow.
        MemoryError: The clip needs more memory than this process may have.
    """

    def __init__(self, content: Content, longest_side: float, seconds: float) -> None:
        self._started = time.process_time()
        self._most = seconds
        self._reader = _open(content)
        self.facts = self._reader.facts
        self.shape = reduced_size(self.facts.size, longest_side)
        self.notes: tuple[str, ...] = ()
        """What is found out while the frames are read, in sentences."""

    def frames(self, stride: int, before_each: Callable[[], None] = lambda: None) -> Iterator[Frame]:
        """Yields every `stride`-th frame, from the first on. Times rise from frame to frame.

        Args:
            before_each: Called before each frame is decoded, also before those that are left out.
        """
        step, last, number = 1 / self.facts.rate, -math.inf, 0
        notes = []
        while number < MAX_FRAMES:
            before_each()
            at = self._reader.step()
            if at is None:
                whole = min(self.facts.seconds or 0.0, self._most)
                if number and last + step < whole - max(1.5 * step, MISSING * whole):
                    notes.append(ENDS_EARLY.format(seconds=last + step))
                break
            if not number:
                first = at if math.isfinite(at) else 0.0
            at -= first
            if not last < at <= last + 3600:  # a file may hold any number
                at = max(0.0, last + step)
            if at >= self._most:
                notes.append(CUT.format(seconds=self._most))
                break
            if time.process_time() - self._started > PROCESSOR_SECONDS + SECONDS_EACH * at:
                notes.append(SLOW.format(seconds=at))
                break
            if number % stride == 0:
                try:
                    frame = Frame(number, at, self._reader.pixels(self.shape))
                except ImageError:
                    if not number:
                        raise
                    notes.append(ENDS_EARLY.format(seconds=at))
                    break
                yield frame
            last = at
            number += 1
        if not number:
            raise damaged("clip")
        self.notes = tuple(notes)


def _open(content: Content) -> _Reader:
    format = clip_format(bytes(content[:CLIP_START]))
    if format in ("GIF", "WebP"):
        return _Animation(content, format)
    if format:
        return _Film(content, format)
    raise ImageError(f"This file is not a clip that can be read here. Please use {ACCEPTED}.")


def _too_large(size: str = "") -> ImageError:
    return ImageError(
        f"The frames of this clip are too large{size}. "
        f"Please use a clip of at most {MAX_CLIP_PIXELS // 10**6} megapixels a frame (4K has 9)."
    )


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise damaged("clip")
    if width * height > MAX_CLIP_PIXELS or max(width, height) > MAX_SIDE:
        raise _too_large(f" ({width} x {height} pixels)")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"The frames of this clip are {width} x {height} pixels, too narrow to find objects in. "
            f"Please use a clip whose long side is at most {MAX_ASPECT} times its short side."
        )


class _Film:
    """Reads a container of video with OpenCV."""

    def __init__(self, content: Content, format: str) -> None:
        options = [
            cv2.CAP_PROP_N_THREADS, THREADS,
            cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_NONE,
        ]  # fmt: skip
        stream: Any = io.BufferedReader(Reader(content), 2**16)
        try:
            self._capture = cv2.VideoCapture(stream, cv2.CAP_FFMPEG, options)
        except cv2.error as error:
            raise damaged("clip") from error
        if not self._capture.isOpened():
            raise ImageError(
                "There is no picture in this clip that can be read here: it is damaged, or holds sound only. "
                f"Please use {ACCEPTED}."
            )
        width, height = (round(self._of(name)) for name in ("FRAME_WIDTH", "FRAME_HEIGHT"))
        _check_size(width, height)
        if not self._capture.grab():
            raise damaged("clip")
        self._first: NDArray[np.uint8] | None = self._frame()
        self._waiting = True
        height, width = self._first.shape[:2]
        wide, high = self._of("SAR_NUM"), self._of("SAR_DEN")
        if wide > 0 and high > 0 and 1 / MAX_ASPECT < wide / high < MAX_ASPECT:  # pixels that are not square
            lies = round(self._of("ORIENTATION_META")) % 180 == 90
            width, height = (
                (width, round(height * wide / high)) if lies else (round(width * wide / high), height)
            )
        _check_size(width, height)
        rate = self._of("FPS")
        rate = rate if RATES[0] <= rate <= RATES[1] else USUAL_RATE
        count = self._of("FRAME_COUNT")
        seconds = count / rate if 0 < count / rate < 24 * 3600 else None
        meaning = _meaning(content, format)
        self._convert = colours.converter(meaning, "RGB")[0] if meaning else None
        self.facts = Facts((height, width), rate, seconds, format, (HDR,) if meaning else ())

    def step(self) -> float | None:
        if not self._waiting:
            self._first = None
            if not self._capture.grab():
                return None
        self._waiting = False
        return self._of("POS_MSEC") / 1000

    def pixels(self, shape: tuple[int, int]) -> NDArray[np.uint8]:
        # OpenCV must not be asked twice for a frame. Of raw video it would read freed memory.
        frame = self._frame() if self._first is None else self._first
        if frame.shape[:2] != shape:
            smaller = frame.shape[0] >= shape[0] and frame.shape[1] >= shape[1]
            frame = cv2.resize(
                frame, shape[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            )
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        return (
            np.asarray(self._convert(Image.fromarray(rgb))) if self._convert else cast(NDArray[np.uint8], rgb)
        )

    def _frame(self) -> NDArray[np.uint8]:
        try:
            found, frame = self._capture.retrieve()
        except cv2.error as error:
            raise damaged("clip") from error
        if not found or frame is None or frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise damaged("clip")
        return cast(NDArray[np.uint8], frame)

    def _of(self, name: str) -> float:
        value = self._capture.get(getattr(cv2, f"CAP_PROP_{name}"))
        return value if math.isfinite(value) else 0.0


class _Animation:
    """Reads an animated GIF or WebP with Pillow. Transparency is laid over white."""

    def __init__(self, content: Content, format: str) -> None:
        try:
            self._image: Any = Image.open(cast(IO[bytes], Reader(content)), formats=["GIF", "WEBP"])
            _check_size(*self._image.size)
            count = getattr(self._image, "n_frames", 1)
            self._image.seek(0)
            self._image.load()
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_large() from error
        except DECODER_ERRORS as error:
            raise damaged("clip") from error
        self._number, self._next = -1, 0.0
        rate = 1 / self._duration()
        width, height = self._image.size
        self.facts = Facts((height, width), min(max(rate, RATES[0]), RATES[1]), count / rate, format, ())

    def step(self) -> float | None:
        try:
            self._image.seek(self._number + 1)
            self._image.load()
        except (Image.DecompressionBombError, *DECODER_ERRORS):  # the end, or damage
            return None
        self._number += 1
        at = self._next
        self._next += self._duration()
        return at

    def pixels(self, shape: tuple[int, int]) -> NDArray[np.uint8]:
        image = self._image
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        image = image.convert("RGB")
        return np.asarray(
            image.resize(shape[::-1], Image.Resampling.BILINEAR) if image.size != shape[::-1] else image
        )

    def _duration(self) -> float:
        """Returns how long browsers show this frame, in seconds."""
        with suppress(TypeError, ValueError):
            duration = float(self._image.info.get("duration", 0))
            if INSTANT_MS < duration < 24 * 3600_000:
                return duration / 1000
        return INSTANT_SHOWN_MS / 1000


def _meaning(content: Content, format: str) -> colours.Meaning | None:
    """Returns the colours of an HDR clip in an MP4 or MOV. None for all others."""
    if format not in ("MP4", "MOV"):
        return None
    for part in (content[:BEGINNING], content[-BEGINNING:]):
        at = part.find(COLOUR_BOX)
        if at >= 0 and len(part) >= at + 12:
            primaries, transfer = (int.from_bytes(part[at + k : at + k + 2]) for k in (8, 10))
            if transfer in (PQ, HLG):
                return colours.meaning_of_nclx(primaries, transfer, None)
    return None
