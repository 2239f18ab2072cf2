"""Tests what two views of one photo have in common."""

from __future__ import annotations

from dataclasses import replace

from answer.difference import difference
from answer.result import View
from answer.settings import Filters
from categories import Categories
from tests.samples import CAR, CAT, DOG, make_detections, make_result

BOXES = [[0, 0, 20, 20], [30, 0, 50, 20], [0, 30, 20, 50]]


def test_objects_of_two_thresholds_are_the_same_ones() -> None:
    result = make_result(make_detections(BOXES, class_ids=[CAT, DOG, CAT], scores=[0.9, 0.8, 0.4]))
    found = difference(View(result), View(result, Filters(0.3)))
    assert (found.both.ids.tolist(), found.only_left.ids.tolist(), found.only_right.ids.tolist()) == (
        [1, 2],
        [],
        [3],
    )
    assert found.words == (
        "Both: 2 objects, 1 cat, 1 dog.",
        "Only left: nothing.",
        "Only right: 1 object, 1 cat.",
    )


def test_the_same_place_with_another_name_is_another_object() -> None:
    left, right = (make_result(make_detections(BOXES[:1], class_ids=[kind])) for kind in (CAT, DOG))
    found = difference(View(left), View(right))
    assert not len(found.both) and len(found.only_left) == len(found.only_right) == 1


def test_kinds_are_compared_by_name_also_if_models_number_them_differently() -> None:
    left = make_result(make_detections(BOXES[:2], class_ids=[CAT, CAR]))
    right = make_result(make_detections(BOXES[:2], class_ids=[2, 1]))
    own = replace(right.model, categories=Categories.named(["truck", "cat"]))
    found = difference(View(left), View(replace(right, model=own)))
    assert found.both.ids.tolist() == [1]
    assert found.words[1:] == ("Only left: 1 object, 1 car.", "Only right: 1 object, 1 x truck.")
