"""TIFFs: finds the picture that a TIFF is about, and reads the kinds of pixel that Pillow reads wrongly.

Pillow takes a TIFF's first picture, which may be a thumbnail, and knows only some layouts of pixels. tifffile
knows the rest (signed and float values, 16 bits in separate planes). It is asked only where Pillow would be
wrong.
Source: TIFF 6.0; Adobe's TIFF Technical Note 1 (sub-IFDs); the DNG specification (NewSubFileType).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import IO, Any, Literal, cast

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from photo.content import Content, Reader
from photo.errors import ImageError

NEW_SUBFILE_TYPE, BITS, PHOTOMETRIC, SAMPLES, PLANES, SUB_IFDS, SAMPLE_FORMAT, DNG_VERSION = (
    254, 258, 262, 277, 284, 330, 339, 50706,
)  # fmt: skip
SIGNED = 2
"""The sample format of signed whole numbers."""
DECODER_ERRORS = (
    tifffile.TiffFileError, ValueError, TypeError, KeyError, IndexError, RuntimeError, ImportError, OSError,
    AttributeError, OverflowError, ZeroDivisionError, struct.error, zlib.error,
)  # fmt: skip
"""What tifffile raises for files that are damaged, or of a kind that it does not read."""
REDUCED = 1
"""The bit of NewSubfileType that says: this picture is a smaller copy of another one in the file."""
MOSAIC = 32803
"""The photometric interpretation of a camera sensor's raw values."""

RAW = (
    "This file is a camera's raw picture (DNG) whose pixels cannot be read here. "
    "Please export it as a JPEG, or save the camera's own JPEG."
)
ONLY_A_PREVIEW = (
    "This TIFF holds a small preview, and its full picture is stored in a way that cannot be read here. "
    "Please save it again as an ordinary TIFF, or as a JPEG or PNG."
)


class UnknownCompression(ImageError):
    """tifffile does not know the compression, which another library may know.

    Attributes:
        size: (width, height) of the picture.
    """

    def __init__(self, size: tuple[int, int], sentence: str) -> None:
        super().__init__(sentence)
        self.size = size


def full_picture(image: Image.Image, content: Content) -> bytes | None:
    """Returns the file changed so that its first picture is the full one. None if it is the first already.

    Raises:
        ImageError: The first picture is a preview, and the full one cannot be read here.
    """
    tags: Any = getattr(image, "tag_v2", {})
    if not tags.get(NEW_SUBFILE_TYPE, 0) & REDUCED:
        return None
    sentence = RAW if DNG_VERSION in tags else ONLY_A_PREVIEW
    try:
        with tifffile.TiffFile(cast(IO[bytes], Reader(content))) as file:
            pages = [page for first in file.pages[:8] for page in (first, *(first.pages or ()))]
            full = [page for page in pages if not int(getattr(page, "subfiletype", 0)) & REDUCED]
            full = [page for page in full if int(page.photometric) != MOSAIC]
            if not full or file.is_bigtiff:
                raise ImageError(sentence)
            largest = max(full, key=lambda page: page.imagewidth * page.imagelength)
            return content[:4] + int(largest.offset).to_bytes(4, _order(content)) + content[8:]
    except DECODER_ERRORS as error:
        raise ImageError(sentence) from error


def is_beyond_pillow(image: Image.Image) -> bool:
    """Whether Pillow would read the picture wrongly: signed bytes, or 16 bits in separate planes."""
    bits, formats, planes_apart = _layout(image)
    return (bits == {8} and SIGNED in formats) or (bits == {16} and planes_apart)


def has_16_bit_colours(image: Image.Image) -> bool:
    """Whether the picture is RGB of 16 bits, of which Pillow would keep 8."""
    tags: Any = getattr(image, "tag_v2", {})
    bits, _, planes_apart = _layout(image)
    return bits == {16} and not planes_apart and tags.get(SAMPLES, 1) == 3


def pixels_of(content: Content, check_size: Callable[[int, int], None]) -> NDArray[Any]:
    """Reads the first picture of a TIFF as (H, W) or (H, W, 3) of the file's own dtype. Alpha is left out.

    Args:
        check_size: Is given the width and the height before anything is decoded. It may raise.

    Raises:
        ImageError: tifffile cannot read the picture. The sentence says what is unusual about it.
    """
    page: Any = None
    kind = "an unknown layout"
    try:
        with tifffile.TiffFile(cast(IO[bytes], Reader(content))) as file:
            page = file.pages.first
            check_size(page.imagewidth, page.imagelength)
            kind = _kind(page)
            if int(page.photometric) not in (0, 1, 2) or page.imagedepth != 1:
                raise ValueError("neither grey nor RGB")
            array: NDArray[Any] = page.asarray(maxworkers=1)
            if int(page.planarconfig) == 2 and array.ndim == 3:
                array = np.moveaxis(array, 0, -1)
            if int(page.photometric) == 0:
                array = np.iinfo(array.dtype).max - array if array.dtype.kind in "iu" else -array
            grey = array.ndim == 2 or array.shape[2] < 3
            return array.reshape(*array.shape[:2], -1)[..., 0] if grey else array[..., :3]
    except DECODER_ERRORS as error:
        if isinstance(error, ImageError):
            raise
        known = page is not None and page.planarconfig == 1 and "imagecodecs" in str(error)
        sentence = (
            f"This TIFF stores its pixels in a way that cannot be read here ({kind}). "
            "Please save it with 8 bits for each colour, or as a PNG or JPEG."
        )
        if known:
            raise UnknownCompression((page.imagewidth, page.imagelength), sentence) from error
        raise ImageError(sentence) from error


def _kind(page: Any) -> str:
    """The layout of a TIFF's pixels, in words."""
    number = {"f": "floating point", "i": "signed", "u": "unsigned"}.get(
        getattr(page.dtype, "kind", ""), "unknown"
    )
    words = [f"{page.bitspersample}-bit {number} numbers"]
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
