"""Boxes: does the arithmetic of boxes in NumPy: overlap, deltas and non-maximum suppression.

A box is x1, y1, x2, y2 in pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def iou(boxes: Boxes, box: Boxes) -> NDArray[np.float32]:
    """Returns the intersection over union of each box with one box, from 0 to 1.

    Args:
        boxes: (N, 4) float32.
        box: (4,) float32.

    Returns:
        (N,) float32. Of two boxes without area it is 0.
    """
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, 2:], box[2:])
    shared = np.maximum(high - low, 0).prod(1)
    union = areas(boxes) + areas(box[np.newaxis])[0] - shared
    shares: NDArray[np.float32] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return shares


def areas(boxes: Boxes) -> NDArray[np.float32]:
    """Returns the area of each of (N, 4) boxes in square pixels, (N,) float32."""
    sides = boxes[:, 2:] - boxes[:, :2]
    product: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return product


def suppress(boxes: Boxes, groups: NDArray[Any], threshold: float, most: int) -> NDArray[np.int64]:
    """Returns the boxes that non-maximum suppression keeps (Ren et al. 2015, section 3.3).

    Each box that is kept removes all later boxes of its group that overlap it too much.

    Args:
        boxes: (N, 4) float32, in falling order of their scores.
        groups: (N,), the group of each box, such as its label or its level.
        threshold: A box is removed if its intersection over union with a better one is above this.
        most: The number of boxes that are kept at most.

    Returns:
        (n,) int64, the rows that are kept, in rising order.
    """
    left = np.ones(len(boxes), np.bool_)
    kept: list[int] = []
    row = 0
    while len(kept) < most and row < len(boxes):
        if left[row]:
            kept.append(row)
            rest = row + 1 + np.flatnonzero(left[row + 1 :] & (groups[row + 1 :] == groups[row]))
            left[rest[iou(boxes[rest], boxes[row]) > threshold]] = False
        row += 1
    return np.array(kept, np.int64)


def decode(
    deltas: NDArray[np.float32], boxes: Boxes, weights: tuple[float, float, float, float], clip: float
) -> Boxes:
    """Moves and resizes boxes by deltas (Ren et al. 2015, section 3.1.2).

    Args:
        deltas: (N, 4) float32: dx, dy, dw, dh.
        boxes: (N, 4) float32.
        weights: The four numbers by which the deltas are divided.
        clip: The largest dw and dh after the division.

    Returns:
        (N, 4) float32, not clipped to the picture.
    """
    shares = deltas / np.array(weights, np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + np.float32(0.5) * sides + shares[:, :2] * sides
    half = np.float32(0.5) * np.exp(np.minimum(shares[:, 2:], np.float32(clip))) * sides
    return np.hstack([centres - half, centres + half])


def clipped(boxes: Boxes, size_hw: tuple[int, int]) -> Boxes:
    """Returns (N, 4) boxes cut off at the borders of a picture of `size_hw`."""
    height, width = size_hw
    return boxes.clip(0, np.array([width, height, width, height], np.float32))
