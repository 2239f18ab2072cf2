"""Describes an object as polygons and lines, and renders the polygons and lines to a patch of pixels.

`render` transforms the points of all shapes. It fills the shapes at two to four times the wanted resolution
and then averages the patch down, which gives smooth edges. Coordinates are (x, y), and y points down. Colours
are RGB, 0 to 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from training.scenes.paint import Bytes, Colour, Floats, Points


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One polygon or line of a drawing, in the drawing's own units."""

    points: Points
    """The corners or the points of the line, (K, 2)."""
    colour: Colour = (0, 0, 0)
    width: float = 0.0
    """The width of the line. With 0 the points are a filled polygon."""
    mode: Literal["add", "paint", "erase"] = "add"
    """`add` adds pixels to the object, `paint` colours pixels that it already has, `erase` makes a hole."""
    opacity: float = 1.0


Drawing = list[Shape]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A drawn object, cut to its box."""

    rgb: Floats
    """The colours, (h, w, 3), 0 to 255, already multiplied by alpha."""
    alpha: Floats
    """The opacity, (h, w), 0 to 1."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The object's own pixels, (h, w): alpha is at least 0.5."""
        return self.alpha >= 0.5


def points_at(*pairs: tuple[float, float]) -> Points:
    """Returns the pairs (x, y) as an array (K, 2)."""
    return np.array(pairs, np.float64)


def arc(
    x: float,
    y: float,
    rx: float,
    ry: float | None = None,
    start: float = 0,
    stop: float = 360,
    count: int = 48,
) -> Points:
    """Returns `count` points of an elliptic arc, (count, 2).

    `start` and `stop` are angles in degrees. They run clockwise from the right, because y points down.
    """
    angles = np.radians(np.linspace(start, stop, count))
    return np.stack([x + rx * np.cos(angles), y + (rx if ry is None else ry) * np.sin(angles)], axis=1)


def rectangle(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Points:
    """Returns the outline of a rectangle, (K, 2). Its corners are rounded with `radius`."""
    if radius == 0.0:
        return points_at((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    corners = ((x1, y1, 0), (x0, y1, 90), (x0, y0, 180), (x1, y0, 270))
    return np.concatenate(
        [
            arc(
                x - radius if x == x1 else x + radius, y - radius if y == y1 else y + radius, radius,
                start=start, stop=start + 90, count=8,
            )
            for x, y, start in corners
        ]
    )  # fmt: skip


def render(shapes: Drawing, size_px: int, transform: Points) -> Patch:
    """Renders the drawing after a linear transformation by a (2, 2) matrix.

    The result is scaled so that its longest side is about `size_px`.
    """
    turned = [shape.points @ transform.T for shape in shapes]
    stretch = float(np.sqrt(abs(np.linalg.det(transform))))
    solid = [(p, s.width * stretch / 2) for p, s in zip(turned, shapes, strict=True) if s.mode == "add"]
    low = np.min([p.min(axis=0) - r for p, r in solid], axis=0)
    high = np.max([p.max(axis=0) + r for p, r in solid], axis=0)
    factor = 4 if size_px < 80 else 3 if size_px < 160 else 2
    scale = (size_px - 0.5) / float((high - low).max())
    width, height = (int(side) for side in np.ceil((high - low) * scale).astype(int))
    rgb = np.zeros((height * factor, width * factor, 3), np.uint8)
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    for points, shape in zip(turned, shapes, strict=True):
        fixed = np.round((points - low) * (scale * factor * 16)).astype(np.int32)  # 4 fractional bits
        thickness = max(1, round(shape.width * stretch * scale * factor)) if shape.width else 0
        if shape.mode != "erase":
            _fill(rgb, fixed, thickness, shape.colour, shape.opacity)
        if shape.mode != "paint":
            _fill(alpha, fixed, thickness, 255 if shape.mode == "add" else 0)
    rgb[alpha == 0] = 0
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    return Patch(small, cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255))


def _fill(canvas: Bytes, fixed: NDArray[np.int32], thickness: int, colour: Any, opacity: float = 1.0) -> None:
    """Draws a polygon (thickness 0) or a line into `canvas`. The coordinates have four fractional bits."""
    if opacity < 1:
        before = canvas.copy()
        _fill(canvas, fixed, thickness, colour)
        cv2.addWeighted(canvas, opacity, before, 1 - opacity, 0, dst=canvas)
    elif thickness:
        cv2.polylines(canvas, [fixed], False, colour, thickness, cv2.LINE_8, shift=4)
    else:
        cv2.fillPoly(canvas, [fixed], colour, cv2.LINE_8, shift=4)
