from __future__ import annotations

import numpy as np
import pytest

import coco
from answer.result import counts, in_view, names
from answer.settings import Filters
from tests.samples import CAR, CAT, DOG, PERSON, make_detections, random_detections

FOUR = make_detections(
    [[0, 0, 9, 9]] * 4, class_ids=[CAT, PERSON, CAR, PERSON], scores=[0.9, 0.7, 0.5, 0.1], ids=[1, 2, 3, 4]
)


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (Filters(score_threshold=0), [1, 2, 3, 4]),
        (Filters(), [1, 2, 3]),
        (Filters(score_threshold=0.51), [1, 2]),
        (Filters(score_threshold=0.9), [1]),
        (Filters(score_threshold=1), []),
        (Filters(0, ("person",)), [2, 4]),
        (Filters(0, ("car", "cat")), [1, 3]),
        (Filters(0.6, ("person",)), [2]),
        (Filters(0, ("dog",)), []),
        (Filters(0, ()), []),
        (Filters(mask_threshold=0.99), [1, 2, 3]),
        (Filters(0, hidden=(2, 4)), [1, 3]),
        (Filters(0, hidden=(99,)), [1, 2, 3, 4]),
        (Filters(0, ("person",), hidden=(2,)), [4]),
        (Filters(0.5, thresholds={"person": 0.1}), [1, 2, 3, 4]),
        (Filters(0.5, thresholds={"person": 0.71, "cat": 0.9}), [1, 3]),
        (Filters(0, ("cat",), thresholds={"person": 0}), [1]),
    ],
)
def test_a_view_holds_what_passes_in_the_same_order(filters: Filters, ids: list[int]) -> None:
    assert in_view(FOUR, coco.CATEGORIES, filters).ids.tolist() == ids


@pytest.mark.parametrize("score", [0.05, 0.1, 0.3, 0.7, 0.9, 0.95, 0.99])
def test_a_score_equal_to_the_threshold_passes_though_float32_rounds_it(score: float) -> None:
    detections = make_detections([[0, 0, 9, 9]], scores=[score])
    assert len(in_view(detections, coco.CATEGORIES, Filters(score_threshold=score))) == 1
    assert len(in_view(detections, coco.CATEGORIES, Filters(score_threshold=score + 1e-6))) == 0


def test_a_view_of_nothing_is_nothing() -> None:
    assert len(in_view(make_detections([]), coco.CATEGORIES, Filters(0, ("person",)))) == 0


def test_every_instance_is_in_the_view_of_exactly_one_category() -> None:
    detections = random_detections(0, 200, (60, 80))
    shown = [
        in_view(detections, coco.CATEGORIES, Filters(0, (name,))).ids
        for name in set(names(detections, coco.CATEGORIES))
    ]
    assert sorted(np.concatenate(shown)) == detections.ids.tolist()


def test_names_are_those_of_the_categories() -> None:
    assert names(FOUR, coco.CATEGORIES) == ["cat", "person", "car", "person"]
    assert names(make_detections([]), coco.CATEGORIES) == []


def test_counts_begin_with_the_most_frequent_and_ties_with_the_highest_score() -> None:
    detections = make_detections([[0, 0, 9, 9]] * 6, class_ids=[DOG, CAT, PERSON, CAT, PERSON, CAR])
    assert list(counts(detections, coco.CATEGORIES).items()) == [
        ("cat", 2),
        ("person", 2),
        ("dog", 1),
        ("car", 1),
    ]
    assert counts(make_detections([]), coco.CATEGORIES) == {}
