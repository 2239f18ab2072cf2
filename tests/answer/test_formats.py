"""Tests of `answer.formats`.

Each format is read back by the tool that it is made for, or by a function here that follows the format's
definition.

The file is long because each format has an oracle of its own.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import coco
from answer.formats import (
    COCO_PALETTE,
    POINT_IN_PIXEL,
    YOLO_DIGITS,
    areas,
    category_map,
    instance_map,
    palette,
    to_coco,
    to_csv,
    to_labelme,
    to_rle,
    to_yolo,
    yolo_names,
)
from answer.report import TABLE_HEADERS, table
from categories import Categories
from detections import Detections
from tests.samples import CAR, CAT, DOG, make_detections, random_detections

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # in pycocotools' decode

SIZES = [(60, 80), (1, 1), (1, 25), (25, 1), (211, 97)]
UNEVEN_SIZES = [(60, 80), (1, 1), (5, 7), (211, 97), (1023, 1537), (667, 20_000), (20_000, 667)]
"""Sizes whose fractions do not end after six digits, up to the longest side of a photo."""
READINGS: dict[str, Callable[[Any], Any]] = {"rounded down": np.trunc, "rounded": np.round}
"""How readers make pixels of coordinates: Ultralytics rounds down, supervision to the nearest number."""
CLASS_IDS = [category.id for category in coco.CATEGORIES]


def pycocotools_rle(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def samples(size: tuple[int, int], count: int = 8) -> list[Detections]:
    """Makes detections with noisy and with smooth masks.

    Some boxes reach out of the image, and some ids are left out.
    """
    made = []
    for seed in range(3):
        noisy = random_detections(seed, count, size, reach=0.3)
        smooth = random_detections(seed, count, size, mask_side=4, reach=0.1)
        made += [noisy.select(np.arange(1, count)), smooth]
    return made


def whole_mask(detections: Detections, i: int, threshold: float) -> NDArray[np.bool_]:
    return detections.mask(i, threshold=threshold)


def rings(size: tuple[int, int]) -> Detections:
    """Makes rings of one part. They fill the image, meet its right and lower border, or reach out of it."""
    height, width = size
    boxes = [[0, 0, width, height], [width / 3, height / 4, width, height]]
    boxes += [[width / 2, height / 2, 1.2 * width, 1.3 * height]]
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    ring = (abs(np.hypot(x, y) - 0.7) < 0.4).astype(np.float32)
    return replace(make_detections(boxes, size), mask_probs=np.array([ring] * len(boxes)))


def filled(parts: list[NDArray[np.int32]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Returns the pixels that OpenCV fills, one polygon at a time."""
    mask = np.zeros(size, np.uint8)
    for part in parts:
        cv2.fillPoly(mask, [part], 1)
    return mask > 0


def through_pycocotools(annotations: dict[str, Any], folder: Path) -> COCO:
    path = folder / "annotations.json"
    path.write_text(json.dumps(annotations))
    return COCO(path)


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


@pytest.mark.parametrize("size", SIZES)
def test_pycocotools_reads_back_every_instance(size: tuple[int, int], tmp_path: Path) -> None:
    for detections in samples(size):
        read = through_pycocotools(to_coco(detections, coco.CATEGORIES, "street.png", 0.4), tmp_path)
        assert read.getImgIds() == [1]
        (image,) = read.loadImgs(1)
        assert image == {"id": 1, "file_name": "street.png", "height": size[0], "width": size[1]}
        seen = [i for i in range(len(detections)) if detections.area(i, 0.4)]
        assert read.getAnnIds(imgIds=1) == detections.ids[seen].tolist()
        for i, annotation in zip(seen, read.loadAnns(read.getAnnIds(imgIds=1)), strict=True):
            mask = whole_mask(detections, i, 0.4)
            np.testing.assert_array_equal(read.annToMask(annotation), mask)
            assert annotation["area"] == np.count_nonzero(mask)
            assert annotation["category_id"] == detections.class_ids[i]
            assert annotation["iscrowd"] == 0
            assert annotation["score"] == pytest.approx(detections.scores[i], abs=1e-6)
            x1, y1, x2, y2 = detections.boxes[i]
            np.testing.assert_allclose(annotation["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=0.011)


def test_pycocotools_finds_the_80_categories_and_what_belongs_to_them(tmp_path: Path) -> None:
    detections = make_detections([[0, 0, 9, 9]] * 3, class_ids=[CAT, CAR, CAT])
    read = through_pycocotools(to_coco(detections, coco.CATEGORIES, "street.png"), tmp_path)
    assert read.getCatIds() == CLASS_IDS
    assert read.getCatIds(supNms="animal", catNms="cat") == [CAT]
    assert len(read.getAnnIds(catIds=CAT)) == 2
    assert [category["name"] for category in read.loadCats([CAT, CAR])] == ["cat", "car"]


def test_pycocotools_can_score_annotations_against_themselves(tmp_path: Path) -> None:
    from pycocotools.cocoeval import COCOeval

    detections = random_detections(1, 6, (60, 80), mask_side=4)
    truth = through_pycocotools(to_coco(detections, coco.CATEGORIES, "street.png"), tmp_path)
    found = truth.loadRes([*truth.loadAnns(truth.getAnnIds())])
    evaluation = COCOeval(truth, found, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_coco_has_no_annotation_without_a_pixel() -> None:
    detections = make_detections([[0, 0, 9, 9], [200, 200, 240, 240], [20, 20, 40, 40]])
    assert [found["id"] for found in to_coco(detections, coco.CATEGORIES, "street.png")["annotations"]] == [
        1,
        3,
    ]
    assert (
        to_coco(detections, coco.CATEGORIES, "street.png", 1.0)["annotations"] == []
    )  # no probability is above 1


def test_nothing_found_is_a_complete_coco_file(tmp_path: Path) -> None:
    read = through_pycocotools(to_coco(make_detections([]), coco.CATEGORIES, "street.png"), tmp_path)
    assert read.getAnnIds() == []
    assert len(read.getCatIds()) == 80


def yolo_rows(
    text: str,
    size: tuple[int, int],
    reading: Callable[[Any], Any] = np.trunc,
    dtype: type[np.floating[Any]] = np.float32,
) -> list[tuple[int, NDArray[np.int32]]]:
    """Returns (class index, (P, 2) pixels) of each line.

    The fractions are read as `dtype`, multiplied by the size, and made whole by `reading`.
    """
    height, width = size
    rows = []
    for line in text.splitlines():
        index, *shares = line.split(" ")
        assert len(shares) % 2 == 0
        points = np.array(shares, dtype).reshape(-1, 2)
        assert len(points) >= 3  # YOLO would take fewer points for a box
        assert points.min() >= 0 and points.max() <= 1
        rows.append((int(index), reading(points * np.array([width, height], dtype)).astype(np.int32)))
    return rows


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
@pytest.mark.parametrize("size", SIZES)
def test_yolo_labels_are_the_masks_and_lines_between_their_parts(
    size: tuple[int, int], reading: Callable[[Any], Any]
) -> None:
    for detections in samples(size):
        rows = yolo_rows(to_yolo(detections, coco.CATEGORIES, 0.4), size, reading)
        seen = [i for i in range(len(detections)) if detections.area(i, 0.4)]
        assert len(rows) == len(seen)
        for (index, points), i in zip(rows, seen, strict=True):
            assert coco.CATEGORIES.members[index].id == detections.class_ids[i]
            fill, mask = filled([points], size), whole_mask(detections, i, 0.4)
            assert fill[mask].all()
            # Other filled pixels lie at the lines that join parts. OpenCV before 5.0 fills wider lines.
            lines = np.zeros(size, np.uint8)
            for start, end in pairwise(points.tolist()):
                cv2.line(lines, start, end, 1)
            near = cv2.dilate(lines, np.ones((3, 3), np.uint8)) > 0
            assert not (fill & ~mask & ~near).any()
            if cv2.connectedComponents(mask.astype(np.uint8))[0] == 2:
                np.testing.assert_array_equal(fill, mask)


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
@pytest.mark.parametrize("size", UNEVEN_SIZES)
def test_every_reader_of_yolo_labels_gets_a_mask_of_one_part_back(
    size: tuple[int, int], reading: Callable[[Any], Any]
) -> None:
    detections = rings(size)
    text = to_yolo(detections, coco.CATEGORIES)
    for dtype in (np.float32, np.float64):
        rows = yolo_rows(text, size, reading, dtype)
        assert len(rows) == len(detections)
        for i, (_, points) in enumerate(rows):
            np.testing.assert_array_equal(filled([points], size), whole_mask(detections, i, 0.5))
        # The first two masks have points in the last column and in the last row.
        assert all(points.max(axis=0).tolist() == [size[1] - 1, size[0] - 1] for _, points in rows[:2])


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_a_yolo_label_holds_every_pixel_of_the_largest_photo(reading: Callable[[Any], Any]) -> None:
    for height, width in [(3, 20_000), (20_000, 3)]:
        detections = make_detections([[0, 0, width, height]], (height, width))
        ((_, points),) = yolo_rows(to_yolo(detections, coco.CATEGORIES, 0), (height, width), reading)
        np.testing.assert_array_equal(filled([points], (height, width)), detections.mask(0, threshold=0))
        text = to_yolo(random_detections(1, 3, (height, width), mask_side=2), coco.CATEGORIES, 0.5)
        for _, points in yolo_rows(text, (height, width), reading):
            assert (points >= 0).all() and (points < (width, height)).all()


@pytest.mark.parametrize("side", [1, 7, 1024, 19_999, 20_000])
def test_yolo_shares_are_far_from_where_rounding_changes_the_pixel(side: int) -> None:
    pixels = np.arange(side)
    shares = np.array([f"{share:.{YOLO_DIGITS}f}" for share in (pixels + POINT_IN_PIXEL) / side])
    for dtype in (np.float32, np.float64):
        inside = shares.astype(dtype) * dtype(side) - pixels
        assert inside.min() > 0.2 and inside.max() < 0.3  # rounding changes it at 0 and at 0.5


def test_yolo_has_no_line_for_what_it_cannot_hold() -> None:
    boxes = [[0, 0, 9, 9], [200, 200, 240, 240], [20, 20, 40, 40]]
    # The second box is outside the image. The third has a category id from a gap.
    detections = make_detections(boxes, class_ids=[DOG, DOG, 12])
    assert [index for index, _ in yolo_rows(to_yolo(detections, coco.CATEGORIES), (60, 80))] == [16]
    assert to_yolo(make_detections([]), coco.CATEGORIES) == ""


def test_the_names_for_yolo_are_cocos_in_order() -> None:
    names = yaml.safe_load(yolo_names(coco.CATEGORIES))["names"]
    assert names == {index: category.name for index, category in enumerate(coco.CATEGORIES)}


def labelme_mask(shape: dict[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fills a shape as labelme's `shape_to_mask` does."""
    picture = Image.new("L", size[::-1])
    points = [tuple(point) for point in shape["points"]]
    assert len(points) > 2
    ImageDraw.Draw(picture).polygon(points, outline=1, fill=1)
    return np.asarray(picture) > 0


def labelme_by_opencv(shape: dict[str, Any], size: tuple[int, int], reading: Any) -> NDArray[np.bool_]:
    return filled([reading(np.array(shape["points"])).astype(np.int32)], size)


def labelme_through_yolo(shape: dict[str, Any], size: tuple[int, int], reading: Any) -> NDArray[np.bool_]:
    """Converts a shape to YOLO's fractions first, as labelme2yolo does."""
    size_xy = np.array(size[::-1])
    shares = np.round(np.array(shape["points"]) / size_xy, YOLO_DIGITS).astype(np.float32)
    return filled([reading(shares * size_xy.astype(np.float32)).astype(np.int32)], size)


LABELME_READERS: dict[str, Callable[[dict[str, Any], tuple[int, int]], NDArray[np.bool_]]] = {
    "labelme": labelme_mask,
    "OpenCV, rounded down": lambda shape, size: labelme_by_opencv(shape, size, np.trunc),
    "OpenCV, rounded": lambda shape, size: labelme_by_opencv(shape, size, np.round),
    "YOLO, rounded down": lambda shape, size: labelme_through_yolo(shape, size, np.trunc),
    "YOLO, rounded": lambda shape, size: labelme_through_yolo(shape, size, np.round),
}


@pytest.mark.parametrize("reader", LABELME_READERS)
@pytest.mark.parametrize("size", UNEVEN_SIZES)
def test_every_reader_of_labelme_shapes_gets_the_mask_back(size: tuple[int, int], reader: str) -> None:
    detections = rings(size)
    shapes = to_labelme(detections, coco.CATEGORIES, "street.png")["shapes"]
    assert [shape["group_id"] for shape in shapes] == detections.ids.tolist()
    for i, shape in enumerate(shapes):
        mask = LABELME_READERS[reader](shape, size)
        np.testing.assert_array_equal(mask, whole_mask(detections, i, 0.5))


@pytest.mark.parametrize("reader", LABELME_READERS)
@pytest.mark.parametrize("size", SIZES)
def test_labelme_shapes_of_a_group_are_the_mask(size: tuple[int, int], reader: str) -> None:
    for detections in samples(size):
        labels = to_labelme(detections, coco.CATEGORIES, "street.png", 0.4)
        assert json.loads(json.dumps(labels)) == labels
        assert (labels["imageHeight"], labels["imageWidth"]) == size
        masks = {int(id): np.zeros(size, np.bool_) for id in detections.ids}
        for shape in labels["shapes"]:
            masks[shape["group_id"]] |= LABELME_READERS[reader](shape, size)
        for i, id in enumerate(detections.ids.tolist()):
            np.testing.assert_array_equal(masks[id], whole_mask(detections, i, 0.4))


def test_labelme_shapes_have_what_labelme_asks_for() -> None:
    labels = to_labelme(
        make_detections([[2, 3, 4, 5]], class_ids=[CAT], ids=[7]), coco.CATEGORIES, "street.png"
    )
    assert labels["imagePath"] == "street.png"
    assert labels["imageData"] is None
    assert labels["flags"] == {}
    (shape,) = labels["shapes"]
    assert shape.pop("points")
    assert shape == {
        "label": "cat",
        "group_id": 7,
        "description": "score 0.900",
        "shape_type": "polygon",
        "flags": {},
    }


def test_nothing_found_is_a_complete_labelme_file() -> None:
    assert to_labelme(make_detections([]), coco.CATEGORIES, "street.png")["shapes"] == []


@pytest.mark.parametrize("size", SIZES)
def test_maps_hold_the_highest_score_at_each_pixel(size: tuple[int, int]) -> None:
    for detections in samples(size):
        masks = np.array([whole_mask(detections, i, 0.4) for i in range(len(detections))])
        on_top, any_mask = masks.argmax(axis=0), masks.any(axis=0)
        ids, categories = instance_map(detections, 0.4), category_map(detections, 0.4)
        assert (ids.dtype, categories.dtype) == (np.uint16, np.uint8)
        np.testing.assert_array_equal(ids, np.where(any_mask, detections.ids[on_top], 0))
        np.testing.assert_array_equal(categories, np.where(any_mask, detections.class_ids[on_top], 0))


def test_ids_above_255_come_through() -> None:
    detections = make_detections([[0, 0, 9, 9], [30, 30, 60, 50]], ids=[256, 40_000])
    assert np.unique(instance_map(detections)).tolist() == [0, 256, 40_000]


def test_nothing_found_is_a_map_of_zeros() -> None:
    for make in (instance_map, category_map):
        assert make(make_detections([])).shape == (60, 80)
        assert not make(make_detections([])).any()


def test_every_category_has_its_own_colour_and_none_has_that_of_the_background() -> None:
    assert list(COCO_PALETTE) == CLASS_IDS
    assert len({(0, 0, 0), *COCO_PALETTE.values()}) == 81


def test_a_colour_of_each_supercategory_is_that_of_the_panoptic_file() -> None:
    # Copied by hand from panoptic_coco_categories.json.
    published = {
        "person": (220, 20, 60), "boat": (0, 0, 192), "bench": (250, 0, 30), "giraffe": (72, 0, 118),
        "suitcase": (0, 220, 176), "tennis racket": (255, 208, 186), "bowl": (84, 105, 51),
        "cake": (147, 186, 208), "toilet": (0, 165, 120), "cell phone": (219, 142, 185),
        "refrigerator": (59, 105, 106), "toothbrush": (191, 162, 208),
    }  # fmt: skip
    assert {name: COCO_PALETTE[coco.BY_NAME[name].id] for name in published} == published
    assert {coco.BY_NAME[name].supercategory for name in published} == {
        category.supercategory for category in coco.CATEGORIES
    }


def test_the_table_comes_back_from_csv() -> None:
    for detections in samples((60, 80)):
        rows = table(detections, coco.CATEGORIES, areas(detections))
        text = to_csv(rows)
        read = list(csv.DictReader(io.StringIO(text, newline="")))
        assert [list(row.values()) for row in read] == [[str(value) for value in row] for row in rows]
        assert all(tuple(row) == TABLE_HEADERS for row in read)
        assert text.count("\r\n") == text.count("\n") == len(rows) + 1


def test_a_table_of_nothing_is_its_headers() -> None:
    assert to_csv([]) == ",".join(TABLE_HEADERS) + "\r\n"


def test_every_kind_of_another_model_has_a_colour_of_its_own() -> None:
    colors = palette(Categories.named(f"kind {i}" for i in range(1, 201)))
    assert colors[:4] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]  # as in PASCAL VOC
    assert len(set(colors)) == 256
    assert palette(coco.CATEGORIES)[1] == COCO_PALETTE[1]


def test_names_of_any_language_are_yaml() -> None:
    names = ["Blatt: grün", "- a", "yes", '\U0001f331 "x"', "null"]
    assert [*yaml.safe_load(yolo_names(Categories.named(names)))["names"].values()] == names
