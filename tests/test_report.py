from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detections import Detections
from report import TABLE_HEADERS, picture_labels, summary, table, unique_labels
from result import Filters, Result
from tests.samples import CAR, CAT, DOG, PERSON, fake_model, make_detections, random_detections

ELEPHANT = 22


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
        [[0, 0, 9, 9]] * 2, class_ids=[CAT, PERSON], scores=[0.984, 0.5], ids=[3, 12]
    )
    assert unique_labels(detections) == ["cat 3", "person 12"]
    assert picture_labels(detections) == ["cat 3: 0.98", "person 12: 0.50"]


def test_labels_differ_even_for_a_hundred_instances_of_one_category() -> None:
    assert len(set(unique_labels(make_detections([[0, 0, 9, 9]] * 100)))) == 100


def test_an_instance_keeps_its_label_when_others_are_filtered_out() -> None:
    detections = random_detections(0, 10, (60, 80))
    keep = np.array([1, 4, 9])
    assert unique_labels(detections.select(keep)) == [unique_labels(detections)[i] for i in keep]


def test_nothing_found_has_no_labels_and_no_rows() -> None:
    nothing = make_detections([])
    assert unique_labels(nothing) == picture_labels(nothing) == table(nothing, []) == []


def test_a_row_says_what_and_where_in_pixels_of_the_photo() -> None:
    detections = make_detections(
        [[10.4, 20.6, 50.2, 40.0]], (100, 200), class_ids=[DOG], scores=[0.98765], ids=[7]
    )
    (row,) = table(detections, [640])
    assert dict(zip(TABLE_HEADERS, row, strict=True)) == {
        "id": 7,
        "object": "dog",
        "score": 0.988,
        "area (px)": 640,
        "area (%)": 3.2,
        "left": 10,
        "top": 21,
        "width": 40,
        "height": 19,
    }


def test_rows_stand_in_the_order_of_the_instances() -> None:
    detections = random_detections(1, 20, (60, 80))
    rows = table(detections, list(range(20)))
    assert [row[0] for row in rows] == detections.ids.tolist()
    assert [row[3] for row in rows] == list(range(20))
    scores = [row[2] for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_cells_are_plain_numbers_and_words() -> None:
    for row in table(random_detections(2, 5, (60, 80)), [1] * 5):
        assert {type(cell) for cell in row} == {int, float, str}


def test_a_mask_over_the_whole_photo_is_100_percent() -> None:
    assert table(make_detections([[0, 0, 80, 60]]), [4800])[0][4] == 100


def test_areas_of_other_instances_are_refused() -> None:
    with pytest.raises(ValueError):
        table(make_detections([[0, 0, 9, 9]] * 2), [5])


@pytest.mark.parametrize(
    ("class_ids", "sentence"),
    [
        ([CAT], "1 object: 1 cat."),
        ([CAT, PERSON, PERSON], "3 objects: 2 person, 1 cat."),
        ([], "No object was found in this photo."),
    ],
)
def test_the_summary_counts_what_is_seen(class_ids: list[int], sentence: str) -> None:
    assert summary(found(class_ids), Filters()).startswith(f"{sentence} Model")


def test_the_summary_counts_only_what_passes() -> None:
    result = found([CAT, PERSON, PERSON, CAR], [0.9, 0.8, 0.3, 0.2])
    assert summary(result, Filters(0.5, ("person", "car"))).startswith("1 object: 1 person.")


@pytest.mark.parametrize(
    ("class_id", "score", "threshold", "strongest"),
    [
        (CAT, 0.42, 0.5, "a cat at 0.42"),
        (ELEPHANT, 0.42, 0.5, "an elephant at 0.42"),
        (CAT, 0.4961, 0.5, "a cat at 0.4961"),
    ],
    ids=["a", "an", "not rounded up to the threshold"],
)
def test_a_threshold_above_everything_names_the_strongest(
    class_id: int, score: float, threshold: float, strongest: str
) -> None:
    words = summary(found([class_id, DOG], [score, 0.1]), Filters(threshold))
    assert words.startswith(
        f"Nothing above {threshold:.2f}; the strongest is {strongest}. Lower the score threshold to see it."
    )


def test_a_class_filter_that_hides_everything_says_so() -> None:
    words = summary(found([CAT, CAT, DOG], [0.9, 0.8, 0.3]), Filters(0.5, ("person",)))
    assert words.startswith("All 2 objects above 0.50 are of kinds that are not ticked.")


@pytest.mark.parametrize(("device", "place"), [("cpu", "CPU"), ("cuda", "GPU"), ("mps", "GPU")])
def test_the_summary_says_how_it_was_found(device: str, place: str) -> None:
    result = make_result(make_detections([]), device=device)
    assert summary(result, Filters()).endswith(f"Model fake, 1.2 s on {place}.")


def test_the_summary_says_when_the_photo_was_reduced_and_to_what() -> None:
    result = make_result(make_detections([], (3000, 4000)), working_hw=(768, 1024))
    assert summary(result, Filters()).endswith("the photo was reduced from 4000x3000 to 1024x768.")


def test_one_hidden_object_is_told_in_the_singular() -> None:
    words = summary(found([CAT], [0.9]), Filters(0.5, ("dog",)))
    assert words.startswith("The only object above 0.50 is of a kind that is not ticked.")


def test_the_strongest_is_one_that_a_lower_threshold_would_show() -> None:
    words = summary(found([CAT, DOG], [0.4, 0.3]), Filters(0.5, ("dog",)))
    assert "the strongest is a dog at 0.30" in words


def test_a_score_just_below_the_threshold_reads_as_below() -> None:
    assert "a cat at 0.499990." in summary(found([CAT], [0.49999]), Filters(0.5))
