"""Marks: tells the objects of a picture apart, by a colour and a label for each.

The functions only decide. They draw nothing, so the page (`ui.overlay`) and the drawn picture (`visualize`)
can follow the same rules.

- Colours come from a palette. Objects that touch get different colours, by a greedy colouring of their graph.
- A label stands at its object and covers no other label. An object whose label has no room gets a dot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detections import Detections

ColorBy = Literal["instance", "category"]

PALETTE = (
    *("#1ef8f5", "#f40045", "#f0ec00", "#5448fe", "#ff60b1"),
    *("#009463", "#d8a114", "#7baeff", "#af278e", "#a1de90"),
)
"""The colours of objects, in the order in which they are preferred.

A search found them. Any two differ by at least 20 (CIEDE2000), and by at least 13 for people who lack one of
the three kinds of cones in the eye. Black or white letters have a contrast of at least 4.5 on each.
"""
NEAR = 1 / 50
"""Boxes touch if the gap between them is at most this fraction of the picture's longer side."""

MOST_LABELS = 0.06
"""The largest fraction of the picture that all labels cover together."""
ROOM = 2
"""An object gets a label only if its box is at least this many times as large as the label."""
GAP, DOT = 0.1, 0.2
"""The least gap between two labels, and the largest radius of a dot, as fractions of a label's height."""
CORNERS = (
    *(("left", "top"), ("left", "above"), ("left", "bottom"), ("center", "top"), ("right", "top")),
    *(
        ("center", "middle"),
        ("right", "above"),
        ("right", "bottom"),
        ("center", "above"),
        ("center", "bottom"),
    ),
    *(("left", "below"), ("right", "below")),
)
"""Where a label may stand at a box that is drawn, the best place first.

"above" and "below" are outside the box.
"""
MIDDLES = tuple(sorted(CORNERS, key=lambda place: (place[0] != "center", place[1] != "above")))
"""Where a label may stand if the box is not drawn. A corner of such a box is often far from the object."""
SPOTS = np.array([(x, y) for y in (0.5, 0.25, 0.75) for x in (0.5, 0.25, 0.75)])
"""Where a dot may stand in its box, as fractions of the box's width and height. The best spot comes first."""


@dataclass(frozen=True, slots=True, eq=False)
class Placements:
    """How each of N objects is marked: with a label, with a dot, or not at all.

    Args:
        labelled: (N,) bool, whether the object has a label.
        labels_xyxy: (N, 4) float64, x1 y1 x2 y2 of the label. Zeros if there is none.
        dotted: (N,) bool, whether the object has a dot. No object has both.
        dots_xyr: (N, 3) float64, the centre and the radius of the dot. Zeros if there is none.
    """

    labelled: NDArray[np.bool_]
    labels_xyxy: NDArray[np.float64]
    dotted: NDArray[np.bool_]
    dots_xyr: NDArray[np.float64]


def instance_colors(
    detections: Detections, color_by: ColorBy = "instance", among: Detections | None = None
) -> NDArray[np.uint8]:
    """Returns the colours of the instances, (N, 3) uint8 RGB. All of them are colours of `PALETTE`.

    Objects that touch get different colours. If an object touches objects of all colours, it gets the colour
    that the fewest of these have. Instances choose in the order of their ids. Categories choose in the order
    of the first ids of their instances. So the same detections always get the same colours.

    Args:
        color_by: "instance" or "category": whether each instance or each category has its own colour.
        among: All instances of the result, if `detections` is only a part. Then no filter changes a colour.
    """
    everything = detections if among is None else among
    keys, wanted = (
        (each.ids if color_by == "instance" else each.class_ids).tolist() for each in (everything, detections)
    )
    names = list(dict.fromkeys(keys[row] for row in np.argsort(everything.ids)))
    numbers = np.array([names.index(key) for key in keys], np.int64)
    rows, others = np.nonzero(_touching(everything.boxes, NEAR * max(everything.image_size)))
    near = np.zeros((len(names), len(names)), np.bool_)
    near[numbers[rows], numbers[others]] = True
    # Each name prefers a colour of its own, and then the colours after it. Each use of a colour costs more
    # than this preference, and a use by a neighbour costs more than all other uses.
    count = len(PALETTE)
    cost = (np.arange(count) - np.array(names, np.int64)[:, np.newaxis] + 1) % count / count
    chosen = {}
    for k, name in enumerate(names):
        chosen[name] = place = int(cost[k].argmin())
        cost[:, place] += 1 + len(names) * near[k]
    palette = np.array([list(bytes.fromhex(color[1:])) for color in PALETTE], np.uint8)
    return palette[[chosen[key] for key in wanted]].reshape(-1, 3)


def fixed_colors(keys: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Returns a colour of `PALETTE` for each key, (N, 3) uint8 RGB. It depends on the key alone.

    For videos, where an object keeps its colour from frame to frame whatever it touches.
    """
    palette = np.array([list(bytes.fromhex(color[1:])) for color in PALETTE], np.uint8)
    colors: NDArray[np.uint8] = palette[(keys - 1) % len(PALETTE)].reshape(-1, 3)
    return colors


def ink(color: Sequence[int]) -> tuple[int, int, int]:
    """Returns black or white, whichever has more contrast with `color` by WCAG 2. All are RGB, 0 to 255."""
    black = (_luminance(color) + 0.05) / 0.05 > 1.05 / (_luminance(color) + 0.05)
    return (0, 0, 0) if black else (255, 255, 255)


def shown_score(score: float, digits: int = 2) -> str:
    """Returns a score as people read it, with the digits after the point cut off: 0.998 gives "0.99".

    So only a score of 1 reads as 1, and no score reads as higher than it is. A score is a float32. The
    function cuts the shortest decimal number that stands for this float32, so that 0.29 does not become
    "0.28".
    """
    return str(Decimal(str(np.float32(score))).quantize(Decimal(10) ** -digits, ROUND_DOWN))


def label_priorities(detections: Detections) -> NDArray[np.float64]:
    """Returns how much each instance deserves a label, (N,): large and certain objects come first."""
    sides = (detections.boxes[:, 2:] - detections.boxes[:, :2]).astype(np.float64).clip(0)
    priorities: NDArray[np.float64] = np.sqrt(sides[:, 0] * sides[:, 1]) * detections.scores
    return priorities


def place_labels(
    boxes_xyxy: NDArray[Any],
    text_sizes: NDArray[Any],
    priorities: NDArray[Any],
    size_hw: tuple[float, float],
    places: Sequence[tuple[str, str]] = CORNERS,
) -> Placements:
    """Returns where labels stand in a picture, and which objects get a dot in place of a label.

    Labels do not overlap. Each lies inside the picture and touches the box of its object. Together they cover
    at most `MOST_LABELS` of the picture. Objects choose in the order of their priorities. Of the places that
    are free, an object takes the first where the label is the least nuisance for smaller objects
    (`_nuisance`). The first object always gets its label if the label fits into the picture.

    An object gets a dot if no place is free, or if its box has less than `ROOM` for the label. It gets
    nothing if its dot would touch a label or another dot, or if its box lies outside the picture.

    Args:
        boxes_xyxy: (N, 4), x1 y1 x2 y2 in any unit of length, for example CSS pixels.
        text_sizes: (N, 2), the width and height of each label in the same unit, at least 1.
        priorities: (N,). The highest comes first. Of equal ones, the first row comes first.
        size_hw: The height and width of the picture in the same unit.
        places: The places at a box, the best first: `CORNERS`, or `MIDDLES` if the boxes are not drawn.
    """
    count, size = len(boxes_xyxy), np.array(size_hw[::-1], np.float64)
    texts = np.asarray(text_sizes, np.float64).reshape(count, 2)
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(count, 4)
    visible: NDArray[np.bool_] = np.all((boxes[:, :2] < size) & (boxes[:, 2:] > 0), axis=1)
    fitting: NDArray[np.bool_] = visible & np.all(texts <= size, axis=1)
    boxes = boxes.clip(0, np.tile(size, 2))
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    roomy = areas >= ROOM * texts.prod(axis=1)
    order = np.argsort(-np.asarray(priorities, np.float64), kind="stable")
    labels, dots = np.zeros((count, 4)), np.zeros((count, 3))
    taken, left = np.zeros((0, 4)), MOST_LABELS * size.prod()

    choices = _choices(boxes, texts, size, places)
    for i in order[fitting[order]].tolist():
        if len(taken) and not (roomy[i] and texts[i].prod() <= left):
            continue
        free = choices[i][_free(choices[i], taken, GAP * texts[i, 1])]
        if len(free):
            smaller = areas < areas[i]
            smaller[i] = not roomy[i]
            labels[i] = free[_nuisance(free, boxes[smaller]).argmin()]
            taken, left = np.vstack([taken, labels[i]]), left - texts[i].prod()
    labelled = labels[:, 2] > 0

    spots = _spots(boxes, texts, size)
    for i in order[(visible & ~labelled)[order]].tolist():
        squares = np.hstack([spots[i, :, :2] - spots[i, :, 2:], spots[i, :, :2] + spots[i, :, 2:]])
        free = np.flatnonzero(_free(squares, taken, GAP * texts[i, 1]))
        if len(free):
            dots[i] = spots[i, free[0]]
            taken = np.vstack([taken, squares[free[0]]])
    return Placements(labelled, labels, dots[:, 2] > 0, dots)


def _choices(
    boxes: NDArray[Any], texts: NDArray[Any], size: NDArray[Any], places: Sequence[tuple[str, str]]
) -> NDArray[np.float64]:
    """Returns where each label may stand in a picture of `size` (width, height), (N, len(places), 4)."""
    low, high = boxes[:, :2], boxes[:, 2:]
    middle = low + np.round((high - low - texts) / 2)
    narrow = high[:, 0] - low[:, 0] < texts[:, 0]  # then the label hangs over on both sides
    xs = {
        "left": np.where(narrow, middle[:, 0], low[:, 0]),
        "center": middle[:, 0],
        "right": np.where(narrow, middle[:, 0], high[:, 0] - texts[:, 0]),
    }
    ys = {
        "above": low[:, 1] - texts[:, 1],
        "top": low[:, 1],
        "middle": middle[:, 1],
        "bottom": high[:, 1] - texts[:, 1],
        "below": high[:, 1],
    }
    corners = np.stack([np.stack([xs[x], ys[y]], axis=1) for x, y in places], axis=1)
    corners = corners.clip(0, np.maximum(size - texts, 0)[:, np.newaxis])
    return np.concatenate([corners, corners + texts[:, np.newaxis]], axis=2)


def _spots(boxes: NDArray[Any], texts: NDArray[Any], size: NDArray[Any]) -> NDArray[np.float64]:
    """Returns x, y and radius of each dot at each spot, (N, len(SPOTS), 3)."""
    low, sides = boxes[:, np.newaxis, :2], (boxes[:, 2:] - boxes[:, :2])[:, np.newaxis]
    largest = DOT * texts[:, 1, np.newaxis]
    radii = np.clip(sides.min(axis=2) / 4, largest / 2, largest)[:, :, np.newaxis]
    spots = (low + SPOTS * sides).clip(radii, np.maximum(radii, size - radii))
    return np.concatenate([spots, np.broadcast_to(radii, (*spots.shape[:2], 1))], axis=2)


def _free(choices: NDArray[Any], taken: NDArray[Any], gap: float) -> NDArray[np.bool_]:
    """Returns which rectangles of `choices` (A, 4) keep a distance of `gap` from all of `taken` (B, 4)."""
    x1, y1, x2, y2 = choices.T[:, :, np.newaxis]
    left, top, right, bottom = taken.T
    apart = (x1 >= right + gap) | (x2 <= left - gap) | (y1 >= bottom + gap) | (y2 <= top - gap)
    free: NDArray[np.bool_] = apart.all(axis=1)
    return free


def _nuisance(choices: NDArray[Any], boxes: NDArray[Any]) -> NDArray[np.int64]:
    """Returns how bad a label at each of `choices` (A, 4) is for the objects in `boxes` (B, 4), as (A,).

    What counts most is the number of boxes that the label covers completely. Then counts the number of boxes
    in which the label has its centre, because the label seems to name these objects.
    """
    x1, y1, x2, y2 = choices.T[:, :, np.newaxis]
    x, y, (left, top, right, bottom) = (x1 + x2) / 2, (y1 + y2) / 2, boxes.T
    covered = (x1 <= left) & (y1 <= top) & (x2 >= right) & (y2 >= bottom)
    inside = (left <= x) & (x <= right) & (top <= y) & (y <= bottom)
    nuisance: NDArray[np.int64] = covered.sum(axis=1) * (len(boxes) + 1) + inside.sum(axis=1)
    return nuisance


def _touching(boxes: NDArray[np.float32], near: float) -> NDArray[np.bool_]:
    """Returns which boxes overlap or have a gap of at most `near` pixels, (N, N)."""
    close: NDArray[np.bool_] = np.all(boxes[:, np.newaxis, :2] - boxes[:, 2:] <= near, axis=2)
    touching: NDArray[np.bool_] = close & close.T
    return touching


def _luminance(color: Sequence[int]) -> float:
    """Returns the relative luminance, 0 to 1, of an sRGB colour (WCAG 2)."""
    linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
