from __future__ import annotations

from itertools import pairwise

import pytest
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

import coco

GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def test_ids_and_names_are_those_of_torchvisions_weights() -> None:
    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    expected = {id: name for id, name in enumerate(names) if name not in ("__background__", "N/A")}
    assert {category.id: category.name for category in coco.CATEGORIES} == expected


def test_there_are_80_categories_in_the_order_of_their_ids_with_ten_gaps() -> None:
    ids = [category.id for category in coco.CATEGORIES]
    assert ids == sorted(set(range(1, 91)) - GAPS)
    assert len(ids) == 80


def test_every_category_is_found_by_its_id_and_by_its_name() -> None:
    for category in coco.CATEGORIES:
        assert coco.BY_ID[category.id] is category
        assert coco.BY_NAME[category.name] is category
    assert len(coco.BY_ID) == len(coco.BY_NAME) == 80


@pytest.mark.parametrize(
    ("name", "supercategory"),
    [
        ("person", "person"),
        ("boat", "vehicle"),
        ("bench", "outdoor"),
        ("giraffe", "animal"),
        ("suitcase", "accessory"),
        ("tennis racket", "sports"),
        ("bowl", "kitchen"),
        ("cake", "food"),
        ("toilet", "furniture"),
        ("cell phone", "electronic"),
        ("refrigerator", "appliance"),
        ("toothbrush", "indoor"),
    ],
)
def test_the_last_category_of_each_supercategory_belongs_to_it(name: str, supercategory: str) -> None:
    assert coco.BY_NAME[name].supercategory == supercategory


def test_the_categories_of_a_supercategory_stand_together() -> None:
    supercategories = [category.supercategory for category in coco.CATEGORIES]
    changes = sum(a != b for a, b in pairwise(supercategories))
    assert len(set(supercategories)) == changes + 1 == 12


def test_a_gap_has_a_name_of_its_own() -> None:
    assert coco.CATEGORIES.name_of(12) == "category 12"
    assert coco.CATEGORIES.name_of(1) == "person"


IRREGULAR = {
    "person": "people", "bus": "buses", "bench": "benches", "sheep": "sheep", "skis": "skis",
    "wine glass": "wine glasses", "knife": "knives", "sandwich": "sandwiches", "broccoli": "broccoli",
    "couch": "couches", "mouse": "mice", "scissors": "scissors", "toothbrush": "toothbrushes",
}  # fmt: skip
"""The plurals that are not the name with an "s"."""


def test_the_plural_of_every_kind_is_english() -> None:
    assert IRREGULAR.keys() <= coco.BY_NAME.keys()
    plurals = {category.name: category.plural for category in coco.CATEGORIES}
    assert plurals == {name: IRREGULAR.get(name, f"{name}s") for name in coco.BY_NAME}


def test_two_are_plural_and_one_is_not() -> None:
    counted = [
        coco.CATEGORIES.counted(*what)
        for what in (("person", 2), ("person", 1), ("knife", 0), ("teddy bear", 3))
    ]
    assert counted == ["2 people", "1 person", "0 knives", "3 teddy bears"]


def test_a_name_whose_plural_is_not_known_stays_as_it_is() -> None:
    assert coco.CATEGORIES.counted("category 12", 2) == "2 x category 12"
