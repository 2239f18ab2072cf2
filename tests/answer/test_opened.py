"""Opened: annotations that were made before become detections to go on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import coco
from answer.edits import Edit, edited, to_text
from answer.formats import to_coco, to_labelme
from answer.opened import continued, read_annotations
from answer.settings import SettingsError
from detections import Detections
from tests.samples import CAT, DOG, PERSON, make_detections

CLASSES = {"person": PERSON, "cat": CAT, "dog": DOG, "horse": 19, "teapot": 91}
KINDS = coco.CATEGORIES.with_names(["teapot"])
SIZE = (120, 160)


def found() -> Detections:
    """Three objects of a model: ellipses."""
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    detections = make_detections(
        [[10, 10, 60, 50], [70, 20, 150, 110], [20, 60, 60, 115]], SIZE, class_ids=[CAT, DOG, PERSON]
    )
    detections.mask_probs[:] = np.clip(1.2 - x**2 - y**2, 0, 1)
    return detections


def corrected() -> Detections:
    """The same, with one renamed, one removed and one added."""
    mask = to_text(found().mask_probs[0])
    edits = [Edit("rename", 2, "horse"), Edit("add", 7, "cat", (90.0, 5.0, 130.0, 60.0), mask)]
    after = edited(found(), edits, CLASSES)
    return after.select(after.ids != 3)


def opened(content: dict[str, Any], folder: Path, photo: str = "photo.jpg") -> Detections:
    path = folder / "annotations.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return continued(found(), read_annotations(path, photo, SIZE), CLASSES)


def overlap(one: Detections, i: int, other: Detections, j: int) -> float:
    a, b = one.mask(i), other.mask(j)
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


def row(detections: Detections, id: int) -> int:
    return detections.ids.tolist().index(id)


@pytest.mark.parametrize("format", ["coco", "labelme"])
def test_our_own_export_goes_on_as_it_was(format: str, tmp_path: Path) -> None:
    before = corrected()
    write = {"coco": to_coco, "labelme": to_labelme}[format]

    after = opened(write(before, KINDS, "photo.png"), tmp_path)

    assert sorted(after.ids.tolist()) == [1, 2, 7]
    for id in (1, 2, 7):
        assert after.class_ids[row(after, id)] == before.class_ids[row(before, id)]
        assert overlap(after, row(after, id), before, row(before, id)) > 0.96
    assert after.source(row(after, 1)) == "model"  # the model finds exactly this
    assert np.array_equal(after.mask(row(after, 1)), before.mask(row(before, 1)))
    assert after.source(row(after, 2)) == "edited"
    assert after.source(row(after, 7)) == "person"


def test_a_file_of_labelmes_own(tmp_path: Path) -> None:
    content = {
        "version": "5.5.0",
        "shapes": [
            {"label": "teapot", "points": [[10.5, 10.5], [60.2, 12.0], [40.0, 50.9]], "group_id": None,
             "shape_type": "polygon"},
            {"label": "cat", "points": [[100.0, 80.0], [80.0, 40.0]], "group_id": None,
             "shape_type": "rectangle"},
            {"label": "dog", "points": [[0, 100], [10, 100], [10, 110], [0, 110]], "group_id": 4},
            {"label": "dog", "points": [[20, 100], [30, 100], [30, 110], [20, 110]], "group_id": 4},
        ],
        "imagePath": "photo.jpg", "imageHeight": SIZE[0], "imageWidth": SIZE[1],
    }  # fmt: skip

    after = opened(content, tmp_path)

    assert len(after) == 3
    by_class = {int(after.class_ids[i]): after.mask(i) for i in range(3)}
    assert by_class[91][20, 40]
    assert by_class[91].sum() == pytest.approx(1000, rel=0.1)
    assert by_class[CAT].sum() == pytest.approx(20 * 40, rel=0.15)
    assert by_class[DOG][105, 5]
    assert by_class[DOG][105, 25]  # two parts of one object
    assert not by_class[DOG][105, 15]


def test_cvats_coco_about_two_pictures(tmp_path: Path) -> None:
    square = [70.0, 20.0, 90.0, 20.0, 90.0, 40.0, 70.0, 40.0]
    runs = [3 * SIZE[0], 10 * SIZE[0], (SIZE[1] - 13) * SIZE[0]]  # ten columns of the picture
    content = {
        "images": [
            {"id": 1, "file_name": "train/other.jpg", "width": 4, "height": 4},
            {"id": 2, "file_name": "train/photo.jpg", "width": SIZE[1], "height": SIZE[0]},
        ],
        "categories": [{"id": 1, "name": "teapot", "supercategory": ""}, {"id": 5, "name": "cat"}],
        "annotations": [
            {"id": 11, "image_id": 1, "category_id": 5, "segmentation": [[0, 0, 1, 0, 1, 1]]},
            {"id": 12, "image_id": 2, "category_id": 1, "segmentation": [square], "iscrowd": 0},
            {"id": 13, "image_id": 2, "category_id": 5, "iscrowd": 1,
             "segmentation": {"size": list(SIZE), "counts": runs}},
            {"id": 14, "image_id": 2, "category_id": 5, "segmentation": []},
        ],
    }  # fmt: skip
    after = opened(content, tmp_path)

    assert after.ids.tolist() == [12, 13]
    assert after.mask(0).sum() == pytest.approx(400, abs=20)
    assert after.boxes[1].tolist() == [3, 0, 13, SIZE[0]]


GOOD: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "photo.jpg", "width": SIZE[1], "height": SIZE[0]}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}],
}


def with_mask(segmentation: object) -> dict[str, Any]:
    return GOOD | {"annotations": [GOOD["annotations"][0] | {"segmentation": segmentation}]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "no annotations that can be read"),
        ({"a": 1}, "no annotations that can be read"),
        (GOOD | {"images": []}, "none of them is named like"),
        (GOOD | {"images": [GOOD["images"][0] | {"width": 9}]}, "for a picture of 9 x 120"),
        (GOOD | {"categories": [{"id": 1, "name": "x" * 10_000}]}, "at most 100 characters"),
        (GOOD | {"categories": []}, "no annotations that can be read"),
        (GOOD | {"annotations": GOOD["annotations"] * 501}, "hold 501 objects"),
        (with_mask({"size": list(SIZE), "counts": [1, 2]}), "no annotations that can be read"),
        (with_mask({"size": list(SIZE), "counts": [-1, SIZE[0] * SIZE[1] + 1]}), "no annotations"),
        (with_mask({"size": [10**9, 10**9], "counts": [10**18]}), "no annotations"),
        (with_mask({"size": list(SIZE), "counts": "~" * 50}), "no annotations that can be read"),
        (with_mask([[0, 0, "a", 0, 9, 9]]), "no annotations that can be read"),
        (with_mask([[0, 0, 1e999, 0, 9, 9]]), "no annotations that can be read"),
        ({"shapes": [{"label": "cat", "points": [[1, 1], [5, 5]], "shape_type": "line"}]}, "is no area"),
        (with_mask([[0, 0, 160, 120] * 3000]), "too long to be opened"),
        ({"shapes": [{"label": "cat"}]}, "no annotations that can be read"),
    ],
)
def test_other_files_get_a_sentence(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        opened(content, tmp_path)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\udcff"])
def test_damaged_files_get_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(SettingsError, match="damaged"):
        read_annotations(path, "photo.jpg", SIZE)


def test_objects_that_cover_the_photo_too_often_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("answer.opened.LEAST_PIXELS", 0)
    whole = [[0, 0, SIZE[1], 0, SIZE[1], SIZE[0], 0, SIZE[0]]]
    one = with_mask(whole)["annotations"][0]
    with pytest.raises(SettingsError, match="cover the photo too many times"):
        opened(GOOD | {"annotations": [one | {"id": id} for id in range(1, 10)]}, tmp_path)


def test_an_id_at_the_end_of_all_ids_leaves_room_for_others(tmp_path: Path) -> None:
    one = GOOD["annotations"][0]
    after = opened(GOOD | {"annotations": [one | {"id": 1_000_000}, one | {"id": 1_000_000}]}, tmp_path)
    assert after.ids.tolist() == [1, 2]


def test_a_polygon_with_places_far_away_takes_no_memory(tmp_path: Path) -> None:
    after = opened(with_mask([[-1e9, -1e9, 1e9, -1e9, 1e9, 1e9, -1e9, 1e9]]), tmp_path)

    assert after.boxes[0].tolist() == [0, 0, SIZE[1], SIZE[0]]
