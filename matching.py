"""Matching: says how much two masks overlap, and which instances of two results are the same object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detections import Detections

SAME_OBJECT = 0.5
"""Two instances of one kind are the same object if their masks' intersection over union is at least this."""
FINE_SIDE = 128
"""The pixels along the smaller instance's longer side at which two masks are compared."""


def mask_intersection(a: Detections, i: int, b: Detections, j: int, threshold: float = 0.5) -> float:
    """Returns the area that row `i` of `a` and row `j` of `b` share, in pixels of their image.

    Large masks are compared at a lower resolution (`FINE_SIDE`), which changes areas by about a percent.

    Args:
        a, b: Instances of the same image.
        threshold: A pixel belongs to a mask if its probability is above this threshold.
    """
    smaller = min(_longer_side(a, i), _longer_side(b, j))
    size = _comparing_size(a.image_size, smaller)
    (y, x), one = a.mask_crop(i, size, threshold)
    (v, u), other = b.mask_crop(j, size, threshold)
    return shared_pixels((y, x), one, (v, u), other) * _pixels_of_one(a.image_size, size)


def shared_pixels(
    corner: tuple[int, int],
    one: NDArray[np.bool_],
    other_corner: tuple[int, int],
    other: NDArray[np.bool_],
) -> int:
    """Returns the number of pixels that two masks share, each (h, w) with its (y, x) corner in one image."""
    (y, x), (v, u) = corner, other_corner
    top, left = max(y, v), max(x, u)
    bottom = min(y + one.shape[0], v + other.shape[0])
    right = min(x + one.shape[1], u + other.shape[1])
    if bottom <= top or right <= left:
        return 0
    window = one[top - y : bottom - y, left - x : right - x]
    return int(np.count_nonzero(window & other[top - v : bottom - v, left - u : right - u]))


def mask_area(a: Detections, i: int, threshold: float = 0.5) -> float:
    """Returns the area of the mask of row `i` in pixels of its image, as exactly as `mask_intersection`."""
    size = _comparing_size(a.image_size, _longer_side(a, i))
    return np.count_nonzero(a.mask_crop(i, size, threshold)[1]) * _pixels_of_one(a.image_size, size)


def box_intersections(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the area that each box of `a`, (N, 4), shares with each box of `b`, (M, 4), as (N, M)."""
    corners = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides: NDArray[np.float32] = np.clip(corners[1] - corners[0], 0, None)
    return sides[..., 0] * sides[..., 1]


def match(a: Detections, b: Detections, threshold: float = 0.5) -> list[tuple[int, int]]:
    """Returns which instances of `a` and of `b` are the same object, as pairs of rows.

    Two instances can be the same if they are of one kind and their masks have an intersection over union of
    at least `SAME_OBJECT`. The pairs with the highest one are taken first, and no instance is in two pairs.

    Args:
        a, b: Instances of the same image.
        threshold: A pixel belongs to a mask if its probability is above this threshold.
    """
    near = (box_intersections(a.boxes, b.boxes) > 0) & (a.class_ids[:, None] == b.class_ids[None])
    areas = [mask_area(a, i, threshold) for i in range(len(a))]
    others = [mask_area(b, j, threshold) for j in range(len(b))]
    alike = []
    for i, j in np.argwhere(near).tolist():
        if min(areas[i], others[j]) >= SAME_OBJECT * max(areas[i], others[j]) > 0:
            shared = mask_intersection(a, i, b, j, threshold)
            alike.append((shared / (areas[i] + others[j] - shared), i, j))
    pairs: dict[int, int] = {}
    for likeness, i, j in sorted(alike, key=lambda found: (-found[0], found[1:])):
        if likeness >= SAME_OBJECT and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return sorted(pairs.items())


def _longer_side(found: Detections, i: int) -> float:
    left, top, right, bottom = map(float, found.boxes[i])
    return max(right - left, bottom - top, 1.0)


def _comparing_size(size: tuple[int, int], side: float) -> tuple[int, int]:
    scale = min(1.0, FINE_SIDE / side)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _pixels_of_one(size: tuple[int, int], compared: tuple[int, int]) -> float:
    return size[0] * size[1] / (compared[0] * compared[1])
