"""Errors: why a photo cannot be used, in sentences for the person who sent it."""

from __future__ import annotations

from photo.limits import MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE


class ImageError(ValueError):
    """The picture cannot be used. The message tells the person who sent it why, and what would work."""


ORDINARY = {"picture": "JPEG or PNG", "clip": "MP4 of at most 1920 x 1080 pixels"}
"""What a picture or a clip that cannot be read should be saved as."""


def damaged(what: str = "picture") -> ImageError:
    return ImageError(
        f"This {what} is damaged or incomplete and could not be read. Please save or download it again."
    )


def too_large(width: int = 0, height: int = 0) -> ImageError:
    size = f" ({width} x {height} pixels)" if width else ""
    return ImageError(
        f"This picture is too large{size}. Please use one of at most {MAX_PIXELS // 10**6} megapixels "
        f"and {MAX_SIDE} pixels a side."
    )


def too_many_bytes() -> ImageError:
    return ImageError(f"This picture is too large: at most {MAX_FILE_BYTES >> 20} MB are taken.")


def too_slow(what: str = "picture") -> ImageError:
    return ImageError(
        f"This {what} takes too long to read, so it was given up. "
        f"Please save it again as an ordinary {ORDINARY[what]}."
    )


def too_much_memory(what: str = "picture") -> ImageError:
    return ImageError(
        f"This {what} is too large to read: it needs more memory than a {what} of its size should. "
        f"Please save it again as an ordinary {ORDINARY[what]}."
    )
