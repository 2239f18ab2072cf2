"""Tests how a photo is divided into parts, and how what was found in them is joined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from closer import MOST, OVERLAP, Part, look_closer, merge, parts_of
from detections import Detections
from tests.samples import CAT, DOG
from tests.test_matching import squares

SIDE, MOST_SIDE = 100, 200


@pytest.mark.parametrize("size", [(550, 550), (300, 400), (90, 500), (500, 90), (101, 333), (412, 550)])
def test_parts_cover_the_photo_and_overlap(size: tuple[int, int]) -> None:
    parts = parts_of(size, SIDE, MOST_SIDE)
    assert 1 < len(parts) <= 49
    seen = np.zeros(size, int)
    for x1, y1, x2, y2 in parts:
        assert 0 <= x1 < x2 <= size[1] and 0 <= y1 < y2 <= size[0]
        assert x2 - x1 == min(SIDE, size[1]) and y2 - y1 == min(SIDE, size[0])
        seen[y1:y2, x1:x2] += 1
    assert seen.min() >= 1
    for i in (0, 1):
        starts = sorted({part[i] for part in parts})
        assert max(np.diff(starts), default=0) <= round((1 - OVERLAP) * SIDE)


@pytest.mark.parametrize("size", [(60, 80), (100, 100), (120, 180), (10, 200)])
def test_a_photo_that_is_seen_at_its_size_has_no_parts(size: tuple[int, int]) -> None:
    assert parts_of(size, SIDE, MOST_SIDE) == []


def part(
    box: Part, boxes: list[list[float]], labels: list[int], scores: list[float]
) -> tuple[Part, Detections]:
    """What was found in a part of 100 x 100 pixels. The boxes are in pixels of the part."""
    return box, squares(boxes, labels, scores, SIDE)


LEFT, RIGHT = (0, 0, 100, 100), (75, 0, 175, 100)


def whole(
    boxes: Sequence[Sequence[float]] = (), labels: Sequence[int] = (), scores: Sequence[float] = ()
) -> Detections:
    return squares([list(box) for box in boxes], list(labels), list(scores), 175)


def test_what_is_found_in_a_part_gets_its_place_in_the_photo() -> None:
    found = merge(whole(), [part(RIGHT, [[10, 20, 30, 40]], [CAT], [0.9])])
    assert found.boxes.tolist() == [[85, 20, 105, 40]]
    assert found.image_size == (175, 175) and found.ids.tolist() == [1]


def test_an_object_on_a_seam_is_taken_from_the_part_that_has_it_whole() -> None:
    cut, entire = [85, 10, 100, 30], [10, 10, 34, 30]  # x from 85 to 109 of the photo
    found = merge(whole(), [part(LEFT, [cut], [CAT], [0.99]), part(RIGHT, [entire], [CAT], [0.6])])
    assert found.boxes.tolist() == [[85, 10, 109, 30]]


def test_the_edge_of_the_photo_cuts_nothing() -> None:
    found = merge(whole(), [part(LEFT, [[0, 0, 20, 20]], [CAT], [0.9])])
    assert found.boxes.tolist() == [[0, 0, 20, 20]]


def test_an_object_in_two_parts_and_in_the_whole_photo_counts_once_with_its_best_score() -> None:
    found = merge(
        whole([[80, 10, 95, 30]], [CAT], [0.5]),
        [
            part(LEFT, [[80, 10, 95, 30]], [CAT], [0.7]),
            part(RIGHT, [[5, 10, 21, 30]], [CAT], [0.8]),
        ],
    )
    assert found.scores.tolist() == pytest.approx([0.8])


def test_kinds_do_not_cover_each_other_and_one_look_keeps_its_own_overlaps() -> None:
    found = merge(
        whole([[10, 10, 30, 30], [10, 10, 30, 31]], [CAT, CAT], [0.5, 0.4]),
        [part(LEFT, [[10, 10, 30, 30]], [DOG], [0.7])],
    )
    assert found.class_ids.tolist() == [DOG, CAT, CAT]


def test_large_objects_are_left_to_the_look_at_the_whole_photo() -> None:
    found = merge(
        whole([[10, 10, 90, 90]], [CAT], [0.5]),
        [part(LEFT, [[10, 10, 60, 90]], [CAT], [0.9])],
    )
    assert found.boxes.tolist() == [[10, 10, 90, 90]]


def test_a_fragment_inside_of_an_object_from_another_look_is_dropped() -> None:
    found = merge(
        whole([[10, 10, 90, 90]], [CAT], [0.9]),
        [part(LEFT, [[30, 30, 50, 50]], [CAT], [0.8])],
    )
    assert found.boxes.tolist() == [[10, 10, 90, 90]]


def test_no_more_than_the_most_instances_stay() -> None:
    boxes = [[4.0 * (k % 20), 4.0 * (k // 20), 4.0 * (k % 20) + 3, 4.0 * (k // 20) + 3] for k in range(400)]
    found = merge(whole(), [part(LEFT, boxes, [CAT] * 400, list(np.linspace(1, 0.1, 400)))])
    assert len(found) == MOST and found.scores[-1] > 0.3


def test_every_part_is_looked_at_once_in_groups_and_told_before() -> None:
    image = np.arange(300 * 400 * 3, dtype=np.uint32).astype(np.uint8).reshape(300, 400, 3)
    seen: list[int] = []
    told: list[tuple[int, int]] = []

    def look(images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        seen.append(len(images))
        return [squares([], [], [], max(one.shape[:2])) for one in images]

    look_closer(image, look, SIDE, MOST_SIDE, 8, lambda done, looks: told.append((done, looks)))
    count = 1 + len(parts_of((300, 400), SIDE, MOST_SIDE))
    assert sum(seen) == count and max(seen) == 8
    assert told == [(done, count) for done in range(0, count, 8)]


def test_a_small_photo_is_looked_at_as_a_whole_only() -> None:
    found = squares([[1, 1, 5, 5]], [CAT], [0.9], 90)
    image = np.zeros((90, 90, 3), np.uint8)
    assert look_closer(image, lambda images: [found] * len(images), SIDE, MOST_SIDE) is found


def test_what_has_no_pixel_takes_nothing_away() -> None:
    empty = whole([[10, 10, 30, 30]], [CAT], [0.9])
    empty.mask_probs[:] = 0
    found = merge(empty, [part(LEFT, [[11, 11, 29, 29]], [CAT], [0.8])])
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])
