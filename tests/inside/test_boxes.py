"""Tests of `inside.boxes`: torchvision's functions are the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from inside.boxes import clipped, decode, iou, suppress


def random_boxes(count: int, seed: int = 0) -> np.ndarray:
    corners = np.random.default_rng(seed).uniform(0, 100, (count, 2, 2))
    return np.hstack([corners.min(1), corners.max(1) + 1]).astype(np.float32)


def test_the_overlap_is_torchvisions() -> None:
    boxes = random_boxes(50)
    expected = box_iou(torch.tensor(boxes), torch.tensor(boxes[:1]))[:, 0]
    np.testing.assert_allclose(iou(boxes, boxes[0]), expected, atol=1e-6)


def test_boxes_without_area_do_not_overlap() -> None:
    empty = np.zeros((2, 4), np.float32)
    assert iou(empty, empty[0]).tolist() == [0, 0]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("most", [3, 1000])
def test_the_same_boxes_are_kept_as_by_torchvision(threshold: float, most: int) -> None:
    boxes, groups = random_boxes(300), np.random.default_rng(1).integers(0, 3, 300)
    scores = torch.linspace(1, 0, 300)
    expected = batched_nms(torch.tensor(boxes), scores, torch.tensor(groups), threshold)[:most]
    assert suppress(boxes, groups, threshold, most).tolist() == expected.tolist()


def test_of_no_boxes_none_is_kept() -> None:
    assert suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 0.5, 10).tolist() == []


def test_boxes_move_as_torchvision_moves_them() -> None:
    boxes, weights = random_boxes(40), (10.0, 10.0, 5.0, 5.0)
    deltas = np.random.default_rng(2).normal(0, 9, (40, 4)).astype(np.float32)
    coder = BoxCoder(weights)
    expected = coder.decode(torch.tensor(deltas), [torch.tensor(boxes)])[:, 0]
    moved = decode(deltas, boxes, weights, coder.bbox_xform_clip)
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(
        clipped(moved, (60, 80)), clip_boxes_to_image(expected, (60, 80)), rtol=1e-5, atol=1e-3
    )
