"""Sources: decoded pictures, from which boxes are cut, one way for each format.

Most formats are decoded by Pillow. OpenCV decodes single WebPs, because Pillow reads them as an animation in
four copies, and RGB pictures of 16 bits, of which Pillow keeps 8. tifffile decodes rare TIFFs
(`photo.tiffs`).
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from photo import tiffs
from photo.colours import Meaning, meaning_of_avif, meaning_of_png
from photo.content import Content
from photo.errors import ImageError, damaged

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""
JPEG_END = b"\xff\xd9"
FILLER = b"\x55\xaa\x33" * 4000
"""Bytes that are no marker. A JPEG whose data ends early would take them for its data."""
PNG_BITS, PNG_KIND, PNG_RGB, PNG_RGBA = 24, 25, 2, 6
"""Where a PNG's header holds its bits and its colour type, and two of these types."""


DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, RuntimeError, OverflowError, LookupError,
    AttributeError, ZeroDivisionError, struct.error, zlib.error, cv2.error,
)  # fmt: skip
"""What libraries raise for damaged files. Pillow promises no types; these were seen."""


@dataclass(frozen=True)
class Source:
    """A decoded picture.

    Attributes:
        size: (width, height) as stored.
        crop: Cuts a box out: an image of one of Pillow's 8-bit modes, or an array (h, w) or (h, w, c) of
            values that still have to be scaled to 8 bits.
        mode: Pillow's mode of what `crop` gives. "values" for arrays.
        orientation: EXIF's, 1 to 8.
        meaning: What the file says about its colours.
        covered: The box that a GIF's frame covers in its canvas. The rest is transparent.
        transparent: The value of a grey picture that is transparent.
    """

    size: tuple[int, int]
    crop: Callable[[Box], Any]
    mode: str
    orientation: int = 1
    meaning: Meaning = field(default_factory=Meaning)
    covered: Box | None = None
    transparent: int | None = None


def open_source(image: Image.Image, content: Content) -> Source:
    """Decodes the picture in `content`, which Pillow has opened as `image`."""
    source = _by_format(image, content)
    if source.mode.startswith(("I", "F")):
        crop = source.crop
        source = replace(source, crop=lambda box: np.asarray(crop(box)), mode="values")
    return replace(source, orientation=_orientation(image), meaning=_meaning(image, content))


def open_rare_tiff(content: Content, check_size: Callable[[int, int], None]) -> Source:
    """Decodes a TIFF that Pillow does not open, or opens wrongly."""
    try:
        return _of_values(tiffs.pixels_of(content, check_size))
    except tiffs.UnknownCompression as error:  # OpenCV knows more of them, but not planes that lie apart
        with contextlib.suppress(ImageError):
            return _of_opencv(error.size, content)
        raise


def _by_format(image: Image.Image, content: Content) -> Source:
    if image.format == "WEBP" and not is_animated(image):
        image._decoder = None  # type: ignore[attr-defined]  # has room for two pictures, and is not used
        return _of_opencv(image.size, content)
    if image.format == "PNG" and content[PNG_BITS] == 16 and content[PNG_KIND] in (PNG_RGB, PNG_RGBA):
        return _of_opencv(image.size, content)
    if image.format == "TIFF" and tiffs.has_16_bit_colours(image):
        with contextlib.suppress(ImageError):  # Pillow reads some of those that OpenCV does not, with 8 bits
            return _of_opencv(image.size, content)
    if image.format == "AVIF":
        return _of_avif(image)
    tiles: Any = getattr(image, "tile", None)  # gone after loading
    covered = tiles[0].extents if image.format == "GIF" and tiles else None
    if image.format in ("JPEG", "MPO"):
        image = _whole_jpeg(image, content)
    else:
        image.load()
    transparent = None
    if image.format == "PNG" and image.mode in ("1", "L", "I;16", "I"):
        transparent = _transparent_grey(image, content[PNG_BITS])
    if covered == (0, 0, *image.size):
        covered = None
    return Source(image.size, image.crop, image.mode, covered=covered, transparent=transparent)


def _of_avif(image: Any) -> Source:
    """As Pillow's `load`, with Pillow's private decoder, which tells what Pillow does not check.

    A header may give another size than the pictures have. `load` would take the first bytes for the picture.
    It would also keep the decoder's planes beside two copies of the pixels.
    """
    try:
        data, *_ = image._decoder.get_frame(0)
    except DECODER_ERRORS as error:
        raise damaged() from error
    image._decoder = None
    width, height = image.size
    bands = len(image.getbands())
    if len(data) != width * height * bands:
        raise damaged()
    return _of_pixels(np.frombuffer(data, np.uint8).reshape(height, width, bands), [0, 1, 2, 3][:bands])


def _of_opencv(size: tuple[int, int], content: Content) -> Source:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise damaged() from error
    if pixels is None or pixels.shape[1::-1] != size:
        raise damaged()
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    order = [0] if pixels.shape[2] == 1 else [2, 1, 0, 3][: pixels.shape[2]]
    if pixels.dtype != np.uint8:
        return _of_values(pixels[..., order] if order == [0] else pixels, order)
    return _of_pixels(pixels, order)


def _of_pixels(pixels: NDArray[np.uint8], order: list[int]) -> Source:
    """A source of (H, W, bands) uint8, whose bands become grey, RGB or RGBA in the given order."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[len(order)]

    def crop(box: Box) -> Image.Image:
        part = pixels[box[1] : box[3], box[0] : box[2], order]
        return Image.fromarray(part[..., 0] if mode == "L" else part)

    return Source((pixels.shape[1], pixels.shape[0]), crop, mode)


def _of_values(values: NDArray[Any], order: list[int] | None = None) -> Source:
    def crop(box: Box) -> NDArray[Any]:
        part = values[box[1] : box[3], box[0] : box[2]]
        return part[..., order] if order and part.ndim == 3 else part

    return Source((values.shape[1], values.shape[0]), crop, "values")


def _whole_jpeg(image: Image.Image, content: Content) -> Image.Image:
    """Decodes a JPEG, also one that only lacks its end mark.

    A picture that is all there looks the same whatever follows it. One whose data ends early does not: the
    bytes that follow become a part of it.
    """
    try:
        image.load()
        return image
    except OSError as error:
        if "truncated" not in str(error):
            raise
        first, second = (_loaded(content[:] + rest + JPEG_END) for rest in (b"", FILLER))
        if first.tobytes() != second.tobytes():
            raise
        return first


def _loaded(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=["JPEG"])
    image.load()
    return image


def _transparent_grey(image: Image.Image, bits: int) -> int | None:
    """The transparent value of a grey PNG, in the scale of the decoded values. Pillow leaves it as stored."""
    value = image.info.pop("transparency", None)
    if not isinstance(value, int):
        return None
    return value if bits >= 8 else value * 255 // ((1 << bits) - 1)


def _orientation(image: Image.Image) -> int:
    # EXIF that cannot be read says nothing about the pixels. Pillow's errors there have many types.
    with contextlib.suppress(Exception):
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _meaning(image: Image.Image, content: Content) -> Meaning:
    profile = image.info.get("icc_profile")
    profile = profile if isinstance(profile, bytes) and profile else None
    if image.format == "PNG":
        return meaning_of_png(content, profile)
    if image.format == "AVIF":
        return meaning_of_avif(content, profile)
    nclx = image.info.get("nclx_profile")
    if isinstance(nclx, dict) and not profile:
        return Meaning(code=(int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])))
    return Meaning(profile=profile)


def is_animated(image: Image.Image) -> bool:
    """Whether the file holds more frames or pages than the first. False if the second cannot be read."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # Pillow's errors for a damaged second frame have many types
        return False
