"""Images: from a file of any usual kind to an upright 8-bit RGB array, within limits."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_PIXELS = 40_000_000
MAX_SIDE = 20_000
MAX_ASPECT = 30
"""Beyond this ratio of the sides the shorter one would be too few pixels for the network."""

# A second net, for what a header does not tell: Pillow refuses at twice this number. At half of it Pillow
# would refuse before `_check_size` can say why, and warn of photos that are within our limits.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

STRIP_ROWS = 256
"""Rows converted at a time: Pillow copies the picture at each step, up to 160 MB at 40 megapixels."""


class ImageError(ValueError):
    """The picture cannot be used; the message tells the person who sent it why, and what would do."""


def read_image(file: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The picture in `file` as a person would see it.

    The format is told by the content, not by the name. Size limits are checked on the header, before
    any pixel is decoded. The EXIF orientation is applied, 16-bit and float channels are scaled to 8 bits,
    transparency is laid over white, and of an animation the first frame is taken.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: Empty, not a picture, a format we do not read, damaged, too large or too narrow.
    """
    path = Path(file)
    try:
        empty = path.stat().st_size == 0
    except OSError as error:
        raise ImageError("The picture could not be opened. Please send it again.") from error
    if empty:
        raise ImageError("This file is empty. Please choose a picture with something in it.")
    try:
        # From an open file: of a path, Pillow maps the pixels of uncompressed TIFFs, and turned ones wrongly.
        with path.open("rb") as opened, Image.open(opened, formats=FORMATS) as image:
            _check_size(*image.size)
            return _to_rgb(image)
    except UnidentifiedImageError as error:
        raise ImageError(
            "This file is not a picture that can be read here. Please use JPEG, PNG, WebP, GIF, BMP, TIFF "
            "or AVIF (a photo in HEIC, a PDF or an SVG must be saved as one of these first)."
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large() from error
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        # Pillow promises no types: damaged files gave OSError, SyntaxError, ValueError, RuntimeError (AVIF),
        # TypeError (TIFF) and struct.error (EXIF).
        raise ImageError(
            "This picture is damaged or incomplete and could not be read. Please save or download it again."
        ) from error


def fit_within(image: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    """`image`, (H, W, 3) uint8, reduced so that no side exceeds `longest_side` pixels; never enlarged.

    The ratio of the sides is kept to the nearest pixel, and no side falls below 1. Pillow's bilinear
    filter, which averages over all pixels that fall together.
    """
    height, width = image.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise _too_large(width, height)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"This picture is {width} x {height} pixels, too narrow to find objects in. "
            f"Please use one whose long side is at most {MAX_ASPECT} times its short side."
        )


def _too_large(width: int = 0, height: int = 0) -> ImageError:
    size = f" ({width} x {height} pixels)" if width else ""
    return ImageError(
        f"This picture is too large{size}. Please use one of at most {MAX_PIXELS // 10**6} megapixels "
        f"and {MAX_SIDE} pixels a side."
    )


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    image.load()
    with contextlib.suppress(Exception):  # EXIF that cannot be read says nothing about the pixels
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("I", "F"):
        image = _to_8_bit(image)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for y in range(0, image.height, STRIP_ROWS):
        strip = image.crop((0, y, image.width, min(y + STRIP_ROWS, image.height)))
        if strip.mode.startswith("I;16"):
            strip = _to_8_bit(strip)
        if strip.has_transparency_data:
            rgba = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        rgb[y : y + STRIP_ROWS] = np.asarray(strip.convert("RGB"))
    return rgb


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits: 16-bit by its full range, other integers and floats by their own."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
    low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (values.min(), values.max())
    if image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = (values - low) * (255 / max(high - low, 1e-6))
    return Image.fromarray(np.round(scaled).astype(np.uint8))
