"""Errors: why a photo cannot be used, in sentences for the person who sent it."""

from __future__ import annotations

from photo.limits import MAX_PIXELS, MAX_SIDE


class ImageError(ValueError):
    """The picture cannot be used. The message tells the person who sent it why, and what would work."""


def damaged() -> ImageError:
    return ImageError(
        "This picture is damaged or incomplete and could not be read. Please save or download it again."
    )


def too_large(width: int = 0, height: int = 0) -> ImageError:
    size = f" ({width} x {height} pixels)" if width else ""
    return ImageError(
        f"This picture is too large{size}. Please use one of at most {MAX_PIXELS // 10**6} megapixels "
        f"and {MAX_SIDE} pixels a side."
    )


def too_slow() -> ImageError:
    return ImageError(
        "This picture takes too long to read, so it was given up. "
        "Please save it again as an ordinary JPEG or PNG."
    )


def too_much_memory() -> ImageError:
    return ImageError(
        "This picture is too large to read: it needs more memory than a picture of its size should. "
        "Please save it again as an ordinary JPEG or PNG."
    )
