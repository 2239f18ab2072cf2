from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import coco
from answer.report import (
    STEP_BELOW,
    TABLE_HEADERS,
    full_labels,
    hidden_by_threshold,
    kinds,
    summary,
    table,
    unique_labels,
)
from answer.result import Result, View, counts, in_view
from answer.settings import Filters
from detections import Detections
from inference import SCORE_FLOOR
from tests.samples import CAR, CAT, DOG, PERSON, fake_model, make_detections, random_detections

ELEPHANT, GAP = 22, 12


def make_result(
    detections: Detections, working_hw: tuple[int, int] | None = None, device: str = "cpu"
) -> Result:
    working_image = np.zeros((*(working_hw or detections.image_size), 3), np.uint8)
    timings = {"read": 12.0, "model": 1234.0}
    return Result(Path("photo.jpg"), working_image, detections, fake_model(device=device), timings)


def found(class_ids: list[int], scores: list[float] | None = None) -> Result:
    return make_result(make_detections([[0, 0, 9, 9]] * len(class_ids), class_ids=class_ids, scores=scores))


def test_labels_name_the_category_and_the_id() -> None:
    detections = make_detections(
        [[0, 0, 9, 9]] * 2, class_ids=[CAT, PERSON], scores=[0.998, 0.5], ids=[3, 12]
    )
    assert unique_labels(detections, coco.CATEGORIES) == ["cat 3", "person 12"]
    assert full_labels(detections, coco.CATEGORIES) == ["cat 3: 0.99", "person 12: 0.50"]


def test_labels_differ_even_for_a_hundred_instances_of_one_category() -> None:
    assert len(set(unique_labels(make_detections([[0, 0, 9, 9]] * 100), coco.CATEGORIES))) == 100


def test_an_instance_keeps_its_label_when_others_are_filtered_out() -> None:
    detections = random_detections(0, 10, (60, 80))
    keep = np.array([1, 4, 9])
    assert unique_labels(detections.select(keep), coco.CATEGORIES) == [
        unique_labels(detections, coco.CATEGORIES)[i] for i in keep
    ]


def test_nothing_found_has_no_labels_and_no_rows() -> None:
    nothing = make_detections([])
    assert (
        unique_labels(nothing, coco.CATEGORIES)
        == full_labels(nothing, coco.CATEGORIES)
        == table(nothing, coco.CATEGORIES, [])
        == []
    )


def test_a_row_says_what_and_where_in_pixels_of_the_photo() -> None:
    detections = make_detections(
        [[10.4, 20.6, 50.2, 40.0]], (100, 200), class_ids=[DOG], scores=[0.98765], ids=[7]
    )
    (row,) = table(detections, coco.CATEGORIES, [640])
    assert dict(zip(TABLE_HEADERS, row, strict=True)) == {
        "id": 7,
        "object": "dog",
        "score": 0.98765,
        "area (px)": 640,
        "area (%)": 3.2,
        "left": 10,
        "top": 21,
        "width": 40,
        "height": 19,
    }


def test_rows_stand_in_the_order_of_the_instances() -> None:
    detections = random_detections(1, 20, (60, 80))
    rows = table(detections, coco.CATEGORIES, list(range(20)))
    assert [row[0] for row in rows] == detections.ids.tolist()
    assert [row[3] for row in rows] == list(range(20))
    scores = [row[2] for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_cells_are_plain_numbers_and_words() -> None:
    for row in table(random_detections(2, 5, (60, 80)), coco.CATEGORIES, [1] * 5):
        assert {type(cell) for cell in row} == {int, float, str}


def test_a_mask_over_the_whole_photo_is_100_percent() -> None:
    assert table(make_detections([[0, 0, 80, 60]]), coco.CATEGORIES, [4800])[0][4] == 100


def test_areas_of_other_instances_are_refused() -> None:
    with pytest.raises(ValueError):
        table(make_detections([[0, 0, 9, 9]] * 2), coco.CATEGORIES, [5])


@pytest.mark.parametrize(
    ("class_ids", "sentence"),
    [
        ([CAT], "1 object: 1 cat."),
        ([CAT, PERSON, PERSON], "3 objects: 2 people, 1 cat."),
        ([], "No object was found in this photo."),
    ],
)
def test_the_summary_counts_what_is_seen(class_ids: list[int], sentence: str) -> None:
    assert summary(View(found(class_ids))).startswith(f"{sentence} Model")


def test_the_summary_counts_only_what_passes() -> None:
    result = found([CAT, PERSON, PERSON, CAR], [0.9, 0.8, 0.3, 0.2])
    assert summary(View(result, Filters(0.5, ("person", "car")))).startswith("1 object: 1 person.")


@pytest.mark.parametrize(
    ("class_id", "score", "threshold", "strongest"),
    [
        (CAT, 0.42, 0.5, "a cat at 0.42"),
        (ELEPHANT, 0.42, 0.5, "an elephant at 0.42"),
        (CAT, 0.4961, 0.5, "a cat at 0.49"),
        (CAT, 0.4935, 0.494, "a cat at 0.4935"),
    ],
    ids=["a", "an", "not rounded up to the threshold", "with more digits"],
)
def test_a_threshold_above_everything_names_the_strongest(
    class_id: int, score: float, threshold: float, strongest: str
) -> None:
    words = summary(View(found([class_id, DOG], [score, 0.1]), Filters(threshold)))
    assert words.startswith(
        f"Nothing above {threshold:.2f}; the strongest is {strongest}. Lower the score threshold to see it."
    )


def test_a_class_filter_that_hides_everything_says_so() -> None:
    words = summary(View(found([CAT, CAT, DOG], [0.9, 0.8, 0.3]), Filters(0.5, ("person",))))
    assert words.startswith("All 2 objects above 0.50 are of kinds that are not ticked.")


@pytest.mark.parametrize(("device", "place"), [("cpu", "CPU"), ("cuda", "GPU"), ("mps", "GPU")])
def test_the_summary_says_how_it_was_found(device: str, place: str) -> None:
    result = make_result(make_detections([]), device=device)
    assert summary(View(result)).endswith(f"Model fake, 1.2 s on {place}.")


def test_the_summary_says_when_the_photo_was_reduced_and_to_what() -> None:
    result = make_result(make_detections([], (3000, 4000)), working_hw=(768, 1024))
    assert summary(View(result)).endswith("the photo was reduced from 4000x3000 to 1024x768.")


def test_one_hidden_object_is_told_in_the_singular() -> None:
    words = summary(View(found([CAT], [0.9]), Filters(0.5, ("dog",))))
    assert words.startswith("The only object above 0.50 is of a kind that is not ticked.")


def test_the_strongest_is_one_that_a_lower_threshold_would_show() -> None:
    words = summary(View(found([CAT, DOG], [0.4, 0.3]), Filters(0.5, ("dog",))))
    assert "the strongest is a dog at 0.30" in words


def test_a_score_just_below_the_threshold_reads_as_below() -> None:
    assert "a cat at 0.49." in summary(View(found([CAT], [0.49999]), Filters(0.5)))
    assert "a cat at 0.99." in summary(View(found([CAT], [0.9999]), Filters(1)))


@pytest.mark.parametrize(
    ("class_ids", "hidden", "sentence"),
    [
        ([CAT, CAT, DOG], (2,), "2 objects: 1 cat, 1 dog (1 more hidden by you)."),
        ([CAT, CAT, DOG], (1, 2), "1 object: 1 dog (2 more hidden by you)."),
        ([CAT, CAT, DOG], (99,), "3 objects: 2 cats, 1 dog."),
    ],
    ids=["one", "two", "not in this photo"],
)
def test_the_summary_counts_what_the_visitor_has_hidden(
    class_ids: list[int], hidden: tuple[int, ...], sentence: str
) -> None:
    assert summary(View(found(class_ids), Filters(hidden=hidden))).startswith(f"{sentence} Model")


def test_hidden_by_the_visitor_is_only_what_would_be_seen_otherwise() -> None:
    result = found([CAT, CAT, DOG, CAT], [0.9, 0.8, 0.7, 0.3])
    words = summary(View(result, Filters(0.5, ("cat",), hidden=(2, 3, 4))))
    assert words.startswith("1 object: 1 cat (1 more hidden by you). Model")


@pytest.mark.parametrize(
    ("class_ids", "classes", "hidden", "sentence"),
    [
        ([CAT], None, (1,), "You have hidden the only object above 0.50."),
        ([CAT, DOG], None, (1, 2), "You have hidden all objects above 0.50."),
        ([CAT, DOG], ("cat",), (1, 2), "You have hidden all objects above 0.50."),
        (
            [CAT, DOG],
            ("cat",),
            (1,),
            "You have hidden 1 of 2 objects above 0.50; the other is of a kind that is not ticked.",
        ),
        (
            [CAT, CAT, DOG],
            ("cat",),
            (1, 2),
            "You have hidden 2 of 3 objects above 0.50; the other is of a kind that is not ticked.",
        ),
        (
            [CAT, CAT, DOG, CAR],
            ("cat",),
            (1, 2),
            "You have hidden 2 of 4 objects above 0.50; the others are of kinds that are not ticked.",
        ),
    ],
    ids=[
        "the only one",
        "all",
        "all, also of a kind not ticked",
        "one of two",
        "two of three",
        "others not ticked",
    ],
)
def test_where_all_that_is_ticked_is_hidden_by_hand_the_summary_says_so(
    class_ids: list[int], classes: tuple[str, ...] | None, hidden: tuple[int, ...], sentence: str
) -> None:
    # The weak dog below the threshold must not count.
    result = found([*class_ids, DOG], [*np.linspace(0.9, 0.6, len(class_ids)), 0.1])
    assert summary(View(result, Filters(0.5, classes, hidden=hidden))).startswith(f"{sentence} Model")


def test_the_strongest_is_one_that_the_visitor_has_not_hidden() -> None:
    words = summary(View(found([CAT, DOG], [0.4, 0.3]), Filters(hidden=(1,))))
    assert words.startswith("Nothing above 0.50; the strongest is a dog at 0.30.")


@pytest.mark.parametrize(
    ("class_ids", "classes"), [([CAT], None), ([CAT, DOG], ("cat",))], ids=["all ticked", "some ticked"]
)
def test_what_was_hidden_at_a_lower_threshold_is_not_taken_for_absent(
    class_ids: list[int], classes: tuple[str, ...] | None
) -> None:
    words = summary(View(found(class_ids, [0.4, 0.3][: len(class_ids)]), Filters(0.5, classes, hidden=(1,))))
    assert words.startswith(
        "Nothing above 0.50, and you have hidden what a lower score threshold would show. Model"
    )


@pytest.mark.parametrize("classes", [("dog",), ()])
def test_kinds_that_are_ticked_but_were_not_found_at_any_threshold_are_said_to_be_absent(
    classes: tuple[str, ...],
) -> None:
    words = summary(View(found([CAT], [0.4]), Filters(0.5, classes, hidden=(1,))))
    assert words.startswith("No object of the kinds that are ticked was found in this photo. Model")


@pytest.mark.parametrize(
    ("scores", "threshold", "sentence"),
    [
        ([], 0.5, "0 shown"),
        ([0.9], 0.5, "1 shown"),
        ([0.9, 0.5], 0.5, "2 shown"),
        ([0.9, 0.4], 0.5, "1 shown, 1 more between 0.30 and 0.50"),
        ([0.9, 0.3], 0.5, "1 shown, 1 more between 0.30 and 0.50"),
        ([0.9, 0.4, 0.31, 0.29, 0.1], 0.5, "1 shown, 2 more between 0.30 and 0.50, 2 below that"),
        ([0.9, 0.2], 0.5, "1 shown, no more between 0.30 and 0.50, 1 below that"),
        ([0.8, 0.7], 0.99, "0 shown, 1 more between 0.79 and 0.99, 1 below that"),
        ([0.4, 0.1], 0.3, "1 shown, 1 more between 0.10 and 0.30"),
        ([0.4, 0.06], 0.2, "1 shown, 1 more between 0.05 and 0.20"),
        ([0.4, 0.06], 0.06, "2 shown"),
        ([0.4, 0.06], 0.05, "2 shown"),
        ([0.4, 0.06], 0, "2 shown"),
    ],
)
def test_what_a_lower_threshold_would_bring_is_said(
    scores: list[float], threshold: float, sentence: str
) -> None:
    detections = make_detections([[0, 0, 9, 9]] * len(scores), scores=scores)
    assert hidden_by_threshold(View(make_result(detections), Filters(threshold))) == sentence


def test_a_lower_threshold_brings_no_kind_that_is_not_ticked_and_nothing_hidden_by_hand() -> None:
    detections = make_detections(
        [[0, 0, 9, 9]] * 8,
        class_ids=[CAT, DOG, CAT, CAT, DOG, CAT, CAT, DOG],
        scores=[0.9, 0.9, 0.9, 0.4, 0.4, 0.4, 0.1, 0.1],
    )
    sentence = hidden_by_threshold(View(make_result(detections), Filters(0.5, ("cat",), hidden=(3, 6))))
    assert sentence == "1 shown, 1 more between 0.30 and 0.50, 1 below that"


@pytest.mark.parametrize("threshold", [0.05, 0.07, 0.25, 0.26, 0.5, 0.7, 1])
def test_what_is_shown_near_and_below_is_everything_and_moving_the_threshold_there_shows_it(
    threshold: float,
) -> None:
    detections = random_detections(3, 60, (60, 80))
    sentence = hidden_by_threshold(View(make_result(detections), Filters(threshold)))
    shown, near, below = ([int(part.split()[0]) for part in sentence.split(", ")] + [0, 0])[:3]
    assert shown + near + below == 60
    assert shown == len(in_view(detections, coco.CATEGORIES, Filters(threshold)))
    lower = max(SCORE_FLOOR, threshold - STEP_BELOW)
    assert shown + near == len(in_view(detections, coco.CATEGORIES, Filters(lower)))


def test_kinds_stand_in_groups_with_the_most_first_in_both() -> None:
    class_ids = [PERSON, CAR, DOG, DOG, ELEPHANT, CAT, CAT, CAT, CAR]
    assert kinds(make_detections([[0, 0, 9, 9]] * 9, class_ids=class_ids), coco.CATEGORIES) == [
        {
            "name": "animal",
            "kinds": [
                {"name": "cat", "count": 3},
                {"name": "dog", "count": 2},
                {"name": "elephant", "count": 1},
            ],
        },
        {"name": "vehicle", "kinds": [{"name": "car", "count": 2}]},
        {"name": "person", "kinds": [{"name": "person", "count": 1}]},
    ]


def test_a_group_of_many_kinds_comes_before_one_of_a_frequent_kind() -> None:
    class_ids = [PERSON, PERSON, CAT, DOG, ELEPHANT]
    groups = kinds(make_detections([[0, 0, 9, 9]] * 5, class_ids=class_ids), coco.CATEGORIES)
    assert [group["name"] for group in groups] == ["animal", "person"]


def test_groups_as_large_as_each_other_stand_in_the_order_of_their_first_kinds() -> None:
    groups = kinds(make_detections([[0, 0, 9, 9]] * 3, class_ids=[DOG, CAR, PERSON]), coco.CATEGORIES)
    assert [group["name"] for group in groups] == ["animal", "vehicle", "person"]


def test_every_kind_found_is_in_one_group_with_all_of_its_instances() -> None:
    detections = random_detections(4, 200, (60, 80))
    groups = kinds(detections, coco.CATEGORIES)
    offered = [(kind["name"], kind["count"]) for group in groups for kind in group["kinds"]]
    assert sorted(offered) == sorted(counts(detections, coco.CATEGORIES).items())
    assert len({group["name"] for group in groups}) == len(groups)


@pytest.mark.parametrize("class_ids", [[], [GAP, GAP]], ids=["nothing", "no category of COCO's"])
def test_where_nothing_was_found_that_has_a_kind_there_is_nothing_to_tick(class_ids: list[int]) -> None:
    assert kinds(make_detections([[0, 0, 9, 9]] * len(class_ids), class_ids=class_ids), coco.CATEGORIES) == []
