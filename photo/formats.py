"""Formats: which kinds of picture file are read."""

from __future__ import annotations

import importlib.util

READABLE = {name.upper(): name for name in ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF")}
"""The formats that are read: Pillow's name for each, and people's."""
if importlib.util.find_spec("pillow_heif"):
    READABLE["HEIF"] = "HEIC"

ACCEPTED = f"{', '.join([*READABLE.values()][:-1])} or {[*READABLE.values()][-1]}"
"""The formats for a message: "JPEG, PNG, ... or AVIF"."""
