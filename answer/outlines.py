"""Outlines: turns binary masks into polygons and SVG paths.

A mask is a (h, w) bool crop of an image, and `corner_xy` is the image pixel (x, y) of its upper left corner.
OpenCV's `findContours` finds the borders. Pixels that touch only at a corner belong to the same part.

The algorithm is that of Suzuki and Abe, "Topological structural analysis of digitized binary images by border
following" (1985).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.int32]
"""(P, 2) x, y of the corners, each of which is a pixel. The last corner is joined to the first."""

SEARCHED = 64
"""About how many corners of each polygon are compared to find the place where two polygons are close."""


def edge_path(mask: NDArray[np.bool_], corner_xy: tuple[int, int] = (0, 0)) -> str:
    """Returns the edges of the pixels around `mask` as an SVG path: the `d` attribute of a `<path>`.

    Filled by the even-odd rule, the path covers exactly the pixels of the mask. Pixel x reaches from x to
    x + 1. The path of an empty mask is "".
    """
    if not mask.any():
        return ""
    # `findContours` gives pixels, but the path needs the edges between pixels. So the mask is enlarged by 2.
    # The enlarged pixels on both sides of edge x are 2x - 1 and 2x, and `(p + 1) // 2` maps both to x. So the
    # borders of parts and of holes run along the edges. The length of diagonal steps becomes 0.
    enlarged = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(enlarged, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    points = (np.concatenate(contours)[:, 0] + 1) // 2 + np.array(corner_xy)
    ends = np.cumsum([len(contour) for contour in contours])
    steps = np.diff(points, axis=0, append=points[:1])
    steps[ends - 1] = 0  # the command Z draws the way back to the start
    lengths = steps.sum(axis=1)
    commands = [
        f"{letter}{length}" if length else ""
        for letter, length in zip(np.where(steps[:, 0], "h", "v").tolist(), lengths.tolist(), strict=True)
    ]
    starts = [0, *ends[:-1].tolist()]
    return "".join(
        f"M{x} {y}{''.join(commands[start:end])}Z"
        for (x, y), start, end in zip(points[starts].tolist(), starts, ends.tolist(), strict=True)
    )


def polygons(mask: NDArray[np.bool_], corner_xy: tuple[int, int] = (0, 0)) -> list[Polygon]:
    """Returns one closed polygon for each part of `mask`. Its corners are pixels on the part's border.

    Each polygon has at least three corners. Filled together with their boundary, by the even-odd or the
    nonzero rule, the polygons give exactly the mask again. `cv2.fillPoly` and Pillow's `ImageDraw.polygon`
    with an outline fill polygons in this way. A line connects each hole with the boundary above it, there and
    back. The line runs straight up from the hole over pixels of the mask.
    """
    if not mask.any():
        return []
    contours, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: dict[int, Polygon] = {}
    holes: list[tuple[int, int, Polygon]] = []
    for i, parent in enumerate(hierarchy[0, :, 3].tolist()):
        contour = contours[i][:, 0]
        if parent < 0:
            parts[i] = contour
        else:
            holes.append((int(contour[:, 1].min()), parent, contour))
    # The highest hole comes first: then everything straight above a hole already belongs to the polygon.
    for _, part, hole in sorted(holes, key=lambda item: item[0]):
        parts[part] = _with_hole(parts[part], hole, mask)
    return [_three_points(part) + np.array(corner_xy, np.int32) for part in parts.values()]


def joined(polygons: Sequence[Polygon]) -> Polygon:
    """Joins several polygons into one closed polygon.

    A line, there and back, connects each polygon with one of the others at a place where the two are close.
    The filled result has only the pixels of these lines in addition. OpenCV before 5.0 also fills pixels that
    touch the lines.
    """
    whole = polygons[0]
    waiting = {k: (polygon, _close(whole, polygon)) for k, polygon in enumerate(polygons) if k}
    while waiting:
        nearest = min(waiting, key=lambda k: waiting[k][1][0])
        polygon, (_, tie, at) = waiting.pop(nearest)
        whole = _inserted(whole, _row_of(whole, tie), polygon, _row_of(polygon, at))
        for k, (other, known) in waiting.items():
            waiting[k] = other, min(known, _close(polygon, other))
    return whole


def _with_hole(part: Polygon, hole: Polygon, mask: NDArray[np.bool_]) -> Polygon:
    """Cuts `hole` into `part`.

    A vertical line, there and back, connects the edge of `part` with the top of `hole`.
    """
    top = int(hole[:, 1].argmin())
    x, y = hole[top].tolist()
    outside = np.flatnonzero(~mask[:y, x])
    edge = np.array([x, outside[-1] + 1 if len(outside) else 0], np.int32)
    # Find the side of the polygon that `edge` lies on: `edge` is in line with both ends, and between them.
    before, after = part - edge, np.roll(part, -1, axis=0) - edge
    straight = before[:, 0] * after[:, 1] == before[:, 1] * after[:, 0]
    between = ((before * after) <= 0).all(axis=1)
    side = int(np.flatnonzero(straight & between)[0])
    with_edge = np.insert(part, side + 1, edge, axis=0)
    return _inserted(with_edge, side + 1, hole, top)


def _inserted(whole: Polygon, row: int, other: Polygon, other_row: int) -> Polygon:
    """Inserts `other` into `whole` after `row`, beginning and ending at corner `other_row` of `other`."""
    around = np.roll(other, -other_row, axis=0)
    return np.concatenate([whole[: row + 1], around, around[:1], whole[row:]])


def _close(a: Polygon, b: Polygon) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """Finds a corner of `a` and a corner of `b` that are close: (squared distance, corner of a, corner of b).

    First finds the nearest pair among every n-th corner. Then finds the nearest pair among the corners around
    these two. All pairs would be too many, because masks of large photos have thousands of corners.
    """
    every_a, every_b = len(a) // SEARCHED + 1, len(b) // SEARCHED + 1
    row, column = _nearest(a[::every_a], b[::every_b])
    near_a = a.take(np.arange(-every_a, every_a + 1) + row * every_a, axis=0, mode="wrap")
    near_b = b.take(np.arange(-every_b, every_b + 1) + column * every_b, axis=0, mode="wrap")
    row, column = _nearest(near_a, near_b)
    (x_a, y_a), (x_b, y_b) = near_a[row].tolist(), near_b[column].tolist()
    return (x_a - x_b) ** 2 + (y_a - y_b) ** 2, (x_a, y_a), (x_b, y_b)


def _nearest(a: Polygon, b: Polygon) -> tuple[int, int]:
    """Returns the row in `a` and the row in `b` of the two corners that are nearest to each other."""
    squared = np.square(a[:, np.newaxis] - b, dtype=np.int64).sum(axis=2)
    row, column = np.unravel_index(squared.argmin(), squared.shape)
    return int(row), int(column)


def _row_of(polygon: Polygon, point: tuple[int, int]) -> int:
    return int((polygon == point).all(axis=1).argmax())


def _three_points(polygon: Polygon) -> Polygon:
    """Repeats the last point until there are three. The outline of a single pixel has only one point."""
    return np.pad(polygon, ((0, max(0, 3 - len(polygon))), (0, 0)), mode="edge")
