"""Decoder: from the bytes of a file to an upright 8-bit sRGB array, within limits.

This module meets strangers' bytes, so only the processes of `photo.server` run it, and tests. `decode` tells
the format by the content, checks the size before any pixel is decoded, and then goes through the picture in
strips: 8 bits, transparency over white, upright, reduced, sRGB.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, PngImagePlugin, UnidentifiedImageError

from photo import colours, strips, tiffs
from photo.content import Content, Reader
from photo.errors import ImageError, damaged, too_large
from photo.formats import ACCEPTED, READABLE
from photo.limits import MAX_ANIMATION_PIXELS, MAX_ASPECT, MAX_PIXELS, MAX_SIDE
from photo.sources import DECODER_ERRORS, Box, Source, is_animated, open_rare_tiff, open_source, with_tags

if "HEIF" in READABLE:
    from pillow_heif import register_heif_opener

    register_heif_opener()
Image.init()  # a fenced process can import no plugin when it meets its first file

# A second net, for what a header does not tell: Pillow refuses at twice this number. At half of it Pillow
# would refuse before `check_size` can say why, and warn of photos that are within our limits.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# Texts and colour profiles of PNGs, unpacked. Pillow's 1 MB for one of them refuses good printers' profiles.
PngImagePlugin.MAX_TEXT_CHUNK = 4 * 2**20
PngImagePlugin.MAX_TEXT_MEMORY = 8 * 2**20
AvifImagePlugin.DEFAULT_MAX_THREADS = 2  # each has a stack of its own, and two photos are read at once

SIGNIFICANT_BITS = (8, 10, 12, 14, 16)
"""How many bits of a 16-bit value cameras and scanners fill."""
TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MODES = {"1": "L", "L": "L", "LA": "L", "La": "L", "CMYK": "CMYK", "LAB": "LAB"}
"""The mode in which strips of a mode are reduced and converted to sRGB. "RGB" for all others."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets the stored picture upright, by EXIF's orientation."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What `decode` wrote, and what the file was.

    Attributes:
        shape: (height, width) of the RGB pixels at the start of the room.
        size: (height, width) of the whole upright picture.
        format: One of the values of `formats.READABLE`.
        animated: The file holds more frames or pages than this one.
        notes: What the visitor should know about the picture, in sentences.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    format: str
    animated: bool
    notes: tuple[str, ...]


def decode(
    content: Content, longest_side: float, room: memoryview, before_pixels: Callable[[], None] = lambda: None
) -> Decoded:
    """Writes the picture in `content` to the start of `room`, reduced so that no side exceeds `longest_side`.

    Args:
        before_pixels: Called when the header is read and good, before any pixel is decoded.

    Raises:
        ImageError: Not a picture, a format that is not read, damaged, too large or too narrow.
        MemoryError: The picture needs more memory than this process may have.
    """
    try:
        mended = colours.without_broken_chunks(content)
        if mended is None:
            return _decode(content, longest_side, room, before_pixels)
        found = _decode(mended, longest_side, room, before_pixels)
        return replace(found, notes=(*found.notes, colours.BROKEN_CHUNK))
    except Image.DecompressionBombError as error:
        raise too_large() from error
    except (ImageError, MemoryError):
        raise
    except DECODER_ERRORS as error:
        if "MAX_TEXT" in str(error):
            raise ImageError(
                "This PNG carries too much text or too large a colour profile beside its pixels. "
                "Please save it again without them."
            ) from error
        if _is_ours(error):
            raise
        raise damaged() from error


def check_size(width: int, height: int) -> None:
    """Raises `ImageError` for a picture that is too large or too narrow."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise too_large(width, height)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"This picture is {width} x {height} pixels, too narrow to find objects in. "
            f"Please use one whose long side is at most {MAX_ASPECT} times its short side."
        )


def _decode(
    content: Content,
    longest_side: float,
    room: memoryview,
    before_pixels: Callable[[], None],
    above: Image.Image | None = None,
) -> Decoded:
    """Does the work of `decode`. `above` is the TIFF page that the picture lies below (in a sub-IFD)."""
    try:
        image = Image.open(cast(IO[bytes], Reader(content)), formats=[*READABLE])
    except UnidentifiedImageError as error:
        if content[:4] not in TIFF_MARKS:
            raise _not_a_picture() from error
        before_pixels()
        return _write(open_rare_tiff(content, check_size), longest_side, room, "TIFF", lambda: False)
    with image:
        if image.format == "TIFF" and (full := tiffs.full_picture(image, content)) is not None:
            changed, is_below = full
            return _decode(changed, longest_side, room, before_pixels, image if is_below else None)
        check_size(*image.size)
        if (
            image.format == "WEBP"
            and is_animated(image)
            and image.width * image.height > MAX_ANIMATION_PIXELS
        ):
            raise ImageError(
                f"This animation is too large ({image.width} x {image.height} pixels). Please use one of at "
                f"most {MAX_ANIMATION_PIXELS // 10**6} megapixels, or a single picture."
            )
        # "MPO" to Pillow is a phone's JPEG with a preview or a gain map behind it.
        format = READABLE.get(image.format or "", "JPEG")
        before_pixels()
        if image.format == "TIFF" and tiffs.is_beyond_pillow(image):
            source = with_tags(open_rare_tiff(content, check_size), image, content, above)
        else:
            source = open_source(image, content, above)
        # Whether it is animated is asked last: a GIF looks for its second frame then, and may lose its first.
        return _write(source, longest_side, room, format, lambda: format != "JPEG" and is_animated(image))


def _write(
    source: Source, longest_side: float, room: memoryview, format: str, animated: Callable[[], bool]
) -> Decoded:
    """Writes the upright pixels of a source to the start of `room`."""
    lies = source.orientation in (5, 6, 7, 8)
    height, width = source.size if lies else source.size[::-1]
    shape = strips.reduced_size((height, width), longest_side)
    out = np.frombuffer(room, np.uint8, 3 * math.prod(shape)).reshape(*shape, 3)
    boxes = list(_boxes(height, width, source.orientation))
    notes = []
    to_8_bits: Callable[[NDArray[Any]], Image.Image] | None = None
    if source.mode == "values":
        to_8_bits, note = _scale(map(source.crop, boxes), source)
        notes.append(note)
        mode = "RGB" if source.crop(boxes[0]).shape[2:] in ((3,), (4,)) else "L"
    else:
        mode = MODES.get(source.mode, "RGB")
    convert, note = colours.converter(source.meaning, mode)
    notes.append(note)

    def strip_of(box: Box) -> Image.Image:
        return to_8_bits(source.crop(box)) if to_8_bits else source.crop(box)

    to_srgb = convert or (lambda strip: strip.convert("RGB"))
    early = convert is not None and strip_of(boxes[0]).has_transparency_data  # white is mixed in as sRGB
    if convert is None and mode == "CMYK":  # Pillow's own conversion comes first: it is not linear
        mode = "RGB"

    def upright() -> Iterator[Image.Image]:
        for box in boxes:
            strip = strip_of(box)
            if early:
                strip = _with_alpha_of(strip, to_srgb(strip.convert("RGBA").convert(mode)))
            strip = _over_white(strip, source, box, "RGB" if early else mode)
            yield strip.transpose(TURNS[source.orientation]) if source.orientation in TURNS else strip

    last = (lambda strip: strip) if early else to_srgb
    strips.assemble(upright(), (height, width), "RGB" if early else mode, last, out)
    return Decoded(shape, (height, width), format, animated(), tuple(filter(None, notes)))


def _boxes(height: int, width: int, orientation: int) -> Iterator[Box]:
    """The boxes of the stored picture that become the strips of the upright one, from its top to its bottom.

    Rows of the upright picture are columns of a picture that lies, and some count from the other end.
    """
    rows = strips.strip_rows(width)
    for top in range(0, height, rows):
        start, end = top, min(top + rows, height)
        if orientation in (3, 4, 7, 8):
            start, end = height - end, height - start
        yield (start, 0, end, width) if orientation in (5, 6, 7, 8) else (0, start, width, end)


def _with_alpha_of(strip: Image.Image, colours: Image.Image) -> Image.Image:
    return Image.merge("RGBA", (*colours.split(), strip.convert("RGBA").getchannel("A")))


def _over_white(strip: Image.Image, source: Source, box: Box, mode: str) -> Image.Image:
    """A strip in `mode`, with everything that is transparent laid over white."""
    if source.transparent is not None and source.mode != "values":
        grey = np.array(strip.convert("L"))
        grey[grey == source.transparent] = 255
        strip = Image.fromarray(grey)
    elif strip.has_transparency_data:
        rgba = strip.convert("RGBA")
        strip = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    if strip.mode != mode:
        strip = strip.convert(mode)
    if source.covered:
        left, top, right, bottom = source.covered
        canvas = Image.new(mode, strip.size, "white")
        top, bottom = max(top - box[1], 0), min(bottom - box[1], strip.height)
        if bottom > top:
            canvas.paste(strip.crop((left, top, right, bottom)), (left, top))
        strip = canvas
    return strip


def _scale(
    parts: Iterable[NDArray[Any]], source: Source
) -> tuple[Callable[[NDArray[Any]], Image.Image], str | None]:
    """Returns what turns values into 8-bit strips, and a note if the values fill fewer bits than they have.

    Values of 8 bits stay as they are. Values of 16 bits are scaled by the bits that they fill. Floats within
    0 to 1 are scaled by 0 and 1. All others are scaled by their own extremes. If one value fills the picture,
    it is black up to 0, and white above. Alpha is scaled by the range of its type.
    """
    extremes = []
    for part in parts:
        colours = _finite(_colours_of(part))
        extremes.append((colours.min(), colours.max(), colours.dtype))
    low, high = float(min(low for low, _, _ in extremes)), float(max(high for _, high, _ in extremes))
    kind, note = extremes[0][2], None
    if kind == np.uint8:
        low, high = 0.0, 255.0
    elif kind == np.uint16:
        bits = next(bits for bits in SIGNIFICANT_BITS if high < 1 << bits)
        if bits < 16 and high > 0:
            note = f"The picture fills {bits} of its 16 bits; it was scaled to full brightness."
        low, high = 0.0, float((1 << bits) - 1)
    elif kind.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low == high:
        low, high = min(low, 0.0), max(high, 0.0)
        high = high if high > low else low + 1

    def to_8_bits(part: NDArray[Any]) -> Image.Image:
        colours = _colours_of(part)
        levels = np.round((_finite(colours).astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)
        if source.inverted:
            levels = 255 - levels
        if source.transparent is not None:
            levels[part == source.transparent] = 255
        if colours is part:
            return Image.fromarray(levels)
        top = 1 if kind.kind == "f" else np.iinfo(kind).max
        alpha = np.round(_finite(part[..., -1:]).clip(0, top) * (255 / top)).astype(np.uint8)
        mode = "RGBA" if part.shape[2] == 4 else "LA"
        stored = mode.replace("A", "a") if source.premultiplied else mode
        size = (part.shape[1], part.shape[0])
        return Image.frombytes(stored, size, np.dstack([levels, alpha]).tobytes()).convert(mode)

    return to_8_bits, note


def _colours_of(part: NDArray[Any]) -> NDArray[Any]:
    """Values without their alpha. The same object if there is none."""
    return part[..., :-1] if part.shape[2:] in ((2,), (4,)) else part


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    return np.nan_to_num(values, posinf=0, neginf=0) if values.dtype.kind == "f" else values


def _is_ours(error: BaseException) -> bool:
    """Whether our own code raised an error, and not a library that met a damaged file."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).parent == Path(__file__).parent


def _not_a_picture() -> ImageError:
    others = "a PDF or an SVG" if "HEIF" in READABLE else "a photo in HEIC, a PDF or an SVG"
    return ImageError(
        f"This file is not a picture that can be read here. Please use {ACCEPTED} "
        f"({others} must be saved as one of these first, such as JPEG)."
    )
