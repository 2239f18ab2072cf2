"""Tests the starter network as it ships: its answers about the example photos, and its model card."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import to_tensor

import coco
from inference import SCORE_FLOOR, SegmentationModel, load, segment
from network import weights
from network.architectures import ARCHITECTURES, STARTER_LABELS
from photo.images import read_image

ROOT = Path(__file__).resolve().parents[2]
CARDS = {"starter": ROOT / "assets" / "starter.md", "scenes": ROOT / "assets" / "README.md"}


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    return load("starter", device="cpu")


@pytest.mark.parametrize(
    ("photo", "kind", "score"),
    [("astronaut", "person", 0.997), ("chelsea", "cat", 0.659), ("coffee", "cup", 0.977)],
)
def test_it_finds_what_the_example_photos_show(
    photo: str, kind: str, score: float, model: SegmentationModel
) -> None:
    image = read_image(ROOT / "examples" / f"{photo}.png")
    found = segment(model, image)
    assert coco.BY_ID[int(found.class_ids[0])].name == kind
    assert found.scores[0] == pytest.approx(score, abs=0.005), "other weights? Then the card changes too."
    x1, y1, x2, y2 = found.boxes[0]
    assert (x2 - x1) * (y2 - y1) > image.shape[0] * image.shape[1] / 8
    assert 0.4 < found.mask(0).sum() / ((x2 - x1) * (y2 - y1)) < 1


def test_it_answers_as_torchvisions_own_forward_does(model: SegmentationModel) -> None:
    oracle = ARCHITECTURES["starter"].build().eval()
    oracle.load_state_dict(weights.find_weights(ARCHITECTURES["starter"]).state_dict)
    image = read_image(ROOT / "examples" / "coffee.png")
    with torch.inference_mode():
        expected = {key: value.numpy() for key, value in oracle([to_tensor(image)])[0].items()}
    found = segment(model, image)
    kept = expected["scores"] > SCORE_FLOOR
    np.testing.assert_allclose(found.scores, expected["scores"][kept], atol=1e-4)
    np.testing.assert_allclose(found.boxes, expected["boxes"][kept], atol=0.02)
    np.testing.assert_array_equal(found.class_ids, np.array(STARTER_LABELS)[expected["labels"][kept]])
    differing = np.count_nonzero(found.mask(0) != (expected["masks"][0, 0] > 0.5))
    assert differing <= 0.001 * found.mask(0).size


@pytest.mark.parametrize("name", CARDS)
def test_the_card_is_about_the_file_that_ships(name: str) -> None:
    content = (weights.BUNDLED / f"{name}.safetensors").read_bytes()
    card = CARDS[name].read_text()
    assert hashlib.sha256(content).hexdigest() in card and f"{len(content):,} bytes" in card
