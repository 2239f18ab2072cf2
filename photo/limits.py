"""Limits: what a photo may measure. Each value stands here once."""

from __future__ import annotations

MAX_FILE_BYTES = 25 * 1024 * 1024
"""The size of a file that a visitor sends, or that is fetched for a visitor."""
MAX_PIXELS = 40_000_000
MAX_ANIMATION_PIXELS = 20_000_000
"""Of an animated WebP. Its decoder keeps two frames and copies each, which takes 16 bytes a pixel."""
MAX_SIDE = 20_000
"""Pixels of the longer side."""
MAX_ASPECT = 30
"""The longer side over the shorter side. Beyond this the shorter side has too few pixels for the network."""
