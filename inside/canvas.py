"""Canvas: draws heat maps, boxes and texts on a photo. Every function returns a new picture.

A picture is (H, W, 3) uint8 RGB. A colour is red, green and blue, 0 to 255.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from marks import CORNERS, ink, place_labels, shown_score

Picture = NDArray[np.uint8]
Color = tuple[int, int, int]

WHITE, BLACK, GREY, PANEL = (255, 255, 255), (0, 0, 0), (150, 150, 155), (24, 24, 28)
BLUE, ORANGE, GREEN, RED = (86, 180, 233), (230, 159, 0), (0, 200, 140), (240, 80, 60)
"""Colours that colour-blind readers can tell apart too (Okabe and Ito 2008), a little brighter."""
REST = 0.35
"""The brightness that remains of what is not meant."""
HEAT = 0.7
"""The opacity of a heat map."""
OUTSIDE = tuple(sorted(CORNERS, key=lambda place: place[1] not in ("above", "below")))
"""Where labels may stand, the best place first. Outside of a small box they hide less of the object."""
LETTERS, LEAST_LETTERS = 1 / 55, 12
"""The size of letters as a fraction of the picture's diagonal, and the smallest size in pixels."""


def dimmed(picture: Picture, kept: NDArray[np.bool_] | None = None) -> Picture:
    """Returns the picture in dark grey, except for what is kept.

    Args:
        kept: (H, W) bool, the pixels that stay as they are. None means that nothing does.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    dark = cv2.cvtColor(cv2.convertScaleAbs(grey, alpha=REST), cv2.COLOR_GRAY2RGB)
    if kept is not None:
        cv2.copyTo(picture, kept.view(np.uint8), dark)
    return cast(Picture, dark)


def with_heat(picture: Picture, values: NDArray[Any]) -> Picture:
    """Returns the picture in grey under a heat map.

    Args:
        values: (H, W) float from 0 (dark) to 1 (bright).
    """
    levels = cv2.convertScaleAbs(values, alpha=255)
    heat = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return blended(picture, cast(Picture, heat))


def blended(picture: Picture, above: Picture) -> Picture:
    """Returns the picture in grey under another picture of its size, which has the opacity `HEAT`."""
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cast(Picture, cv2.addWeighted(grey, 1 - HEAT, above, HEAT, 0))


def with_boxes(
    picture: Picture, boxes: NDArray[Any], colors: Sequence[Color] | Color, width: float = 1
) -> Picture:
    """Returns the picture with the outlines of boxes. The first box is on top.

    Args:
        boxes: (N, 4) x1 y1 x2 y2 in pixels of the picture.
        colors: One for each box, or one for all.
        width: The width of the lines in units of the usual one.
    """
    drawn = picture.copy()
    line = max(1, round(width * line_width(picture)))
    each = [colors] * len(boxes) if isinstance(colors, tuple) else list(colors)
    corners = np.round(boxes).astype(int).clip(-32768, 32767).tolist()
    for (x1, y1, x2, y2), color in zip(reversed(corners), reversed(each), strict=True):
        cv2.rectangle(drawn, (x1, y1), (x2 - 1, y2 - 1), cast(Any, color), line)
    return drawn


def with_labels(
    picture: Picture, boxes: NDArray[Any], words: Sequence[str], colors: Sequence[Color] | Color
) -> Picture:
    """Returns the picture with a label at each box that has room for it (`marks.place_labels`).

    Args:
        boxes: (N, 4) x1 y1 x2 y2 in pixels of the picture. The first boxes get their labels first.
        words: One for each box.
        colors: One for each box, or one for all.
    """
    drawn = picture.copy()
    size = letter_size(picture)
    font, pad = _font(size), max(2, size // 4)
    ascent, descent = font.getmetrics()
    sizes = [(math.ceil(font.getlength(text)) + 2 * pad, ascent + descent) for text in words]
    each = [colors] * len(words) if isinstance(colors, tuple) else list(colors)
    order = np.arange(len(words), 0, -1)
    placed = place_labels(boxes, np.array(sizes).reshape(-1, 2), order, drawn.shape[:2], OUTSIDE)
    for i in np.flatnonzero(placed.labelled).tolist():
        plate = Image.new("RGB", sizes[i], each[i])
        ImageDraw.Draw(plate).text((pad, ascent), words[i], ink(each[i]), font, anchor="ls")
        x, y = placed.labels_xyxy[i, :2].astype(int).tolist()
        drawn[y : y + sizes[i][1], x : x + sizes[i][0]] = np.asarray(plate)
    return drawn


def with_cross(picture: Picture, x: float, y: float) -> Picture:
    """Returns the picture with a mark at a point, in pixels."""
    drawn = picture.copy()
    at, size = (round(x), round(y)), 8 * line_width(picture)
    for color, extra in ((BLACK, 2), (WHITE, 0)):
        cv2.drawMarker(drawn, at, color, cv2.MARKER_CROSS, size, line_width(picture) + extra, cv2.LINE_AA)
    return drawn


def with_bars(
    picture: Picture, bars: Sequence[tuple[str, float]], away_from: tuple[float, float], color: Color
) -> Picture:
    """Returns the picture with a panel of bars in a corner.

    Args:
        bars: The name and the length, from 0 to 1, of each bar.
        away_from: A point, x and y in pixels. The panel is in the corner that is farthest from it.
        color: The colour of the first bar. The other bars are grey.
    """
    height, width = picture.shape[:2]
    size = min(letter_size(picture), max(6, int(0.9 * height / (1.6 * (len(bars) + 1)))))
    row, pad = round(1.6 * size), round(size / 2)
    font = _font(size)
    names = max((math.ceil(font.getlength(f"{name} 0.00")) for name, _ in bars), default=0)
    panel = Image.new("RGB", (min(width, names + 14 * size), min(height, row * len(bars) + 2 * pad)), PANEL)
    draw = ImageDraw.Draw(panel)
    longest = max(1, panel.width - names - 3 * pad)
    for i, (name, share) in enumerate(bars):
        y, left = pad + i * row, names + 2 * pad
        draw.text((pad, y + row / 2), f"{name} {shown_score(share)}", WHITE, font, anchor="lm")
        bar = (left, y + 2, left + max(1, share * longest), y + row - 3)
        draw.rectangle(bar, GREY if i else color)
    drawn = picture.copy()
    x = 0 if away_from[0] > width / 2 else width - panel.width
    y = 0 if away_from[1] > height / 2 else height - panel.height
    drawn[y : y + panel.height, x : x + panel.width] = np.asarray(panel)
    return drawn


def line_width(picture: Picture) -> int:
    """Returns the usual width of lines in pixels."""
    return max(1, round(math.hypot(*picture.shape[:2]) / 600))


def letter_size(picture: Picture) -> int:
    """Returns the usual size of letters in pixels."""
    return max(LEAST_LETTERS, round(LETTERS * math.hypot(*picture.shape[:2])))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))
