"""Closer: looks at overlapping parts of a photo and at the whole photo, and joins what was found.

A network sees a photo reduced to a fixed size, so it misses what is small. In a part of the photo, the same
object is larger. The idea is that of Akyon et al., "Slicing aided hyper inference" (2022). What differs is
how the parts are joined: an object that the edge of a part cuts is taken from where it is whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detections import Detections
from matching import box_intersections, mask_area, mask_intersection

OVERLAP = 0.25
"""The least share of its side that a part has in common with the next one."""
MOST_SIDES = 5.5
"""A photo's longer side is reduced to this many sides of a part, so that there are 49 parts at most."""
LEAST_GAIN = 1.25
"""Parts are looked at only if objects look at least this much larger in them than in the whole photo."""
EDGE = 0.02
"""What ends nearer than this share of a part's side to its edge inside the photo counts as cut."""
LARGE = 0.3
"""What is longer than this share of a part's side is left to the look at the whole photo."""
SAME, INSIDE = 0.5, 0.8
"""Masks are of one object from this intersection over union, or if this share of one lies in the other."""
MOST = 300
"""Instances that are kept, those with the highest scores."""

Part = tuple[int, int, int, int]
"""x1 y1 x2 y2 in whole pixels of the photo, x2 and y2 exclusive."""
Look = Callable[[Sequence[NDArray[np.uint8]]], Sequence[Detections]]
"""Returns the instances in each image, (H, W, 3) uint8 RGB, in pixels of this image."""


def parts_of(size: tuple[int, int], side: int, most_side: int) -> list[Part]:
    """Returns the parts in which a network sees each pixel of a photo as at least one pixel.

    Args:
        size: (height, width) of the photo in pixels.
        side: The shorter side, in pixels, of the pictures that the network sees.
        most_side: Their longer side at most.

    Returns:
        The parts, row by row, each at most `side` pixels wide and high. There are none if the network sees
        the whole photo nearly as large.
    """
    height, width = size
    seen = min(side / min(size), most_side / max(size))
    if seen * LEAST_GAIN >= 1:
        return []
    columns, rows = _starts(width, side), _starts(height, side)
    return [(x, y, min(x + side, width), min(y + side, height)) for y in rows for x in columns]


def _starts(length: int, side: int) -> list[int]:
    """Returns where parts of `side` pixels begin, evenly over `length` pixels."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / ((1 - OVERLAP) * side)) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]


def look_closer(
    image: NDArray[np.uint8],
    look: Look,
    side: int,
    most_side: int,
    at_once: int = 1,
    on_look: Callable[[int, int], None] = lambda done, looks: None,
) -> Detections:
    """Finds the instances in a photo and in its parts.

    Args:
        image: (H, W, 3) uint8 RGB, at most `MOST_SIDES` times `side` pixels long.
        look: Finds the instances in one or more images.
        side, most_side: As for `parts_of`.
        at_once: The number of images that `look` gets at a time.
        on_look: Called before each look, with the number of images that are done and of all images.

    Returns:
        The instances, as `merge` gives them. They are those of the whole photo if it has no parts.
    """
    parts = parts_of((image.shape[0], image.shape[1]), side, most_side)
    images = [image] + [image[y1:y2, x1:x2] for x1, y1, x2, y2 in parts]
    found: list[Detections] = []
    for done in range(0, len(images), at_once):
        on_look(done, len(images))
        found += look([np.ascontiguousarray(one) for one in images[done : done + at_once]])
    return merge(found[0], list(zip(parts, found[1:], strict=True))) if parts else found[0]


def merge(whole: Detections, parts: Sequence[tuple[Part, Detections]]) -> Detections:
    """Returns the instances of a photo that were found in the whole photo and in parts of it.

    What touches an edge of a part inside the photo is left out, because it is cut there. The overlapping part
    or the whole photo has it whole, unless it is missed there. What fills more than `LARGE` of a part is
    left to the whole photo, which shows more around it. Of what is left, an instance gives way to one of the
    same kind with a higher score if their masks overlap (`SAME`), or if nearly all of it lies in the other
    (`INSIDE`) and they were found in different looks.

    Args:
        whole: Found in the whole photo.
        parts: Each part, and what was found in it, in pixels of the part.

    Returns:
        At most `MOST` instances, highest score first, with ids from 1 in this order.
    """
    size = whole.image_size
    looks = [whole] + [_moved(_uncut(found, part, size), part, size) for part, found in parts]
    origin = np.concatenate([np.full(len(look), k) for k, look in enumerate(looks)])
    scores = np.concatenate([look.scores for look in looks])
    order = np.argsort(-scores, kind="stable")
    found = Detections(
        boxes=np.concatenate([look.boxes for look in looks])[order],
        scores=scores[order],
        class_ids=np.concatenate([look.class_ids for look in looks])[order],
        mask_probs=np.concatenate([look.mask_probs for look in looks])[order],
        ids=np.arange(1, len(order) + 1),
        image_size=size,
    )
    kept = found.select(_distinct(found, origin[order])[:MOST])
    return replace(kept, ids=np.arange(1, len(kept) + 1))


def _uncut(found: Detections, part: Part, size: tuple[int, int]) -> Detections:
    """Returns the instances of a part that no edge inside the photo cuts and that are not too large."""
    height, width = found.image_size
    inner = np.array([part[0] > 0, part[1] > 0, part[2] < size[1], part[3] < size[0]])
    gaps = np.stack(
        [found.boxes[:, 0], found.boxes[:, 1], width - found.boxes[:, 2], height - found.boxes[:, 3]], axis=1
    )
    cut = ((gaps < EDGE * np.array([width, height] * 2)) & inner).any(axis=1)
    sides = np.maximum(found.boxes[:, 2] - found.boxes[:, 0], found.boxes[:, 3] - found.boxes[:, 1])
    return found.select(~cut & (sides <= LARGE * max(height, width)))


def _moved(found: Detections, part: Part, size: tuple[int, int]) -> Detections:
    """Returns the instances of a part in pixels of the photo."""
    corner = np.array([part[0], part[1]] * 2, np.float32)
    return replace(found, boxes=found.boxes + corner, image_size=size)


def _distinct(found: Detections, look: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the rows that stay if each instance is kept once."""
    areas = np.array([mask_area(found, i) for i in range(len(found))])
    shared = box_intersections(found.boxes, found.boxes)
    near = (shared > 0) & (found.class_ids[:, None] == found.class_ids[None]) & (look[:, None] != look[None])
    kept: list[int] = []
    for i in range(len(found)):
        rivals = (k for k in kept if near[i, k])
        if not any(_is_same(found, i, k, areas) for k in rivals):
            kept.append(i)
    return np.array(kept, np.int64)


def _is_same(found: Detections, i: int, k: int, areas: NDArray[np.float64]) -> bool:
    smaller, larger = sorted((areas[i], areas[k]))
    if smaller == 0:  # what is empty is left out for what has pixels, never the other way round
        return bool(areas[i] == 0)
    common = mask_intersection(found, i, found, k)
    return bool(common >= SAME * (smaller + larger - common) or common >= INSIDE * areas[i])
