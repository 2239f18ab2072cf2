"""The kinds of object that a model knows."""

from __future__ import annotations

import pytest

import coco
from categories import Categories, Category


def test_named_categories_have_the_ids_of_the_networks_labels() -> None:
    leaves = Categories.named(["leaf", "rust", "mildew"])
    assert [(category.id, category.name) for category in leaves] == [(1, "leaf"), (2, "rust"), (3, "mildew")]
    assert leaves.by_name["rust"].id == 2 and leaves.by_id[3].name == "mildew"
    assert leaves.name_of(2) == "rust" and leaves.name_of(4) == "category 4"
    assert len(leaves) == 3


def test_categories_are_written_as_in_cocos_files() -> None:
    assert Categories.named(["leaf"]).as_json() == [{"id": 1, "name": "leaf", "supercategory": "object"}]
    assert coco.CATEGORIES.as_json()[0] == {"id": 1, "name": "person", "supercategory": "person"}


@pytest.mark.parametrize(("count", "words"), [(0, "0 x leaf"), (1, "1 x leaf"), (3, "3 x leaf")])
def test_a_name_of_unknown_language_gets_no_english_plural(count: int, words: str) -> None:
    assert Categories.named(["leaf"]).counted("leaf", count) == words


def test_a_plural_that_is_given_is_used() -> None:
    leaves = Categories((Category(1, "leaf", plural="leaves"),))
    assert [leaves.counted("leaf", count) for count in (1, 2)] == ["1 leaf", "2 leaves"]


@pytest.mark.parametrize("second", [Category(1, "rust"), Category(2, "leaf")])
def test_two_categories_never_share_an_id_or_a_name(second: Category) -> None:
    with pytest.raises(ValueError, match="two have the same"):
        Categories((Category(1, "leaf"), second))
