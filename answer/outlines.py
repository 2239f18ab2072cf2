"""Outlines: binary masks as polygons and paths.

A mask is a (h, w) bool crop of an image; `corner_xy` is the image pixel (x, y) of its upper left corner. The
borders are found by OpenCV's `findContours` (Suzuki and Abe, "Topological structural analysis of digitized
binary images by border following", 1985): pixels that touch at a corner belong to one part.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.int32]
"""(P, 2) x, y of corners in pixels; the last is joined to the first."""

SEARCHED = 64
"""Corners of each polygon that are compared with each other to find where two come close."""


def edge_path(mask: NDArray[np.bool_], corner_xy: tuple[int, int] = (0, 0)) -> str:
    """The pixel edges around `mask` as an SVG path, the `d` of a `<path>`; "" if the mask is empty.

    Filled by the even-odd rule it covers the pixels of the mask, pixel x from x to x + 1, and nothing else.
    """
    if not mask.any():
        return ""
    # Twice as large, the pixels on either side of a pixel edge are 2x - 1 and 2x: both become x again, so
    # that borders of parts and of holes run along the edges, and their diagonal steps shrink to nothing.
    enlarged = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(enlarged, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    points = (np.concatenate(contours)[:, 0] + 1) // 2 + np.array(corner_xy)
    ends = np.cumsum([len(contour) for contour in contours])
    steps = np.diff(points, axis=0, append=points[:1])
    steps[ends - 1] = 0  # the way back to the start is the path's Z
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
    """One closed polygon through pixel centres for each part of `mask`, of three points at least.

    Filled with their boundary, by the even-odd rule or by direction, they give the mask back exactly
    (`cv2.fillPoly`; Pillow's `ImageDraw.polygon` with an outline). A hole is cut in by a line there and back
    that runs on the mask's own pixels, straight up from the hole.
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
    # From the top: what lies straight above a hole is then part of the polygon already.
    for _, part, hole in sorted(holes, key=lambda item: item[0]):
        parts[part] = _with_hole(parts[part], hole, mask)
    return [_three_points(part) + np.array(corner_xy, np.int32) for part in parts.values()]


def joined(polygons: Sequence[Polygon]) -> Polygon:
    """One closed polygon of several: each is tied to one of the others by a line there and back.

    The lines lie where two polygons come close. Only they are added to what is filled, and, by OpenCV before
    5.0, pixels that touch them.
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
    """`part` with a line from its edge straight down to the top of `hole`, around it, and back."""
    top = int(hole[:, 1].argmin())
    x, y = hole[top].tolist()
    outside = np.flatnonzero(~mask[:y, x])
    edge = np.array([x, outside[-1] + 1 if len(outside) else 0], np.int32)
    # The polygon's side that this pixel lies on: no turn from one end to the pixel and on to the other.
    before, after = part - edge, np.roll(part, -1, axis=0) - edge
    straight = before[:, 0] * after[:, 1] == before[:, 1] * after[:, 0]
    between = ((before * after) <= 0).all(axis=1)
    side = int(np.flatnonzero(straight & between)[0])
    with_edge = np.insert(part, side + 1, edge, axis=0)
    return _inserted(with_edge, side + 1, hole, top)


def _inserted(whole: Polygon, row: int, other: Polygon, other_row: int) -> Polygon:
    """`whole` up to `row`, then all of `other` from and to `other_row`, then on from `row`."""
    around = np.roll(other, -other_row, axis=0)
    return np.concatenate([whole[: row + 1], around, around[:1], whole[row:]])


def _close(a: Polygon, b: Polygon) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """A corner of `a` and one of `b` that are near each other: (squared distance, of a, of b).

    The nearest of every n-th corner, then the nearest of the corners around these two. All pairs would be
    too many: masks of large photos have thousands of corners.
    """
    every_a, every_b = len(a) // SEARCHED + 1, len(b) // SEARCHED + 1
    row, column = _nearest(a[::every_a], b[::every_b])
    near_a = a.take(np.arange(-every_a, every_a + 1) + row * every_a, axis=0, mode="wrap")
    near_b = b.take(np.arange(-every_b, every_b + 1) + column * every_b, axis=0, mode="wrap")
    row, column = _nearest(near_a, near_b)
    (x_a, y_a), (x_b, y_b) = near_a[row].tolist(), near_b[column].tolist()
    return (x_a - x_b) ** 2 + (y_a - y_b) ** 2, (x_a, y_a), (x_b, y_b)


def _nearest(a: Polygon, b: Polygon) -> tuple[int, int]:
    """The rows of the two corners that are nearest to each other."""
    squared = np.square(a[:, np.newaxis] - b, dtype=np.int64).sum(axis=2)
    row, column = np.unravel_index(squared.argmin(), squared.shape)
    return int(row), int(column)


def _row_of(polygon: Polygon, point: tuple[int, int]) -> int:
    return int((polygon == point).all(axis=1).argmax())


def _three_points(polygon: Polygon) -> Polygon:
    """`polygon`, its last point repeated until there are three: a single pixel has only one."""
    return np.pad(polygon, ((0, max(0, 3 - len(polygon))), (0, 0)), mode="edge")
