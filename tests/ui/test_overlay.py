from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import coco
from answer.report import TABLE_HEADERS, table
from answer.result import Result, View, in_view, names
from answer.settings import Filters
from detections import Detections
from inference import WORKING_SIDE
from marks import instance_colors
from photo.strips import fit_within
from tests.answer.test_outlines import rasterised
from tests.samples import CAT, DOG, PERSON, fake_model, make_detections, random_detections
from ui import overlay
from ui.overlay import MOST_DOTS, look, summary
from visualize import Style

SIZES = [(60, 80), (80, 60), (50, 50), (1, 1), (35, 1050), (3001, 2004), (1503, 4000)]
"""(height, width) of photos in landscape and portrait format, smaller and larger than the working image."""


def make_result(detections: Detections) -> Result:
    picture = np.zeros((6, 8, 3), np.uint8)
    return Result(Path("photo.png"), picture, detections, fake_model(), {"model": 1.0})


def scene(result: Result, mask_threshold: float = 0.5) -> dict[str, Any]:
    return overlay.scene(View(result, Filters(mask_threshold=mask_threshold)))


def contrast(a: str, b: str) -> float:
    """Returns the contrast ratio of two colours (#rrggbb) by WCAG 2, from 1 (no contrast) to 21."""
    dark, light = sorted(luminance(color) for color in (a, b))
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    c = np.array(list(bytes.fromhex(color[1:]))) / 255
    return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("size", SIZES)
def test_the_longer_side_is_the_models_and_the_ratio_the_photos(size: tuple[int, int]) -> None:
    seen = scene(make_result(make_detections([], size)))
    assert max(seen["width"], seen["height"]) == WORKING_SIDE
    scale = WORKING_SIDE / max(size)
    assert abs(seen["height"] - size[0] * scale) <= 0.5
    assert abs(seen["width"] - size[1] * scale) <= 0.5


@pytest.mark.parametrize("size", [size for size in SIZES if max(size) > WORKING_SIDE])
def test_outlines_of_a_large_photo_are_as_large_as_the_picture_under_them(size: tuple[int, int]) -> None:
    seen = scene(make_result(make_detections([], size)))
    working_image = fit_within(np.zeros((*size, 3), np.uint8), WORKING_SIDE)
    assert (seen["height"], seen["width"]) == working_image.shape[:2]


def test_no_side_of_the_picture_vanishes() -> None:
    seen = scene(make_result(make_detections([], (1, 5000))))
    assert (seen["height"], seen["width"]) == (1, WORKING_SIDE)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("size", SIZES)
def test_a_filled_outline_is_the_mask_at_the_size_of_the_picture(
    size: tuple[int, int], threshold: float
) -> None:
    detections = random_detections(0, 4, size, mask_side=14, reach=0.3)
    seen = scene(make_result(detections), threshold)
    shape = seen["height"], seen["width"]
    for i, instance in enumerate(seen["instances"]):
        mask = detections.mask(i, shape, threshold)
        np.testing.assert_array_equal(rasterised(instance["path"], shape), mask)


@pytest.mark.parametrize(
    ("box", "prob"), [([200, 200, 240, 240], 1), ([10, 10, 50, 50], 0.5)], ids=["outside", "empty"]
)
def test_an_instance_of_which_nothing_shows_has_an_empty_outline(box: list[float], prob: float) -> None:
    (instance,) = scene(make_result(make_detections([box], prob=prob)))["instances"]
    assert instance["path"] == ""
    assert instance["area"] == 0


@pytest.mark.parametrize(
    ("box", "shares"),
    [
        ([20, 15, 60, 45], [0.25, 0.25, 0.75, 0.75]),
        ([-9, -9, 40, 99], [0, 0, 0.5, 1]),
        ([40, 30, 99, 99], [0.5, 0.5, 1, 1]),
        ([200, 15, 240, 45], [1, 0.25, 1, 0.75]),
    ],
    ids=["inside", "over the upper left", "over the lower right", "outside"],
)
def test_a_box_is_in_shares_of_the_picture_and_ends_at_its_borders(
    box: list[float], shares: list[float]
) -> None:
    (instance,) = scene(make_result(make_detections([box], (60, 80))))["instances"]
    assert instance["box"] == shares


@pytest.mark.parametrize("size", [(60, 80), (3001, 2004)])
def test_a_box_is_right_to_a_tenth_of_a_pixel_of_the_picture(size: tuple[int, int]) -> None:
    detections = random_detections(1, 20, size)
    seen = scene(make_result(detections))
    scale = WORKING_SIDE / max(size)
    drawn = np.array([instance["box"] for instance in seen["instances"]]) * (
        [seen["width"], seen["height"]] * 2
    )
    np.testing.assert_allclose(drawn, detections.boxes * scale, atol=0.5 + 0.1)  # the rounded side adds 0.5


@pytest.mark.parametrize("threshold", [0.3, 0.7])
@pytest.mark.parametrize("size", [(60, 80), (1500, 2000)])
def test_rows_and_areas_are_those_of_the_table_in_pixels_of_the_photo(
    size: tuple[int, int], threshold: float
) -> None:
    detections = random_detections(2, 6, size, reach=0.2)
    areas = [np.count_nonzero(detections.mask(i, threshold=threshold)) for i in range(6)]
    seen = scene(make_result(detections), threshold)
    assert seen["headers"] == list(TABLE_HEADERS)
    assert [instance["row"] for instance in seen["instances"]] == table(detections, coco.CATEGORIES, areas)
    assert [instance["area"] for instance in seen["instances"]] == areas


def test_every_instance_is_there_whatever_its_score_with_its_own_id_and_name() -> None:
    detections = random_detections(3, 30, (60, 80)).select(np.arange(1, 30, 2))
    instances = scene(make_result(detections))["instances"]
    assert [instance["id"] for instance in instances] == detections.ids.tolist()
    assert [instance["name"] for instance in instances] == names(detections, coco.CATEGORIES)
    shown = np.array([instance["score"] for instance in instances])
    assert ((shown > detections.scores - 1.01e-4) & (shown <= detections.scores)).all()  # cut, not rounded


def test_numbers_are_written_as_they_are_read() -> None:
    detections = make_detections(
        [[1000.4, 2000.6, 3000, 3000]], (4000, 5000), class_ids=[CAT], scores=[0.9], ids=[7]
    )
    (instance,) = scene(make_result(detections))["instances"]
    area = detections.area(0)
    pixels, percent = f"{area:,}", f"{100 * area / 20e6:.2f}"
    assert area > 1_000_000
    cells = ["7", "cat", "0.900", pixels, percent, "1,000", "2,001", "2,000", "999"]
    assert instance["cells"] == cells
    assert [list(pair) for pair in instance["numbers"]] == [
        ["Score", "0.900"],
        ["Pixels", pixels],
        ["Of the photo", f"{percent} %"],
        ["Box", "2,000 x 999"],
        ["At", "1,000, 2,001"],
    ]


def test_no_score_below_1_is_shown_as_1() -> None:
    detections = make_detections([[0, 0, 9, 9]] * 2, scores=[1, 0.99996])
    certain, nearly = scene(make_result(detections))["instances"]
    assert certain["cells"][2] == dict(certain["numbers"])["Score"] == "1.000"
    assert nearly["cells"][2] == dict(nearly["numbers"])["Score"] == "0.999"
    assert (certain["score"], nearly["score"]) == (1, 0.9999)


def test_colors_are_those_of_the_annotated_picture() -> None:
    detections = random_detections(4, 40, (60, 80))
    instances = scene(make_result(detections))["instances"]
    for by in ("instance", "category"):
        fills = [tuple(bytes.fromhex(instance["colors"][by]["fill"][1:])) for instance in instances]
        np.testing.assert_array_equal(fills, instance_colors(detections, by))


def test_what_is_written_on_a_color_can_be_read() -> None:
    for instance in scene(make_result(random_detections(5, 100, (60, 80))))["instances"]:
        for color in instance["colors"].values():
            assert contrast(color["fill"], color["ink"]) >= 4.5  # WCAG 2, level AA


@pytest.mark.parametrize("count", [0, 20])
def test_both_come_through_json_unchanged(count: int) -> None:
    result = make_result(random_detections(6, count, (60, 80), reach=0.5))
    seen, shown = scene(result), look(View(result, Filters(0, hidden=(2, 5))))
    assert len(seen["instances"]) == count
    for sent in (seen, shown):
        text = json.dumps(sent, allow_nan=False)
        assert json.dumps(json.loads(text)) == text


@pytest.mark.parametrize(
    "filters",
    [
        Filters(),
        Filters(0),
        Filters(1),
        Filters(0.3, ("person",)),
        Filters(0, ()),
        Filters(0.2, hidden=(1, 3, 99)),
    ],
)
def test_in_sight_is_what_is_in_view_the_highest_score_first(filters: Filters) -> None:
    detections = random_detections(7, 40, (60, 80))
    detections.class_ids[::2] = PERSON
    shown = look(View(make_result(detections), filters))
    assert shown["ids"] == in_view(detections, coco.CATEGORIES, filters).ids.tolist()
    assert shown["hidden"] == list(filters.hidden)


def test_a_look_says_how_everything_is_drawn() -> None:
    style = Style(masks=False, boxes=True, labels=False, opacity=0.25, color_by="category")
    shown = look(View(make_result(make_detections([])), Filters(), style))
    assert shown == {
        "ids": [],
        "hidden": [],
        "masks": False,
        "boxes": True,
        "labels": False,
        "opacity": 0.25,
        "color_by": "category",
    }


def test_a_color_that_is_looked_at_is_in_the_scene() -> None:
    result = make_result(make_detections([[0, 0, 9, 9]]))
    (instance,) = scene(result)["instances"]
    for by in ("instance", "category"):
        assert look(View(result, Filters(), Style(color_by=by)))["color_by"] in instance["colors"]


PETS = make_detections([[9 * i, 0, 9 * i + 9, 9] for i in range(4)], class_ids=[CAT, DOG, CAT, PERSON])


def chips(view: View) -> dict[str, tuple[str, list[str]]]:
    """Returns the words and the dots of each chip, by the name of its kind."""
    groups = summary(view)["groups"]
    return {kind["name"]: (kind["words"], kind["dots"]) for group in groups for kind in group["kinds"]}


def test_a_chip_says_how_many_there_are_and_has_their_colors() -> None:
    result = make_result(PETS)
    fills = {one["id"]: one["colors"]["instance"]["fill"] for one in scene(result)["instances"]}
    assert chips(View(result)) == {
        "cat": ("2 cats", [fills[1], fills[3]]),
        "dog": ("1 dog", [fills[2]]),
        "person": ("1 person", [fills[4]]),
    }
    assert summary(View(result))["found"].startswith("4 objects: 2 cats, ")


@pytest.mark.parametrize("name", coco.BY_NAME)
def test_the_chip_and_the_sentence_use_the_same_plural(name: str) -> None:
    detections = make_detections([[0, 0, 9, 9]] * 2, class_ids=[coco.BY_NAME[name].id] * 2)
    view = View(make_result(detections))
    ((words, _),) = chips(view).values()
    assert words == f"2 {coco.BY_NAME[name].plural}"
    assert summary(view)["found"] == f"2 objects: {words}."


def test_a_chip_has_each_color_once_and_not_too_many() -> None:
    detections = random_detections(8, 60, (60, 80))
    detections.class_ids[:] = PERSON
    for style, most in ((Style(), MOST_DOTS), (Style(color_by="category"), 1)):
        ((_, dots),) = chips(View(make_result(detections), Filters(0), style)).values()
        assert len(dots) == len(set(dots)) == most


def test_a_kind_that_is_not_shown_keeps_its_chip_and_loses_its_dots() -> None:
    view = View(make_result(PETS), Filters(classes=("dog",)))
    assert chips(view)["cat"] == ("2 cats", [])
    assert chips(view)["dog"][1] != []


def test_the_sentence_is_plain_if_the_chips_say_it_all() -> None:
    result = make_result(PETS)
    assert summary(View(result))["plain"]
    assert not summary(View(result, Filters(hidden=(1,))))["plain"]
    assert not summary(View(result), ("A note.",))["plain"]
    assert summary(View(result), ("A note.",))["found"].endswith(" A note.")
    assert not summary(View(result, Filters(1)))["plain"]


def test_what_hides_everything_can_be_reset_if_there_is_something() -> None:
    result, nothing = make_result(PETS), make_result(make_detections([]))
    for filters in (Filters(1), Filters(classes=()), Filters(hidden=(1, 2, 3, 4))):
        assert summary(View(result, filters))["resettable"]
    assert not summary(View(result))["resettable"]
    assert not summary(View(nothing))["resettable"]


def test_a_kind_that_its_own_threshold_hides_keeps_a_chip_to_bring_it_back() -> None:
    result = make_result(make_detections([[0, 0, 9, 9]] * 2, class_ids=[CAT, DOG], scores=[0.9, 0.8]))
    told = summary(View(result, Filters(thresholds={"dog": 0.95, "person": 0.9})))
    assert told["threshold"] == 0.5
    (group,) = told["groups"]
    assert [(kind["name"], kind["count"], kind["dots"] == []) for kind in group["kinds"]] == [
        ("cat", 1, False),
        ("dog", 0, True),
    ]
