"""Images: from a file of any usual kind to an upright 8-bit sRGB array, within limits.

A process of its own decodes each file (`photo.client`, `photo.server`), because the file comes from a
stranger. This module says what is asked of that process, and checks what comes back.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photo.client import DecoderFault, client
from photo.errors import ImageError
from photo.formats import READABLE
from photo.limits import MAX_PIXELS
from photo.strips import reduced_size

MAX_NOTES, MAX_NOTE = 4, 200
"""Sentences about a picture, and characters of one."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as a person would see it, with what the file was.

    Attributes:
        pixels: (h, w, 3) uint8 sRGB, upright; the whole picture, or reduced if that was asked for.
        size: (height, width) of the whole picture.
        format: One of the values of `formats.READABLE`.
        animated: The file holds more frames or pages than the one in `pixels`.
        notes: What the visitor should know about the picture, in sentences.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    format: str
    animated: bool
    notes: tuple[str, ...] = ()


def read_image(file: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Returns the pixels of the picture in `file`, (H, W, 3) uint8 sRGB, as `read_photo` reads them."""
    return read_photo(file).pixels


def read_photo(file: str | os.PathLike[str], longest_side: float = math.inf) -> Photo:
    """Returns the picture in `file` as a person would see it, reduced as by `strips.fit_within`.

    The content tells the format, not the name. Size limits are checked on the header, before any pixel is
    decoded. The EXIF orientation is applied, colours are converted to sRGB, values of more than 8 bits are
    scaled to 8, transparency is laid over white, and of an animation the first frame is taken.

    Raises:
        ImageError: Empty, not a picture, a format that is not read, damaged, too large or too narrow.
        DecoderFault: There is a bug in the code that decodes.
    """
    path = Path(file)
    try:
        if path.stat().st_size == 0:
            raise ImageError("This file is empty. Please choose a picture with something in it.")
        room = 3 * (MAX_PIXELS if math.isinf(longest_side) else min(MAX_PIXELS, int(longest_side) ** 2))
        request = {"kind": "photo", "longest_side": None if math.isinf(longest_side) else longest_side}
        reply, pixels = client().ask(path, request, max(room, 3))
    except OSError as error:
        raise ImageError("The picture could not be opened. Please send it again.") from error
    try:
        shape, size = pair(reply["shape"]), pair(reply["size"])
        good = (
            math.prod(size) <= MAX_PIXELS
            and shape == reduced_size(size, longest_side)
            and reply["format"] in READABLE.values()
            and isinstance(reply["notes"], list)
        )
        notes = tuple(str(note)[:MAX_NOTE] for note in reply["notes"][:MAX_NOTES])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DecoderFault(f"the answer is malformed: {error!r}") from error
    if not good:
        raise DecoderFault(f"the answer is impossible: {shape} of {size}")
    found = pixels[: 3 * math.prod(shape)].reshape(*shape, 3)
    # A reduced picture is copied, since the whole room stays in memory as long as any part of it.
    found = found if math.isinf(longest_side) else found.copy()
    return Photo(found, size, reply["format"], bool(reply["animated"]), notes)


def pair(value: object) -> tuple[int, int]:
    """Two whole numbers above 0. Raises `ValueError` for anything else."""
    if not isinstance(value, list) or [type(number) for number in value] != [int, int] or min(value) < 1:
        raise ValueError(f"expected a height and a width, got {value!r}"[:200])
    return value[0], value[1]
