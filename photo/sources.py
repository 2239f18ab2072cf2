"""Sources: decoded pictures, from which boxes are cut, one way for each format.

Most formats are decoded by Pillow. OpenCV decodes single WebPs, because Pillow reads them as an animation in
four copies, RGB pictures of 16 bits, of which Pillow keeps 8, and YCbCr TIFFs without compression. tifffile
decodes rare TIFFs (`photo.tiffs`).
"""

from __future__ import annotations

import contextlib
import io
import re
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
from photo.colours import Meaning, meaning_of_avif, meaning_of_bmp, meaning_of_nclx, meaning_of_png
from photo.content import Content
from photo.errors import ImageError, damaged

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""
JPEG_END = b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])", re.DOTALL)
"""A marker with a segment. In the data of a scan, 0xFF is followed by 0 or by a restart's number."""
JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
"""The markers of frames with a discrete cosine transform: baseline, extended and progressive."""
JPEG_SCAN = 0xDA
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
            values that still have to be scaled to 8 bits, as in `tiffs.Values`.
        mode: Pillow's mode of what `crop` gives. "values" for arrays.
        orientation: EXIF's, 1 to 8.
        meaning: What the file says about its colours.
        covered: The box that a GIF's frame covers in its canvas. The rest is transparent.
        transparent: The value of a grey picture that is transparent.
        inverted: The lowest value of `crop`'s arrays is white.
        premultiplied: The colours in `crop`'s arrays are multiplied by alpha already.
    """

    size: tuple[int, int]
    crop: Callable[[Box], Any]
    mode: str
    orientation: int = 1
    meaning: Meaning = field(default_factory=Meaning)
    covered: Box | None = None
    transparent: int | None = None
    inverted: bool = False
    premultiplied: bool = False


def open_source(image: Image.Image, content: Content, above: Image.Image | None = None) -> Source:
    """Decodes the picture in `content`, which Pillow has opened as `image`.

    Args:
        above: The TIFF page that the picture lies below, as for `with_tags`.
    """
    source = _by_format(image, content)
    if source.mode.startswith(("I", "F")):
        crop, unsigned = source.crop, tiffs.is_unsigned(image)

        def values(box: Box) -> NDArray[Any]:
            part = np.asarray(crop(box))
            return part.view(np.uint32) if unsigned else part.astype(part.dtype.newbyteorder("="), copy=False)

        source = replace(source, crop=values, mode="values", inverted=tiffs.is_inverted(image))
    return with_tags(source, image, content, above)


def with_tags(
    source: Source, image: Image.Image, content: Content, above: Image.Image | None = None
) -> Source:
    """Returns the source with the orientation and the colours that the file states.

    What a picture in a TIFF's sub-IFD does not state itself, the page `above` states for it.
    """
    orientation, meaning = _orientation(image), _meaning(image, content)
    if above is not None:
        orientation = orientation or _orientation(above)
        meaning = meaning if meaning.profile else _meaning(above, content)
    return replace(source, orientation=orientation or 1, meaning=meaning)


def open_rare_tiff(content: Content, check_size: Callable[[int, int], None]) -> Source:
    """Decodes a TIFF that Pillow does not open, or opens wrongly."""
    try:
        return _of_values(tiffs.pixels_of(content, check_size))
    except tiffs.ForOpenCV as error:
        with contextlib.suppress(ImageError):
            return replace(_of_opencv(error.size, content, error.alpha), inverted=error.inverted)
        raise


def _by_format(image: Image.Image, content: Content) -> Source:
    if image.format == "WEBP" and not is_animated(image):
        image._decoder = None  # type: ignore[attr-defined]  # has room for two pictures, and is not used
        return _of_opencv(image.size, content)
    if image.format == "PNG" and content[PNG_BITS] == 16 and content[PNG_KIND] in (PNG_RGB, PNG_RGBA):
        return _of_opencv(image.size, content)
    if image.format == "TIFF" and tiffs.is_for_opencv(image):
        with contextlib.suppress(ImageError):  # Pillow reads some of those that OpenCV does not, with 8 bits
            return _of_opencv(image.size, content, tiffs.alpha_of(image))
    if image.format == "AVIF":
        return _of_avif(image)
    tiles: Any = getattr(image, "tile", None)  # gone after loading
    covered = tiles[0].extents if image.format == "GIF" and tiles else None
    if image.format in ("JPEG", "MPO"):
        image = _whole_jpeg(image, content)
    else:
        image.load()
    transparent = _transparent_grey(image, content[PNG_BITS]) if image.format == "PNG" else None
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


def _of_opencv(size: tuple[int, int], content: Content, alpha: int = tiffs.UNASSOCIATED) -> Source:
    """Decodes with OpenCV. `alpha` tells what a fourth channel is, as `tiffs.alpha_of` does."""
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise damaged() from error
    if pixels is None or pixels.shape[1::-1] != size:
        raise damaged()
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3] if alpha else [2, 1, 0]}.get(pixels.shape[2])
    if order is None:
        raise damaged()
    if pixels.dtype == np.uint8:
        return _of_pixels(pixels, order)
    if order == [0]:
        return _of_values(tiffs.Values(pixels[..., 0]))
    return _of_values(tiffs.Values(pixels, premultiplied=alpha == tiffs.ASSOCIATED), order)


def _of_pixels(pixels: NDArray[np.uint8], order: list[int]) -> Source:
    """A source of (H, W, bands) uint8, whose bands become grey, RGB or RGBA in the given order."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[len(order)]

    def crop(box: Box) -> Image.Image:
        part = pixels[box[1] : box[3], box[0] : box[2], order]
        return Image.fromarray(part[..., 0] if mode == "L" else part)

    return Source((pixels.shape[1], pixels.shape[0]), crop, mode)


def _of_values(values: tiffs.Values, order: list[int] | None = None) -> Source:
    """A source of values, whose channels are taken in the given order."""
    array = values.array

    def crop(box: Box) -> NDArray[Any]:
        part = array[box[1] : box[3], box[0] : box[2]]
        part = part[..., order] if order else part
        return part.astype(part.dtype.newbyteorder("="), copy=False)

    size = (array.shape[1], array.shape[0])
    return Source(size, crop, "values", inverted=values.inverted, premultiplied=values.premultiplied)


def _whole_jpeg(image: Image.Image, content: Content) -> Image.Image:
    """Decodes a JPEG, also one that only lacks its end mark.

    A picture that is all there looks the same whatever follows it. One whose data ends early does not: the
    bytes that follow become a part of it. A JPEG that ends between two of its scans lacks detail or colours.
    """
    try:
        image.load()
        return image
    except OSError as error:
        if "truncated" not in str(error):
            raise
        found = content[:].removesuffix(JPEG_END[:1])
        first, second = (_loaded(found + rest + JPEG_END) for rest in (b"", FILLER))
        if first.tobytes() != second.tobytes() or not _has_all_scans(found):
            raise
        return first


def _has_all_scans(content: bytes) -> bool:
    """Whether a JPEG's scans hold every coefficient of every component, to its last bit.

    Source: ITU-T T.81, B.2.2 (frame header) and B.2.3 (scan header).
    """
    missing: dict[int, set[int]] = {}
    at = 2
    while marker := JPEG_MARKER.search(content, at):
        kind, at = marker[1][0], marker.end()
        segment = content[at + 2 : at + int.from_bytes(content[at : at + 2])]
        if kind in JPEG_FRAMES:
            missing = {component: set(range(64)) for component in segment[6::3]}
        if kind == JPEG_SCAN and len(segment) > 5 and not segment[-1] & 0x0F:
            for component in segment[1 : 1 + 2 * segment[0] : 2]:
                missing.get(component, set()).difference_update(range(segment[-3], segment[-2] + 1))
        at += 2 + len(segment)
    return bool(missing) and not any(missing.values())


def _loaded(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=["JPEG"])
    image.load()
    return image


def _transparent_grey(image: Image.Image, bits: int) -> int | None:
    """The transparent value of a grey PNG, in the scale of the decoded values. Pillow leaves it as stored.

    Only the lowest `bits` of a stored value count (PNG specification, 11.3.2.1).
    """
    value = image.info.get("transparency")
    if isinstance(value, tuple):
        image.info["transparency"] = tuple(channel & 0xFF for channel in value)
    if not isinstance(value, int) or image.mode not in ("1", "L", "I;16", "I"):
        return None
    del image.info["transparency"]
    highest = (1 << bits) - 1
    return (value & highest) * (1 if bits >= 8 else 255 // highest)


def _orientation(image: Image.Image) -> int:
    """Returns EXIF's orientation, or 0 if the picture does not state it."""
    # EXIF that cannot be read says nothing about the pixels. Pillow's errors there have many types.
    with contextlib.suppress(Exception):
        return int(image.getexif().get(ExifTags.Base.Orientation, 0))
    return 0


def _meaning(image: Image.Image, content: Content) -> Meaning:
    profile = image.info.get("icc_profile")
    profile = profile if isinstance(profile, bytes) and profile else None
    if image.format == "PNG":
        return meaning_of_png(content, profile)
    if image.format == "AVIF":
        return meaning_of_avif(content, profile)
    if image.format == "BMP":
        return meaning_of_bmp(content)
    if image.format == "WEBP" and is_animated(image):  # Chromium ignores its profile
        return Meaning()
    nclx = image.info.get("nclx_profile")
    if isinstance(nclx, dict):
        return meaning_of_nclx(int(nclx["color_primaries"]), int(nclx["transfer_characteristics"]), profile)
    return Meaning(profile=profile)


def is_animated(image: Image.Image) -> bool:
    """Whether the file holds more frames or pages than the first. False if the second cannot be read."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # Pillow's errors for a damaged second frame have many types
        return False
