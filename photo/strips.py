"""Strips: reduces pictures a few rows at a time, so that no second copy of a large picture is made.

Pillow's bilinear filter averages over all pixels that fall together. Pillow goes along the rows first and
then down the columns, so strips give exactly what Pillow makes of the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STRIP_PIXELS = 1_000_000
"""Converted at a time, because Pillow and LittleCMS copy at each step."""


def strip_rows(width: int) -> int:
    """Returns how many rows of this width make a strip."""
    return max(1, STRIP_PIXELS // width)


def reduced_size(size: tuple[int, int], longest_side: float) -> tuple[int, int]:
    """Returns `size` (height, width) so that no side exceeds `longest_side`, and none falls below 1."""
    scale = min(1, longest_side / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def fit_within(image: NDArray[np.uint8], longest_side: float) -> NDArray[np.uint8]:
    """Returns `image`, (H, W, 3) uint8, reduced so that no side exceeds `longest_side` pixels.

    The ratio of the sides is kept to the nearest pixel, and no side falls below 1. An image that fits is
    returned as it is, never enlarged.
    """
    height, width = image.shape[:2]
    if longest_side >= max(height, width):
        return image
    rows = strip_rows(width)
    strips = (Image.fromarray(image[top : top + rows]) for top in range(0, height, rows))
    out = np.empty((*reduced_size((height, width), longest_side), 3), np.uint8)
    assemble(strips, (height, width), "RGB", lambda strip: strip, out)
    return out


def assemble(
    strips: Iterable[Image.Image],
    size: tuple[int, int],
    mode: str,
    to_rgb: Callable[[Image.Image], Image.Image],
    out: NDArray[np.uint8],
) -> None:
    """Writes a picture that comes in strips into `out`, (h, w, 3), reduced to its size.

    Args:
        strips: The rows from top to bottom, in `mode`.
        size: (height, width) of the strips together.
        to_rgb: Converts to RGB. It is applied after the reduction, where there are fewer pixels.
    """
    height, width = out.shape[:2]
    if (height, width) == size:
        top = 0
        for strip in strips:
            out[top : top + strip.height] = np.asarray(to_rgb(strip))
            top += strip.height
        return
    channels = len(Image.new(mode, (1, 1)).getbands())
    narrow = np.empty((size[0], width, channels), np.uint8)
    top = 0
    for strip in strips:
        row = strip.resize((width, strip.height), Image.Resampling.BILINEAR)
        narrow[top : top + strip.height] = np.asarray(row).reshape(strip.height, width, channels)
        top += strip.height
    whole = Image.frombuffer(mode, (width, size[0]), narrow, "raw", mode, 0, 1)
    out[:] = np.asarray(to_rgb(whole.resize((width, height), Image.Resampling.BILINEAR)))
