"""Tests that views drawn and labelled together are like those that are drawn and labelled one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from network.architectures import starter
from tests.samples import random_image
from tests.tiny_teacher import write_teacher
from training.starter import views
from training.starter.canvas import Canvas, _unsuppressed, label_at_once
from training.starter.teacher import Teacher

CPU = torch.device("cpu")
REGIONS = views.BEST_PROPOSALS + views.OTHER_PROPOSALS + views.MOVED_PROPOSALS


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    Image.new("RGB", (80, 60), (200, 100, 50)).save(tmp_path / "plain.png")
    Image.fromarray(random_image(0, 90, 40)).save(tmp_path / "noise.png")
    return [tmp_path / "plain.png", tmp_path / "noise.png"]


def test_views_have_the_size_the_range_and_no_empty_corner(photos: list[Path]) -> None:
    drawn = Canvas(photos[:1], CPU, 0).draw(10, 64)
    assert drawn.shape == (10, 3, 64, 64)
    levels = drawn * 255
    assert torch.allclose(levels, levels.round(), atol=1e-3) and drawn.min() > 0 and drawn.max() < 1
    red, green, blue = drawn.unbind(1)
    assert (red > green).all() and (green > blue).all()  # a turned photo is reflected, and never black


def test_a_seed_gives_the_same_views_and_another_seed_others(photos: list[Path]) -> None:
    first, again, other = (Canvas(photos, CPU, seed).draw(6, 64) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_box_is_suppressed_by_a_better_one() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]])
    assert _unsuppressed(boxes, 0.7).tolist() == [[True, False, True]]


def test_the_answers_are_those_of_label(photos: list[Path], tmp_path: Path) -> None:
    teacher = Teacher(write_teacher(tmp_path / "teacher.safetensors"), CPU)
    (anchors,) = starter().rpn.anchor_generator.cell_anchors
    canvas = Canvas(photos, CPU, 0)
    images = canvas.draw(4, 128)
    batch = label_at_once(teacher, images, anchors, canvas.generator)
    levels = (images * 255).round().to(torch.uint8)
    rows = views.together(views.label(teacher, levels, anchors, torch.Generator().manual_seed(0)), CPU)
    for name in ("images", "features", "objectness", "deltas"):
        torch.testing.assert_close(getattr(batch, name), getattr(rows, name), rtol=2e-3, atol=2e-3)
    assert [len(some) for some in batch.regions] == [REGIONS] * 4
    assert batch.classes.shape[0] == batch.boxes.shape[0] == 4 * REGIONS
    assert sum(map(len, batch.mask_boxes)) == len(batch.masks)
    for regions in batch.regions:
        assert (regions[:, 2:] - regions[:, :2]).min() >= 2 - 1e-3 and regions.min() >= 0
        assert np.all(regions.numpy() <= 128 + 1e-3)
