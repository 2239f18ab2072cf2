from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import coco
from detections import Detections
from export import SCHEMA_VERSION, annotated_photo, areas, to_json, to_png, to_rle
from images import ImageError, read_image
from report import picture_labels
from result import Filters, Result, view
from tests.samples import CAT, fake_model, make_detections, random_detections, random_image
from visualize import Style, annotate

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # in pycocotools' decode
EVERYTHING = Filters(score_threshold=0)


def make_result(detections: Detections, path: Path = Path("photo.png")) -> Result:
    working_image = np.zeros((6, 8, 3), np.uint8)
    return Result(path, working_image, detections, fake_model(), {"read": 12.345, "model": 678.9})


def photographed(tmp_path: Path, detections: Detections, format: str = "PNG", **options: object) -> Result:
    """A result whose photo is there, as noise of the right size."""
    path = tmp_path / "photo"
    Image.fromarray(random_image(0, *detections.image_size)).save(path, format, **options)
    return make_result(detections, path)


def pycocotools_rle(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("size", [(60, 80), (1, 1), (1, 25), (25, 1), (2, 3)])
def test_run_lengths_are_those_that_pycocotools_makes_of_the_mask(
    size: tuple[int, int], threshold: float
) -> None:
    for seed in range(4):
        detections = random_detections(seed, 8, size, reach=0.5)
        for i in range(8):
            expected = pycocotools_rle(detections.mask(i, threshold=threshold))
            assert to_rle(detections, i, threshold) == expected


@pytest.mark.parametrize(
    ("box", "prob"),
    [
        ([0, 0, 80, 60], 1),
        ([-9, -9, 99, 99], 1),
        ([20, -9, 60, 99], 1),
        ([-9, 20, 99, 40], 1),
        ([0, 0, 5, 5], 1),
        ([75, 55, 80, 60], 1),
        ([70, 50, 99, 99], 1),
        ([20, 20, 40, 40], 0),
        ([200, 200, 240, 240], 1),
    ],
    ids=[
        "all",
        "more than all",
        "full height",
        "full width",
        "first corner",
        "last corner",
        "over the end",
        "empty",
        "outside",
    ],
)
def test_run_lengths_are_right_where_masks_meet_the_borders(box: list[float], prob: float) -> None:
    detections = make_detections([box], prob=prob)
    assert to_rle(detections, 0) == pycocotools_rle(detections.mask(0))


def test_run_lengths_decode_to_the_mask() -> None:
    detections = random_detections(5, 10, (60, 80), mask_side=24, reach=0.2)
    for i in range(10):
        rle = to_rle(detections, i, 0.4)
        assert isinstance(rle["counts"], str)
        assert rle["size"] == [60, 80]
        np.testing.assert_array_equal(coco_mask.decode(rle), detections.mask(i, threshold=0.4))


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_areas_are_those_that_pycocotools_counts(threshold: float) -> None:
    detections = random_detections(6, 10, (60, 80), reach=0.2)
    rles = [to_rle(detections, i, threshold) for i in range(10)]
    assert areas(detections, threshold) == coco_mask.area(rles).tolist()
    assert {type(area) for area in areas(detections)} == {int}


def test_nothing_found_has_no_areas() -> None:
    assert areas(make_detections([])) == []


def test_json_says_what_was_found_and_how() -> None:
    detections = make_detections(
        [[10.123, 20.456, 50.7, 50.3]], class_ids=[CAT], scores=[0.98765432], ids=[3]
    )
    answer = to_json(make_result(detections), Filters(0.25, ("cat", "dog"), 0.75, (7,)), ("a warning",))
    rle = to_rle(detections, 0, 0.75)
    assert answer == {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "name": "fake",
            "weights": "made by hand",
            "sha256": "0" * 64,
            "device": "cpu",
            "precision": "float32",
        },
        "image_size": {"width": 80, "height": 60},
        "settings": {
            "score_threshold": 0.25,
            "classes": ["cat", "dog"],
            "mask_threshold": 0.75,
            "hidden": [7],
        },
        "timings_ms": {"read": 12.3, "model": 678.9},
        "counts": {"cat": 1},
        "warnings": ["a warning"],
        "instances": [
            {
                "id": 3,
                "category_id": CAT,
                "category_name": "cat",
                "score": 0.987654,
                "bbox_xyxy": [10.12, 20.46, 50.7, 50.3],
                "bbox_xywh": [10.12, 20.46, 40.58, 29.84],
                "area": detections.area(0, 0.75),
                "segmentation": rle,
            }
        ],
    }


@pytest.mark.parametrize("filters", [EVERYTHING, Filters(0.5, ("person", "cat")), Filters(1)])
def test_the_answer_comes_through_json_unchanged(filters: Filters) -> None:
    answer = to_json(make_result(random_detections(7, 30, (60, 80))), filters)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_every_instance_that_passes_is_in_the_answer_once_with_its_own_mask() -> None:
    detections = random_detections(8, 40, (60, 80))
    filters = Filters(0.4, mask_threshold=0.6)
    shown = view(detections, filters)
    instances = to_json(make_result(detections), filters)["instances"]
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
    everything = {instance["id"]: instance for instance in to_json(result, EVERYTHING)["instances"]}
    filtered = to_json(result, Filters(0.5))["instances"]
    assert 0 < len(filtered) < 30
    for instance in filtered:
        assert instance == everything[instance["id"]]


def test_counts_are_those_of_the_instances() -> None:
    answer = to_json(make_result(random_detections(10, 60, (60, 80))), Filters(0.3))
    assert answer["counts"] == Counter(instance["category_name"] for instance in answer["instances"])


def test_nothing_found_is_a_complete_answer() -> None:
    answer = to_json(make_result(make_detections([])), Filters())
    assert answer["instances"] == []
    assert answer["counts"] == {}
    assert answer["warnings"] == []
    assert answer["settings"]["classes"] is None


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (60, 80)])
def test_a_png_holds_every_pixel(shape: tuple[int, int]) -> None:
    image = random_image(11, *shape)
    with Image.open(io.BytesIO(to_png(image, ""))) as png:
        assert (png.format, png.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(png), image)


def test_a_png_of_a_part_of_a_picture_holds_that_part() -> None:
    part = random_image(12, 30, 40)[5:20:2, ::-1]
    with Image.open(io.BytesIO(to_png(part, ""))) as png:
        np.testing.assert_array_equal(np.asarray(png), part)


def test_a_png_says_what_it_is_told_to_say_in_any_script() -> None:
    with Image.open(io.BytesIO(to_png(random_image(12, 3, 3), "Ein Bär, 熊"))) as png:
        assert png.text == {"Description": "Ein Bär, 熊"}


def test_the_annotated_photo_has_its_original_size_and_shows_what_passes(tmp_path: Path) -> None:
    detections = random_detections(13, 10, (90, 120))
    result, filters, style = photographed(tmp_path, detections), Filters(0.5), Style(opacity=0.8)
    with Image.open(io.BytesIO(annotated_photo(result, filters, style))) as png:
        picture = np.asarray(png)
    shown = view(detections, filters)
    assert 0 < len(shown) < 10
    expected = annotate(read_image(result.path), shown, picture_labels(shown), style)
    np.testing.assert_array_equal(picture, expected)
    assert picture.shape == (90, 120, 3)


def test_a_photo_in_which_nothing_passes_comes_back_as_it_is(tmp_path: Path) -> None:
    result = photographed(tmp_path, random_detections(14, 3, (60, 80)))
    with Image.open(io.BytesIO(annotated_photo(result, Filters(1), Style()))) as png:
        np.testing.assert_array_equal(np.asarray(png), read_image(result.path))


def test_the_annotated_photo_names_the_model_and_carries_none_of_the_photos_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera maker"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)  # where it was taken
    result = photographed(tmp_path, make_detections([], (60, 80)), "JPEG", exif=exif, comment=b"private")
    with Image.open(result.path) as photo:
        assert photo.getexif().get_ifd(0x8825)
    content = annotated_photo(result, Filters(), Style())
    with Image.open(io.BytesIO(content)) as png:
        png.load()
        assert not png.getexif()
        assert png.info == {"Description": "Segmented by the model fake (made by hand)."}
    assert b"Camera maker" not in content
    assert b"private" not in content


def test_a_photo_that_is_gone_cannot_be_annotated(tmp_path: Path) -> None:
    result = make_result(make_detections([]), tmp_path / "gone.png")
    with pytest.raises(ImageError, match="could not be opened"):
        annotated_photo(result, Filters(), Style())


def test_no_class_at_all_comes_through_json_unchanged() -> None:
    assert to_json(make_result(make_detections([])), Filters(0, ()))["settings"]["classes"] == []
