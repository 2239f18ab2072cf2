from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import coco
from answer.data import SCHEMA_VERSION, to_json
from answer.edits import Edit, read_edits, to_text
from answer.formats import BY_A_PERSON, areas, to_coco, to_labelme, to_rle, to_yolo
from answer.report import table
from answer.result import View, in_view
from answer.settings import Filters
from tests.samples import CAT, make_detections, make_result, random_detections

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # in pycocotools' decode
EVERYTHING = Filters(score_threshold=0)


def test_json_says_what_was_found_and_how() -> None:
    detections = make_detections(
        [[10.123, 20.456, 50.7, 50.3]], class_ids=[CAT], scores=[0.98765432], ids=[3]
    )
    answer = to_json(View(make_result(detections), Filters(0.25, ("cat", "dog"), 0.75, (7,))), ("a warning",))
    rle = to_rle(detections, 0, 0.75)
    assert answer == {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "name": "fake",
            "weights": "made by hand",
            "sha256": "0" * 64,
            "device": "cpu",
            "precision": "float32",
            "detail": "full",
        },
        "cached": False,
        "image_size": {"width": 80, "height": 60},
        "settings": {
            "score_threshold": 0.25,
            "classes": ["cat", "dog"],
            "mask_threshold": 0.75,
            "hidden": [7],
            "thresholds": {},
        },
        "edits": [],
        "timings_ms": {"read": 12.3, "model": 678.9},
        "counts": {"cat": 1},
        "warnings": ["a warning"],
        "instances": [
            {
                "id": 3,
                "category_id": CAT,
                "category_name": "cat",
                "score": 0.987654,
                "source": "model",
                "bbox_xyxy": [10.12, 20.46, 50.7, 50.3],
                "bbox_xywh": [10.12, 20.46, 40.58, 29.84],
                "area": detections.area(0, 0.75),
                "segmentation": rle,
            }
        ],
    }


@pytest.mark.parametrize("filters", [EVERYTHING, Filters(0.5, ("person", "cat")), Filters(1)])
def test_the_answer_comes_through_json_unchanged(filters: Filters) -> None:
    answer = to_json(View(make_result(random_detections(7, 30, (60, 80))), filters))
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_every_instance_that_passes_is_in_the_answer_once_with_its_own_mask() -> None:
    detections = random_detections(8, 40, (60, 80))
    filters = Filters(0.4, mask_threshold=0.6)
    shown = in_view(detections, coco.CATEGORIES, filters)
    instances = to_json(View(make_result(detections), filters))["instances"]
    assert 0 < len(instances) < 40
    assert [instance["id"] for instance in instances] == shown.ids.tolist()
    for i, instance in enumerate(instances):
        assert coco.BY_ID[instance["category_id"]].name == instance["category_name"]
        np.testing.assert_array_equal(
            coco_mask.decode(instance["segmentation"]), shown.mask(i, threshold=0.6)
        )
        assert instance["area"] == coco_mask.area(instance["segmentation"]) == shown.area(i, 0.6)
        np.testing.assert_allclose(instance["bbox_xyxy"], shown.boxes[i], atol=0.0051)
        x1, y1, x2, y2 = instance["bbox_xyxy"]
        np.testing.assert_allclose(instance["bbox_xywh"], [x1, y1, x2 - x1, y2 - y1], atol=1e-9)


def test_a_filter_changes_nothing_in_the_instances_that_stay() -> None:
    result = make_result(random_detections(9, 30, (60, 80)))
    everything = {instance["id"]: instance for instance in to_json(View(result, EVERYTHING))["instances"]}
    filtered = to_json(View(result, Filters(0.5)))["instances"]
    assert 0 < len(filtered) < 30
    for instance in filtered:
        assert instance == everything[instance["id"]]


def test_counts_are_those_of_the_instances() -> None:
    answer = to_json(View(make_result(random_detections(10, 60, (60, 80))), Filters(0.3)))
    assert answer["counts"] == Counter(instance["category_name"] for instance in answer["instances"])


def test_nothing_found_is_a_complete_answer() -> None:
    answer = to_json(View(make_result(make_detections([]))))
    assert answer["instances"] == []
    assert answer["counts"] == {}
    assert answer["warnings"] == []
    assert answer["settings"]["classes"] is None


def test_no_class_at_all_comes_through_json_unchanged() -> None:
    assert to_json(View(make_result(make_detections([])), Filters(0, ())))["settings"]["classes"] == []


def test_what_a_person_did_has_a_source_and_no_score() -> None:
    mask = to_text(np.full((28, 28), 0.9, np.float32))
    edits = (Edit("rename", 1, "teapot"), Edit("add", 5, "dog", (0.0, 0.0, 20.0, 20.0), mask))
    detections = make_detections(
        [[10, 10, 40, 40], [50, 10, 70, 30]], class_ids=[CAT, CAT], scores=[0.4, 0.3]
    )
    view = View(make_result(detections), Filters(0.5), edits=edits)

    answer = to_json(view)

    assert [
        (one["id"], one["category_name"], one["score"], one["source"]) for one in answer["instances"]
    ] == [
        (1, "teapot", None, "edited"),  # no threshold hides what a person said
        (5, "dog", None, "person"),
    ]
    assert answer["counts"] == {"teapot": 1, "dog": 1}
    assert View(make_result(detections), edits=read_edits(answer["edits"])).shown.ids.tolist() == [1, 5]
    in_coco = to_coco(view.shown, view.categories, "photo.png")
    assert [one["source"] for one in in_coco["annotations"]] == ["edited", "person"]
    assert not any("score" in one for one in in_coco["annotations"])
    assert in_coco["categories"][-1]["name"] == "teapot"
    in_labelme = to_labelme(view.shown, view.categories, "photo.png")
    assert [shape["description"] for shape in in_labelme["shapes"]] == list(BY_A_PERSON.values())
    assert to_yolo(view.shown, view.categories).startswith("80 ")
    rows = table(view.shown, view.categories, areas(view.shown))
    assert [row[2] for row in rows] == ["", ""]
