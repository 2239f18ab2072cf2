"""TIFFs: finds the picture that a TIFF is about, and reads the kinds of pixel that Pillow reads wrongly.

Pillow takes a TIFF's first picture, which may be a thumbnail, and knows only some layouts of pixels. tifffile
knows the rest (signed and float values, 16 bits in separate planes, alpha of 16 bits). It is asked only where
Pillow would be wrong.
Source: TIFF 6.0; Adobe's TIFF Technical Note 1 (sub-IFDs); the DNG specification (NewSubFileType).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from photo.content import Content, Reader
from photo.errors import ImageError, damaged

NEW_SUBFILE_TYPE, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANES = 254, 258, 259, 262, 277, 284
SUB_IFDS, EXTRA_SAMPLES, SAMPLE_FORMAT, DNG_VERSION = 330, 338, 339, 50706
"""The numbers of tags."""
UNSIGNED, SIGNED = 1, 2
"""The sample formats of whole numbers."""
ASSOCIATED, UNASSOCIATED = 1, 2
"""The extra samples that are alpha. Colours are multiplied by associated alpha already."""
UNCOMPRESSED = 1
OPENCV_COMPRESSIONS = (1, 5, 8, 32773, 32946)
"""None, LZW, Deflate and PackBits. OpenCV shows black for a compression that it does not know."""
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR = 0, 1, 2, 6
"""Photometric interpretations."""
RAW_PHOTOMETRICS = (32803, 34892)
"""The photometric interpretations of a camera sensor's values: a mosaic, and linear colours."""
DECODER_ERRORS = (
    tifffile.TiffFileError, ValueError, TypeError, KeyError, IndexError, RuntimeError, ImportError, OSError,
    AttributeError, OverflowError, ZeroDivisionError, struct.error, zlib.error,
)  # fmt: skip
"""What tifffile raises for files that are damaged, or of a kind that it does not read."""
REDUCED, MASK = 1, 4
"""Bits of NewSubfileType. The picture is a smaller copy, or a mask, of another picture in the file."""

RAW = (
    "This file is a camera's raw picture (DNG) whose pixels cannot be read here. "
    "Please export it as a JPEG, or save the camera's own JPEG."
)
ONLY_A_PREVIEW = (
    "This TIFF holds a small preview, and its full picture is stored in a way that cannot be read here. "
    "Please save it again as an ordinary TIFF, or as a JPEG or PNG."
)


@dataclass(frozen=True)
class Values:
    """Pixels that still have to be scaled to 8 bits.

    Attributes:
        array: (H, W) grey, or (H, W, c): grey and alpha, RGB, or RGBA, for c from 2 to 4.
        inverted: The lowest value is white.
        premultiplied: The colours are multiplied by alpha already.
    """

    array: NDArray[Any]
    inverted: bool = False
    premultiplied: bool = False


class ForOpenCV(ImageError):
    """tifffile cannot unpack the pixels. OpenCV can.

    Attributes:
        size: (width, height) of the picture.
        alpha: As `alpha_of` returns it.
        inverted: As in `Values`.
    """

    def __init__(self, size: tuple[int, int], alpha: int, inverted: bool, sentence: str) -> None:
        super().__init__(sentence)
        self.size, self.alpha, self.inverted = size, alpha, inverted


def full_picture(image: Image.Image, content: Content) -> tuple[bytes, bool] | None:
    """Returns the file changed so that its first picture is the full one, and whether this picture lies below
    the first page (in a sub-IFD). None if the first picture is the full one already.

    If the first page is called a preview, or has pictures below it (sub-IFDs), the largest picture that is
    not called a preview is the full one. A single picture is the full one, whatever it is called.

    Raises:
        ImageError: The first picture is a preview, and the full one cannot be read here.
    """
    tags: Any = getattr(image, "tag_v2", {})
    is_preview = tags.get(NEW_SUBFILE_TYPE, 0) & REDUCED
    if not is_preview and SUB_IFDS not in tags:
        return None
    sentence = RAW if DNG_VERSION in tags else ONLY_A_PREVIEW
    try:
        with tifffile.TiffFile(cast(IO[bytes], Reader(content))) as file:
            pages = [page for first in file.pages[:8] for page in (first, *(first.pages or ()))]
            if len(pages) == 1 and DNG_VERSION not in tags:
                return None
            full = [page for page in pages if not int(getattr(page, "subfiletype", 0)) & (REDUCED | MASK)]
            if not full:
                raise ImageError(sentence)
            largest = max(full, key=lambda page: page.imagewidth * page.imagelength)
            if int(largest.photometric) in RAW_PHOTOMETRICS:
                raise ImageError(sentence)
            if largest is file.pages.first:
                return None
            start, length = (8, 8) if file.is_bigtiff else (4, 4)
            offset = int(largest.offset).to_bytes(length, _order(content))
            is_below = any(largest is page for page in file.pages.first.pages or ())
            return content[:start] + offset + content[start + length :], is_below
    except DECODER_ERRORS as error:
        if not is_preview and not isinstance(error, ImageError):
            return None
        raise ImageError(sentence) from error


def is_beyond_pillow(image: Image.Image) -> bool:
    """Whether Pillow would read the picture wrongly: signed bytes, or 16 bits in separate planes."""
    bits, formats, planes_apart = _layout(image)
    return (bits == {8} and SIGNED in formats) or (bits == {16} and planes_apart)


def is_for_opencv(image: Image.Image) -> bool:
    """Whether OpenCV reads more of the picture than Pillow: RGB of 16 bits, and YCbCr without compression."""
    tags: Any = getattr(image, "tag_v2", {})
    bits, _, planes_apart = _layout(image)
    if planes_apart:
        return False
    if tags.get(PHOTOMETRIC) == YCBCR:
        return bool(tags.get(COMPRESSION, UNCOMPRESSED) == UNCOMPRESSED)
    return bits == {16} and tags.get(PHOTOMETRIC) == RGB and tags.get(SAMPLES) in (3, 4)


def alpha_of(image: Image.Image) -> int:
    """Returns `ASSOCIATED`, `UNASSOCIATED`, or 0 for a picture without alpha."""
    tags: Any = getattr(image, "tag_v2", {})
    extra = tags.get(EXTRA_SAMPLES, ())
    return _alpha(extra if isinstance(extra, tuple) else (extra,))


def is_inverted(image: Image.Image) -> bool:
    """Whether the lowest value of a grey picture is white. Pillow knows it only up to 8 bits."""
    tags: Any = getattr(image, "tag_v2", {})
    return bool(tags.get(PHOTOMETRIC) == WHITE_IS_ZERO)


def is_unsigned(image: Image.Image) -> bool:
    """Whether whole numbers of 32 bits have no sign. Pillow takes them for signed numbers."""
    bits, formats, _ = _layout(image)
    return bits == {32} and formats == {UNSIGNED}


def pixels_of(content: Content, check_size: Callable[[int, int], None]) -> Values:
    """Reads the first picture of a TIFF, in the file's own dtype.

    Args:
        check_size: Is given the width and the height before anything is decoded. It may raise.

    Raises:
        ImageError: The file is damaged, or the picture cannot be read here. Then the sentence says what is
            unusual about it.
        ForOpenCV: OpenCV can read the picture.
    """
    page: Any = None
    kind, alpha = "an unknown layout", 0
    try:
        with tifffile.TiffFile(cast(IO[bytes], Reader(content))) as file:
            page = file.pages.first
            check_size(page.imagewidth, page.imagelength)
            kind, alpha = _kind(page), _alpha(page.extrasamples)
            photometric = int(page.photometric)
            if photometric in RAW_PHOTOMETRICS:
                raise ImageError(RAW)
            if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) or page.imagedepth != 1:
                raise _Unsupported
            array: NDArray[Any] = page.asarray(maxworkers=1)
            if array.dtype.kind == "c":
                raise _Unsupported
            size = (page.imagelength, page.imagewidth)
            array = (
                np.moveaxis(array.reshape(-1, *size), 0, -1)
                if int(page.planarconfig) == 2
                else array.reshape(*size, -1)
            )
            channels = (3 if photometric == RGB else 1) + (alpha > 0)
            if array.shape[2] < channels:
                raise _Unsupported
            array = array[..., 0] if channels == 1 else array[..., :channels]
            return Values(array, photometric == WHITE_IS_ZERO, alpha == ASSOCIATED)
    except DECODER_ERRORS as error:
        if isinstance(error, ImageError):
            raise
        needs_imagecodecs = "imagecodecs" in str(error)
        unsupported = needs_imagecodecs or "not supported" in str(error) or isinstance(error, _Unsupported)
        if page is None or not unsupported:
            raise damaged() from error
        sentence = (
            f"This TIFF stores its pixels in a way that cannot be read here ({kind}). "
            "Please save it with 8 bits for each colour, or as a PNG or JPEG."
        )
        unpacks = int(page.planarconfig) == 1 and int(page.compression) in OPENCV_COMPRESSIONS
        if needs_imagecodecs and unpacks and (int(page.photometric) == RGB or not alpha):
            inverted = int(page.photometric) == WHITE_IS_ZERO
            raise ForOpenCV((page.imagewidth, page.imagelength), alpha, inverted, sentence) from error
        raise ImageError(sentence) from error


class _Unsupported(ValueError):
    """The picture is whole, and of a kind that is not read."""


def _alpha(extra_samples: tuple[int, ...]) -> int:
    first = int(extra_samples[0]) if extra_samples else 0
    return first if first in (ASSOCIATED, UNASSOCIATED) else 0


def _kind(page: Any) -> str:
    """The layout of a TIFF's pixels, in words."""
    numbers = {"f": "floating point", "i": "signed", "u": "unsigned", "c": "complex"}
    words = [f"{page.bitspersample}-bit {numbers.get(getattr(page.dtype, 'kind', ''), 'unknown')} numbers"]
    if int(page.photometric) not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        words.append(f"colours as {getattr(page.photometric, 'name', page.photometric)}")
    if page.imagedepth != 1:
        words.append("a volume")
    if int(page.planarconfig) == 2:
        words.append("each colour apart")
    if int(page.compression) != 1:
        words.append(f"compression {getattr(page.compression, 'name', page.compression)}")
    return ", ".join(words)


def _layout(image: Image.Image) -> tuple[set[int], set[int], bool]:
    """The bits and the formats of the samples, and whether each colour has a plane of its own."""
    tags: Any = getattr(image, "tag_v2", {})
    bits, formats = (
        set(value if isinstance(value, tuple) else (value,))
        for value in (tags.get(BITS, 1), tags.get(SAMPLE_FORMAT, 1))
    )
    return bits, formats, tags.get(PLANES, 1) == 2 and tags.get(SAMPLES, 1) > 1


def _order(content: Content) -> Literal["little", "big"]:
    return "little" if content[:2] == b"II" else "big"
