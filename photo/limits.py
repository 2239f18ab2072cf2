"""Limits: what a photo or a clip may measure. Each value stands here once.

The owner may set the limits of clips: `SEGMENTATION_CLIP_MB` and `SEGMENTATION_CLIP_SECONDS`.
"""

from __future__ import annotations

import os


def _setting(name: str, usual: float, most: float) -> float:
    """Returns the number that the owner has set in an environment variable, or the usual one."""
    text = os.environ.get(name) or str(usual)
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= most:
        raise SystemExit(f"{name}: expected a number above 0 and at most {most:.0f}, got {text!r:.40}.")
    return number


MAX_FILE_BYTES = 25 * 1024 * 1024
"""The size of a file that a visitor sends, or that is fetched for a visitor."""
MAX_CLIP_BYTES = int(_setting("SEGMENTATION_CLIP_MB", 100, 4000) * 1024 * 1024)
"""The size of a clip's file."""
MAX_CLIP_SECONDS = _setting("SEGMENTATION_CLIP_SECONDS", 60, 600)
"""Of a longer clip only the beginning is looked at."""
MAX_CLIP_PIXELS = 16_000_000
"""Of one frame of a clip. 4K has 9 million."""
MAX_PHOTOS = 50
"""The number of photos that are looked at together."""
MAX_MANY_BYTES = 200 * 1024 * 1024
"""The size of the photos that are looked at together, and of a ZIP with them."""
MAX_MANY_PIXELS = 600_000_000
"""Of the photos that are looked at together. Fifty photos of 12 megapixels have so many."""
MAX_PIXELS = 40_000_000
MAX_ANIMATION_PIXELS = 20_000_000
"""Of an animated WebP. Its decoder keeps two frames and copies each, which takes 16 bytes a pixel."""
MAX_SIDE = 20_000
"""Pixels of the longer side."""
MAX_ASPECT = 30
"""The longer side over the shorter side. Beyond this the shorter side has too few pixels for the network."""
