"""Formats: which kinds of picture file, and of clip, are read."""

from __future__ import annotations

import importlib.util
import re

READABLE = {name.upper(): name for name in ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF")}
"""The formats that are read: Pillow's name for each, and people's."""
if importlib.util.find_spec("pillow_heif"):
    READABLE["HEIF"] = "HEIC"

CLIP_FORMATS = ("MP4", "MOV", "WebM", "AVI", "MKV", "GIF", "WebP")
"""The formats that are read as clips."""
QUICKTIME = re.compile(rb"ftyp|moov|mdat|wide|free|skip|pnot")
"""The kinds of the first part of an MP4 or MOV (ISO/IEC 14496-12, Apple's QuickTime File Format)."""
STILLS = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")
"""The brands of pictures whose files begin as an MP4 does."""
CLIP_START = 64
"""How many of the first bytes tell the format of a clip."""


PICTURE_STARTS = {
    ".jpg": (b"\xff\xd8\xff",),
    ".png": (b"\x89PNG",),
    ".gif": (b"GIF8",),
    ".bmp": (b"BM",),
    ".tif": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
"""How files of pictures begin, by the usual end of their names."""
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
"""How ZIPs begin: one with files, and an empty one."""


def picture_suffix(start: bytes) -> str:
    """Returns the usual end of the name of a picture's file, such as ".jpg", told by its first 12 bytes.

    "" for a file that is none of the pictures that are read. Whether the picture can be read is not told.
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return ".webp"
    if start[4:8] == b"ftyp" and start[8:12] in STILLS:
        return ".avif" if start[8:11] == b"avi" else ".heic"
    return next((suffix for suffix, starts in PICTURE_STARTS.items() if start.startswith(starts)), "")


def is_zip(start: bytes) -> bool:
    """Returns whether a file that begins with these bytes is a ZIP."""
    return start.startswith(ZIP_STARTS)


def clip_format(start: bytes) -> str:
    """Returns which of `CLIP_FORMATS` a file has that begins with these bytes. "" for every other file."""
    if start[:4] == b"GIF8":
        return "GIF"
    if start[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"AVI ": "AVI"}.get(start[8:12], "")
    if start[:4] == b"\x1a\x45\xdf\xa3":
        return "WebM" if b"webm" in start[:CLIP_START] else "MKV"
    if QUICKTIME.fullmatch(start[4:8]) and start[8:12] not in STILLS:
        return "MP4" if start[4:8] == b"ftyp" and start[8:12] != b"qt  " else "MOV"
    return ""


ACCEPTED = f"{', '.join([*READABLE.values()][:-1])} or {[*READABLE.values()][-1]}"
"""The formats for a message: "JPEG, PNG, ... or AVIF"."""
