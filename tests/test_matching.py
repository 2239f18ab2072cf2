"""Tests which instances of two results count as the same object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detections import Detections
from matching import box_intersections, mask_area, mask_intersection, match
from tests.samples import CAT, DOG, make_detections


def squares(boxes: list[list[float]], labels: list[int], scores: list[float], side: int = 400) -> Detections:
    """Returns instances in a square image, whose masks fill their boxes."""
    return make_detections(boxes, (side, side), class_ids=labels, scores=scores)


def discs(seed: int, count: int) -> Detections:
    """Returns instances with random boxes of at least 20 pixels and round masks, in 400 x 300 pixels."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform((0, 0), (250, 150), (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(20, 150, (count, 2))])
    down, across = np.indices((28, 28)) - 13.5
    disc = np.clip(14.5 - np.hypot(down, across), 0, 1).astype(np.float32)
    return replace(make_detections(boxes.tolist(), (300, 400)), mask_probs=np.stack([disc] * count))


@pytest.mark.parametrize("seed", range(5))
def test_what_two_masks_share_is_what_their_pixels_share(seed: int) -> None:
    found = discs(seed, 6)
    for i in range(len(found)):
        whole = np.count_nonzero(found.mask(i))
        assert mask_area(found, i) == pytest.approx(whole, rel=0.03)
        for j in range(len(found)):
            both = np.count_nonzero(found.mask(i) & found.mask(j))
            assert mask_intersection(found, i, found, j) == pytest.approx(both, rel=0.05, abs=40)


def test_masks_that_do_not_meet_share_nothing() -> None:
    found = squares([[0, 0, 50, 50], [200, 200, 250, 250]], [CAT, CAT], [0.9, 0.8])
    assert mask_intersection(found, 0, found, 1) == 0
    assert box_intersections(found.boxes, found.boxes).tolist() == [[2500, 0], [0, 2500]]


def test_instances_match_by_kind_and_mask_and_each_only_once() -> None:
    left = squares(
        [[0, 0, 100, 100], [200, 200, 300, 300], [5, 5, 105, 105]], [CAT, DOG, CAT], [0.9, 0.8, 0.7]
    )
    right = squares(
        [[200, 200, 300, 300], [4, 4, 104, 104], [0, 300, 50, 350]], [CAT, CAT, DOG], [0.9, 0.8, 0.7]
    )
    assert match(left, right) == [(2, 1)]  # the nearer cat; the dog's place holds a cat on the right
    assert match(left, left) == [(0, 0), (1, 1), (2, 2)]


def test_nothing_matches_nothing() -> None:
    nothing = make_detections([])
    assert match(nothing, nothing) == []
