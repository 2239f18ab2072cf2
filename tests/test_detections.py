from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import expand_boxes, paste_masks_in_image

from detections import Detections
from tests.samples import make_detections, random_detections

CERTAIN = 1e-6
"""A pixel may differ from torchvision's if its probability is closer than this to the threshold.

OpenCV and torch round differently when they interpolate.
"""


def pasted(detections: Detections, size: tuple[int, int] | None = None) -> np.ndarray:
    """Returns the mask probabilities as torchvision pastes them, (N, H, W) float32."""
    scale = np.array([1, 1], np.float32) if size is None else np.divide(size, detections.image_size)[::-1]
    boxes = (detections.boxes * np.tile(scale, 2)).astype(np.float32)
    masks = torch.tensor(detections.mask_probs)[:, None]
    return paste_masks_in_image(masks, torch.tensor(boxes), size or detections.image_size)[:, 0].numpy()


def assert_same_masks(
    detections: Detections, size: tuple[int, int] | None = None, threshold: float = 0.5
) -> None:
    """Compares the masks with torchvision's.

    Pixels with a probability within `CERTAIN` of the threshold may differ. There may be only few such pixels.
    """
    for i, probs in enumerate(pasted(detections, size)):
        certain = np.abs(probs - threshold) > CERTAIN
        assert np.count_nonzero(~certain) <= 0.001 * probs.size
        np.testing.assert_array_equal(
            detections.mask(i, size, threshold)[certain], (probs > threshold)[certain]
        )


@pytest.mark.parametrize("mask_side", [28, 24])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
@pytest.mark.parametrize("reach", [0.0, 0.4], ids=["inside", "partly outside"])
def test_a_mask_equals_torchvisions_pasted_one(reach: float, threshold: float, mask_side: int) -> None:
    for seed in range(5):
        detections = random_detections(seed, 10, (97 + seed, 131), mask_side, reach)
        assert_same_masks(detections, threshold=threshold)


@pytest.mark.parametrize("mask_side", [28, 24])
def test_masks_of_boxes_below_a_pixel_equal_torchvisions(mask_side: int) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 39, (200, 2))
    boxes = np.hstack([corners, corners + rng.uniform(0, 1.2, (200, 2))])
    assert_same_masks(make_detections(boxes.tolist(), (40, 40), mask_side=mask_side))


@pytest.mark.parametrize("mask_side", [28, 24])
def test_masks_of_boxes_larger_than_the_image_equal_torchvisions(mask_side: int) -> None:
    rng = np.random.default_rng(0)
    inner = random_detections(0, 30, (50, 70), mask_side)
    around = rng.uniform(0, 90, (30, 4))
    boxes = [0, 0, 70, 50] + around * [-1, -1, 1, 1]
    assert_same_masks(dataclasses.replace(inner, boxes=boxes.astype(np.float32)))


@pytest.mark.parametrize("size", [(48, 65), (194, 262), (30, 300), (1, 1)])
def test_a_mask_at_another_size_equals_torchvisions_of_the_scaled_box(size: tuple[int, int]) -> None:
    detections = random_detections(7, 20, (97, 131), reach=0.1)
    for i, probs in enumerate(pasted(detections, size)):
        certain = np.abs(probs - 0.5) > CERTAIN
        np.testing.assert_array_equal(detections.mask(i, size)[certain], (probs > 0.5)[certain])


def test_a_mask_fills_its_box_where_all_probabilities_are_high() -> None:
    mask = make_detections([[10, 20, 50, 40]]).mask(0)
    assert mask.dtype == np.bool_
    assert mask.shape == (60, 80)
    assert mask[21:39, 11:49].all()
    mask[19:41, 9:51] = False
    assert not mask.any()


def test_a_pixel_belongs_to_a_mask_only_above_the_threshold() -> None:
    detections = make_detections([[10, 20, 50, 40]], prob=0.5)
    assert detections.area(0, threshold=0.5) == 0
    assert detections.area(0, threshold=0.499) > 700


def test_a_higher_threshold_only_takes_pixels_away() -> None:
    detections = random_detections(1, 5, (60, 80))
    for i in range(5):
        low, high = detections.mask(i, threshold=0.2), detections.mask(i, threshold=0.7)
        assert low[high].all()
        assert low.sum() > high.sum()


def test_a_mask_is_its_crop_and_nothing_around_it() -> None:
    detections = random_detections(2, 20, (60, 80), reach=0.3)
    for i in range(20):
        (y, x), crop = detections.mask_crop(i)
        mask = detections.mask(i)
        assert crop.dtype == np.bool_
        assert 0 <= y <= y + crop.shape[0] <= 60
        assert 0 <= x <= x + crop.shape[1] <= 80
        np.testing.assert_array_equal(mask[y : y + crop.shape[0], x : x + crop.shape[1]], crop)
        assert mask.sum() == crop.sum()


@pytest.mark.parametrize(
    "box",
    [
        [-15.3, 20.2, 24.7, 41.9],
        [61.4, 20.2, 95.8, 41.9],
        [30.1, -12.6, 55.2, 17.3],
        [30.1, 44.4, 55.2, 71.5],
        [-9.2, -7.9, 20.6, 18.1],
        [66.7, 47.3, 93.4, 69.8],
        [-30.5, -22.2, 111.1, 83.3],
        [20.3, 10.7, 52.1, 39.4],
        [-30.0, 10.0, -0.5, 30.0],
        [80.2, 10.0, 99.7, 30.0],
        [10.0, -30.0, 30.0, -0.5],
        [10.0, 60.2, 30.0, 79.7],
    ],
    ids=[
        "left", "right", "above", "below", "upper left", "lower right", "all round", "inside",
        "one column at the left", "one column at the right", "one row above", "one row below",
    ],
)  # fmt: skip
def test_the_crop_of_a_box_that_hangs_over_a_side_is_the_part_inside_the_image(box: list[float]) -> None:
    height, width = 60, 80
    detections = random_detections(11, 1, (height, width))
    detections = dataclasses.replace(detections, boxes=np.array([box], np.float32))
    grown = expand_boxes(torch.tensor([box]), 30 / 28)[0].to(torch.int64).tolist()
    left, top, right, bottom = max(grown[0], 0), max(grown[1], 0), grown[2] + 1, grown[3] + 1
    right, bottom = min(right, width), min(bottom, height)
    corner, crop = detections.mask_crop(0)
    assert bottom > top and right > left
    assert corner == (top, left)
    assert crop.shape == (bottom - top, right - left)
    probs = pasted(detections)[0, top:bottom, left:right]
    certain = np.abs(probs - 0.5) > CERTAIN
    np.testing.assert_array_equal(crop[certain], (probs > 0.5)[certain])
    assert_same_masks(detections)


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_the_area_counts_the_masks_pixels(threshold: float) -> None:
    detections = random_detections(3, 20, (60, 80), reach=0.3)
    for i in range(20):
        assert detections.area(i, threshold) == detections.mask(i, threshold=threshold).sum()


def test_a_box_smaller_than_a_pixel_still_has_one() -> None:
    mask = make_detections([[12.4, 7.4, 12.6, 7.6]]).mask(0)
    assert np.argwhere(mask).tolist() == [[7, 12]]


def test_a_box_around_the_whole_image_fills_it() -> None:
    assert make_detections([[-20, -20, 100, 80]]).mask(0).all()


@pytest.mark.parametrize(
    "box", [[200, 10, 240, 30], [-90, 10, -50, 30], [10, 200, 30, 240], [10, -90, 30, -50]]
)
def test_a_box_outside_of_the_image_has_an_empty_mask(box: list[float]) -> None:
    detections = make_detections([box])
    assert detections.mask_crop(0)[1].size == 0
    assert detections.mask(0).shape == (60, 80)
    assert detections.area(0) == 0


def test_masks_change_with_the_size_as_resized_detections_do() -> None:
    detections = random_detections(4, 10, (60, 80))
    doubled = detections.resized(120, 160)
    for i in range(10):
        np.testing.assert_array_equal(doubled.mask(i), detections.mask(i, (120, 160)))


def test_resizing_scales_each_axis_by_its_own_ratio() -> None:
    resized = make_detections([[10, 20, 50, 40]], (60, 80), ids=[5]).resized(120, 20)
    np.testing.assert_array_equal(resized.boxes, np.array([[2.5, 40, 12.5, 80]], np.float32))
    assert resized.boxes.dtype == np.float32
    assert resized.image_size == (120, 20)
    assert resized.ids.tolist() == [5]


def test_resizing_there_and_back_gives_the_same_boxes() -> None:
    detections = random_detections(5, 50, (683, 1024))
    back = detections.resized(4000, 6000).resized(683, 1024)
    np.testing.assert_allclose(back.boxes, detections.boxes, rtol=1e-6, atol=1e-4)
    assert back.image_size == detections.image_size


@pytest.mark.parametrize("keep", [np.array([True, False, True, False]), np.array([0, 2])])
def test_select_keeps_rows_with_all_that_belongs_to_them(keep: np.ndarray) -> None:
    detections = random_detections(6, 4, (60, 80))
    kept = detections.select(keep)
    assert len(kept) == 2
    assert kept.ids.tolist() == [1, 3]
    assert kept.image_size == (60, 80)
    for field in ("boxes", "scores", "class_ids", "mask_probs"):
        np.testing.assert_array_equal(getattr(kept, field), getattr(detections, field)[[0, 2]])
    np.testing.assert_array_equal(kept.mask(1), detections.mask(2))


def test_ids_survive_one_selection_after_another() -> None:
    detections = random_detections(6, 4, (60, 80))
    assert detections.select(np.array([1, 2, 3])).select(np.array([False, True, True])).ids.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("keep", "message"),
    [(np.array([2, 0]), "highest first"), (np.array([1, 1]), "different id")],
    ids=["falling rows", "a row twice"],
)
def test_a_selection_that_is_no_filter_is_refused(keep: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_detections(6, 4, (60, 80)).select(keep)


def test_nothing_selected_is_an_ordinary_value() -> None:
    nothing = random_detections(6, 4, (60, 80)).select(np.zeros(4, np.bool_))
    assert len(nothing) == 0
    assert nothing.boxes.shape == (0, 4)
    assert nothing.mask_probs.shape == (0, 28, 28)
    assert len(nothing.resized(30, 40).select(np.zeros(0, np.bool_))) == 0


def test_no_method_changes_the_arrays() -> None:
    detections = random_detections(8, 3, (60, 80), reach=0.2)
    for field in ("boxes", "scores", "class_ids", "mask_probs", "ids"):
        getattr(detections, field).flags.writeable = False
    detections.resized(30, 40).mask(0)
    detections.mask(1, (90, 90))
    assert len(detections.select(np.array([0]))) == 1


def test_fields_cannot_be_replaced() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_detections([[1, 2, 3, 4]]).image_size = (1, 1)  # type: ignore[misc]


def test_a_hundred_instances_of_a_large_photo_stay_small() -> None:
    detections = random_detections(9, 100, (4000, 6000))
    fields = (detections.boxes, detections.scores, detections.class_ids, detections.mask_probs)
    assert sum(field.nbytes for field in fields) < 400_000


@pytest.mark.parametrize(
    ("change", "expected", "got"),
    [
        ({"boxes": np.zeros((2, 5), np.float32)}, "boxes: expected (2, 4) float32", "(2, 5) float32"),
        ({"boxes": np.zeros((3, 4), np.float32)}, "boxes: expected (2, 4) float32", "(3, 4) float32"),
        ({"boxes": np.zeros((2, 4))}, "boxes: expected (2, 4) float32", "(2, 4) float64"),
        ({"scores": np.zeros((2, 1), np.float32)}, "scores: expected (2) float32", "(2, 1) float32"),
        ({"scores": np.zeros(2)}, "scores: expected (2) float32", "(2,) float64"),
        ({"class_ids": np.ones(2, np.int32)}, "class_ids: expected (2) int64", "(2,) int32"),
        ({"ids": np.ones(3, np.int64)}, "ids: expected (2) int64", "(3,) int64"),
        (
            {"mask_probs": np.zeros((2, 28, 24), np.float32)},
            "mask_probs: expected (2, 24, 24) float32",
            "(2, 28, 24) float32",
        ),
        (
            {"mask_probs": np.zeros((2, 1, 28, 28), np.float32)},
            "mask_probs: expected (2, M, M) float32",
            "(2, 1, 28, 28) float32",
        ),
        ({"boxes": np.full((2, 4), np.nan, np.float32)}, "boxes: expected finite numbers", "NaN or infinity"),
        (
            {"mask_probs": np.full((2, 28, 28), np.inf, np.float32)},
            "mask_probs: expected finite numbers",
            "NaN or infinity",
        ),
        ({"scores": np.array([0.2, 0.3], np.float32)}, "scores: expected the highest first", "rises"),
        ({"ids": np.array([4, 4])}, "ids: expected a different id", "repeated"),
        ({"image_size": (0, 80)}, "image_size: expected (height, width)", "(0, 80)"),
        ({"image_size": (60, 80, 3)}, "image_size: expected (height, width)", "(60, 80, 3)"),
    ],
)
def test_a_wrong_field_is_refused_with_what_was_expected_and_what_came(
    change: dict[str, object], expected: str, got: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}.*got.*{re.escape(got)}"):
        dataclasses.replace(make_detections([[1, 2, 3, 4], [5, 6, 7, 8]]), **change)


@pytest.mark.parametrize("value", [-0.1, 1.1])
@pytest.mark.parametrize("field", ["scores", "prob"])
def test_a_value_that_is_no_probability_is_refused(field, value) -> None:
    with pytest.raises(ValueError, match="expected 0 to 1"):
        make_detections([[1, 2, 3, 4]], **{field: value if field == "prob" else [value]})
