"""Images: from a file of any usual kind to an upright 8-bit RGB array, within limits."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from photo.av1 import sequence_sizes
from photo.limits import MAX_ASPECT, MAX_PIXELS, MAX_SIDE

READABLE = {name.upper(): name for name in ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF")}
"""The formats that are read: Pillow's name for each, and people's."""

with contextlib.suppress(ImportError):
    from pillow_heif import register_heif_opener

    register_heif_opener()
    READABLE["HEIF"] = "HEIC"

ACCEPTED = f"{', '.join([*READABLE.values()][:-1])} or {[*READABLE.values()][-1]}"
"""The formats for a message: "JPEG, PNG, ... or AVIF"."""

MAX_ANIMATION_PIXELS = 20_000_000
"""Of an animated WebP: its decoder keeps two frames, and copies each, which takes 16 bytes a pixel."""

# A second net, for what a header does not tell: Pillow refuses at twice this number. At half of it Pillow
# would refuse before `_check_size` can say why, and warn of photos that are within our limits.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

# Texts and colour profiles of PNGs, unpacked: one of them (Pillow's 1 MB refuses good printers' profiles),
# and all together (Pillow's 64 MB may take four times that).
PngImagePlugin.MAX_TEXT_CHUNK = 4 * 2**20
PngImagePlugin.MAX_TEXT_MEMORY = 8 * 2**20

MAX_SCANS = 60
"""Of a JPEG. Usual are 1, or 10 if progressive; each may be 90 bytes, and costs a walk over all pixels."""
MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")
"""Of a JPEG's next segment: within a scan, FF is followed by 00 or by a restart marker (D0 to D7)."""
MAX_TAG_READS = 5000
"""In a directory of TIFF tags, which is what EXIF is too. Usual are 100."""
MAX_STRIP_TABLE = 400_000
"""Bytes of a TIFF's table of strips; one that Pillow reads makes an object of each entry."""

STRIP_PIXELS = 1_000_000
"""Converted at a time: Pillow copies the picture at each step, up to 160 MB at 40 megapixels."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's orientation: what sets the stored picture upright."""


class ImageError(ValueError):
    """The picture cannot be used; the message tells the person who sent it why, and what would do."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as a person would see it, with what the file was.

    Attributes:
        pixels: (h, w, 3) uint8 RGB, upright; the whole picture, or reduced if that was asked for.
        size: (height, width) of the whole picture.
        format: One of the values of `READABLE`.
        animated: The file holds more frames or pages than the one in `pixels`.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    format: str
    animated: bool


def read_image(file: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The pixels of the picture in `file`, (H, W, 3) uint8 RGB; all else as in `read_photo`."""
    return read_photo(file).pixels


def read_photo(file: str | os.PathLike[str], longest_side: float = math.inf) -> Photo:
    """The picture in `file` as a person would see it, reduced as by `fit_within`.

    The format is told by the content, not by the name. Size limits are checked on the header, before
    any pixel is decoded. The EXIF orientation is applied, 16-bit and float channels are scaled to 8 bits,
    transparency is laid over white, and of an animation the first frame is taken. At 40 megapixels it
    takes up to 500 MB.

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
        with path.open("rb") as opened, Image.open(opened, formats=[*READABLE]) as image:
            _check_size(*image.size)
            _check_cost(image, opened)
            pixels, size = _to_rgb(image, opened, longest_side)
            # "MPO" to Pillow is a phone's JPEG with a preview or a gain map behind it. Whether it is animated
            # is asked last: a GIF looks for its second frame then, and may lose its first over it.
            format = READABLE.get(image.format or "", "JPEG")
            return Photo(pixels, size, format, format != "JPEG" and _is_animated(image))
    except UnidentifiedImageError as error:
        others = "a PDF or an SVG" if "HEIF" in READABLE else "a photo in HEIC, a PDF or an SVG"
        raise ImageError(
            f"This file is not a picture that can be read here. Please use {ACCEPTED} "
            f"({others} must be saved as one of these first, such as JPEG)."
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large() from error
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        if "MAX_TEXT" in str(error):
            raise ImageError(
                "This PNG carries too much text or too large a colour profile beside its pixels. "
                "Please save it again without them."
            ) from error
        # Pillow promises no types: damaged files gave OSError, SyntaxError, ValueError, RuntimeError (AVIF),
        # TypeError (TIFF) and struct.error (EXIF).
        raise ImageError(
            "This picture is damaged or incomplete and could not be read. Please save or download it again."
        ) from error


def fit_within(image: NDArray[np.uint8], longest_side: float) -> NDArray[np.uint8]:
    """`image`, (H, W, 3) uint8, reduced so that no side exceeds `longest_side` pixels; never enlarged.

    The ratio of the sides is kept to the nearest pixel, and no side falls below 1. Pillow's bilinear
    filter, which averages over all pixels that fall together.
    """
    height, width = image.shape[:2]
    if longest_side >= max(height, width):
        return image
    rows = _strip_rows(width)
    strips = (Image.fromarray(image[top : top + rows]) for top in range(0, height, rows))
    return _assembled(strips, (height, width), longest_side)


def _strip_rows(width: int) -> int:
    return max(1, STRIP_PIXELS // width)


def _assembled(
    strips: Iterable[Image.Image], size: tuple[int, int], longest_side: float
) -> NDArray[np.uint8]:
    """An array of the strips of an RGB picture of `size` (height, width), reduced as `fit_within` says."""
    scale = min(1, longest_side / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    narrow = np.empty((size[0], width, 3), np.uint8)
    top = 0
    for strip in strips:
        # Pillow, too, goes first along the rows and then down the columns, so strips change nothing.
        reduced = strip.resize((width, strip.height), Image.Resampling.BILINEAR) if scale < 1 else strip
        narrow[top : top + strip.height] = np.asarray(reduced)
        top += strip.height
    if scale == 1:
        return narrow
    return np.asarray(Image.fromarray(narrow).resize((width, height), Image.Resampling.BILINEAR))


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


def _check_cost(image: Image.Image, opened: IO[bytes]) -> None:
    """Refuses what a picture of a good size may still hide: minutes or gigabytes of work."""
    if image.format == "WEBP" and _is_animated(image) and image.width * image.height > MAX_ANIMATION_PIXELS:
        raise ImageError(
            f"This animation is too large ({image.width} x {image.height} pixels). Please use one of at most "
            f"{MAX_ANIMATION_PIXELS // 10**6} megapixels, or a single picture."
        )
    if image.format in ("JPEG", "MPO") and _scans(opened) > MAX_SCANS:
        raise ImageError(
            f"This JPEG is stored in more than {MAX_SCANS} passes, which takes too long to read. "
            "Please save it again as an ordinary JPEG."
        )
    if image.format == "AVIF":
        opened.seek(0)
        pixels = [width * height for width, height in sequence_sizes(opened.read())]
        # With transparency, a gain map and a thumbnail, an honest one decodes to three times its size.
        if max(pixels, default=0) > MAX_PIXELS or sum(pixels) > 3 * image.width * image.height + 10**6:
            raise _too_large()
    tags = getattr(image, "tag_v2", {})
    if tags.get(TiffImagePlugin.TILEWIDTH, 0) * tags.get(TiffImagePlugin.TILELENGTH, 0) > MAX_PIXELS:
        raise _too_large()  # libtiff decodes whole tiles, even where only a corner of one is the picture


def _scans(jpeg: IO[bytes]) -> int:
    """How many scans the first picture of a JPEG file has; what follows it may be a preview or a film."""
    jpeg.seek(0)
    content, at, scans = jpeg.read(), 2, 0
    while (marker := MARKER.search(content, at)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2])
    return scans


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a second frame that cannot be read
        return False


def _to_rgb(
    image: Image.Image, opened: IO[bytes], longest_side: float
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The upright pixels, reduced, and the whole picture's (height, width)."""
    crop = _decode(image, opened)
    orientation = None
    with contextlib.suppress(Exception):  # EXIF that cannot be read says nothing about the pixels
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    lies = orientation in (5, 6, 7, 8)
    height, width = image.size if lies else image.size[::-1]
    rows = _strip_rows(width)
    # Rows of the upright picture are columns of one that lies, and some count from the other end.
    ends = [(top, min(top + rows, height)) for top in range(0, height, rows)]
    if orientation in (3, 4, 7, 8):
        ends = [(height - bottom, height - top) for top, bottom in ends]
    boxes = [(a, 0, b, width) if lies else (0, a, width, b) for a, b in ends]
    low_high = (0.0, 65535.0)
    if image.mode in ("I", "F"):
        low_high = _range((crop(box) for box in boxes), floats=image.mode == "F")

    def upright(box: Box) -> Image.Image:
        strip = crop(box)
        if strip.mode in ("I", "F") or strip.mode.startswith("I;16"):
            strip = _to_8_bit(strip, *low_high)
        if strip.has_transparency_data:
            rgba = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        if strip.mode != "RGB":
            strip = strip.convert("RGB")
        return strip.transpose(TURNS[orientation]) if orientation in TURNS else strip

    return _assembled(map(upright, boxes), (height, width), longest_side), (height, width)


def _decode(image: Image.Image, opened: IO[bytes]) -> Callable[[Box], Image.Image]:
    """Decodes the picture; gives the function that cuts a box out of it."""
    channels = [0, 1, 2, 3]
    if image.format == "WEBP" and not _is_animated(image):
        # Pillow reads it as an animation of one frame, in four copies of the picture; OpenCV takes one.
        opened.seek(0)
        pixels = cv2.imdecode(np.frombuffer(opened.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.shape[1::-1] != image.size:
            raise OSError("OpenCV cannot decode this WebP.")
        channels = [2, 1, 0, 3]
    elif image.format == "AVIF":
        # As Pillow's `load` does, which keeps the decoder's planes and these bytes beside the pixels.
        plugin: Any = image
        pixels = np.frombuffer(plugin._decoder.get_frame(0)[0], np.uint8).reshape(*image.size[::-1], -1)
        plugin._decoder = None
    else:
        image.load()
        return image.crop
    channels = channels[: pixels.shape[2]]
    return lambda box: Image.fromarray(pixels[box[1] : box[3], box[0] : box[2], channels])


def _range(strips: Iterable[Image.Image], floats: bool) -> tuple[float, float]:
    """The values that become black and white in a picture of int32 or float grey: its own extremes.

    For floats within 0 to 1 it is 0 and 1. One value that fills the picture is black up to 0, else white.
    """
    lows, highs = zip(*((values.min(), values.max()) for values in map(_values, strips)), strict=True)
    low, high = min(lows), max(highs)
    if floats and low >= 0 and high <= 1:
        return 0.0, 1.0
    if low == high:
        low, high = min(low, 0.0), max(high, 0.0)
    return low, high if high > low else low + 1


def _to_8_bit(strip: Image.Image, low: float, high: float) -> Image.Image:
    values = _values(strip)
    levels = np.round((values - low) * (255 / (high - low))).astype(np.uint8)
    if "transparency" in strip.info:  # of a PNG; as 8 bits, other levels would be taken for it
        levels[values == strip.info["transparency"]] = 255
    return Image.fromarray(levels)


def _values(strip: Image.Image) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(strip).astype(np.float64), posinf=0, neginf=0)


_load_tags = TiffImagePlugin.ImageFileDirectory_v2.load


class _ReadOnce:
    """A file of tags, to be read about once: Pillow copies what each tag points at, be it always the same."""

    def __init__(self, file: IO[bytes]) -> None:
        here = file.tell()
        self.bytes_left, self.reads_left = 2 * file.seek(0, os.SEEK_END) + 1, MAX_TAG_READS
        file.seek(here)
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        content = self.file.read(size)
        self.bytes_left -= len(content)
        self.reads_left -= 1
        if min(self.bytes_left, self.reads_left) < 0:
            raise OSError("These tags hold more than the file.")  # Pillow goes on with those it has
        return content


def _load_few_tags(tags: TiffImagePlugin.ImageFileDirectory_v2, file: IO[bytes]) -> None:
    _load_tags(tags, cast(IO[bytes], _ReadOnce(file)))
    for table in (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS):
        if len(tags._tagdata.get(table, b"")) > MAX_STRIP_TABLE:
            raise ImageError(
                "This TIFF is cut into too many strips or tiles to be read. Please save it again, "
                "or use a JPEG or PNG."
            )


# Through here pass the tags of TIFFs, and of EXIF in all formats; Pillow sets no limits to them.
TiffImagePlugin.ImageFileDirectory_v2.load = _load_few_tags  # type: ignore[method-assign, assignment]
