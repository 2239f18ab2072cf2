"""Tests that the steps of a run lead to what `segment` finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inference import SegmentationModel, load, look_inside, segment
from inside.boxes import areas, clipped, decode, suppress
from network import inside as network_inside
from network.architectures import COCO_LABELS, scenes
from network.inside import NO_ANCHORS, NO_FINE_MAPS, NO_NAMES, Inside
from photo.images import read_image
from tests.conftest import ROOT
from tests.samples import fake_model
from tests.truth import SCENE
from tools.random_weights import random_network, random_picture

MEGABYTES = 60


def instances(steps: Inside) -> tuple[np.ndarray, ...]:
    """Returns boxes, scores, labels and masks, calculated again from the steps before them."""
    candidates, names, pairs = steps.candidates, steps.names, steps.pairs
    assert candidates is not None and names is not None and pairs is not None
    order = np.argsort(-candidates.scores, kind="stable")
    kept = order[
        suppress(candidates.boxes[order], candidates.levels[order], candidates.threshold, candidates.most)
    ]
    assert set(kept.tolist()) ^ set(candidates.kept.tolist()) == set()
    proposals = candidates.boxes[candidates.kept]
    np.testing.assert_array_equal(proposals, steps.proposals)

    rows, labels = np.nonzero(names.scores[:, 1:] > pairs.least_score)
    labels = labels + 1
    moved = decode(names.deltas[rows, labels], proposals[rows], names.weights, names.clip)
    boxes, scores = clipped(moved, steps.seen_hw), names.scores[rows, labels]
    fit = ((boxes[:, 2:] - boxes[:, :2]) >= 1e-2).all(1)
    boxes, scores, labels = boxes[fit], scores[fit], labels[fit]
    order = np.argsort(-scores, kind="stable")
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    kept = suppress(boxes, labels, pairs.threshold, pairs.most)
    return boxes[kept], scores[kept], labels[kept], steps.mask_probs


def assert_leads_to_what_segment_finds(model: SegmentationModel, image: np.ndarray) -> Inside:
    steps, found = look_inside(model, image), segment(model, image)
    boxes, scores, labels, masks = instances(steps)
    assert len(found) == len(scores) > 3
    np.testing.assert_allclose(scores, found.scores, atol=1e-4)
    assert np.asarray(model.label_ids)[labels].tolist() == found.class_ids.tolist()
    on_image = found.resized(*steps.picture_hw)
    np.testing.assert_allclose(steps.on_picture(boxes), on_image.boxes, atol=2e-2)
    np.testing.assert_allclose(masks, found.mask_probs, atol=1e-3)
    return steps


@pytest.mark.parametrize(("name", "photo"), [("starter", "dogs.jpg"), ("scenes", "scenes/scene-1.png")])
def test_the_steps_lead_to_what_segment_finds(name: str, photo: str) -> None:
    model = load(name, device="cpu")
    assert_leads_to_what_segment_finds(model, read_image(ROOT / "examples" / photo))


@pytest.mark.parametrize("name", ["resnet50_fpn", pytest.param("resnet50_fpn_v2", marks=pytest.mark.slow)])
def test_the_steps_of_the_large_networks_take_at_most_60_mb(
    name: str, v1_file: Path, request: pytest.FixtureRequest
) -> None:
    file = v1_file if name == "resnet50_fpn" else request.getfixturevalue("v2_file")
    model = load(name, weights=file, device="cpu")
    steps = assert_leads_to_what_segment_finds(model, random_picture(615, 1024))  # the most that it can see
    assert steps.padded_hw == (800, 1344)
    assert all(level.features is not None for level in steps.levels)
    assert steps.nbytes <= MEGABYTES * 1e6 and steps.missing == ()


def test_a_network_that_was_not_made_faster_has_the_same_steps() -> None:
    network = random_network(scenes)
    model = SegmentationModel(network, "plain", COCO_LABELS, torch.device("cpu"), "float32", "", "")
    assert_leads_to_what_segment_finds(model, random_picture(120, 160))


def test_every_box_is_removed_by_a_better_one_of_its_label(scenes_model: SegmentationModel) -> None:
    steps = look_inside(scenes_model, read_image(SCENE))
    pairs = steps.pairs
    assert pairs is not None
    removed = np.flatnonzero(pairs.removed_by >= 0)
    by = pairs.kept[pairs.removed_by[removed]]
    assert len(removed) > 10
    assert (pairs.labels[removed] == pairs.labels[by]).all() and (by < removed).all()
    assert (pairs.ious[removed] > pairs.threshold).all() and (pairs.ious <= 1).all()
    assert len(pairs.kept) + len(removed) == len(pairs.scores)
    np.testing.assert_array_equal(pairs.boxes[pairs.kept], steps.boxes)


def test_candidates_come_from_the_anchors_that_they_name(scenes_model: SegmentationModel) -> None:
    steps = look_inside(scenes_model, read_image(SCENE))
    candidates = steps.candidates
    assert candidates is not None
    for i in (0, len(candidates.scores) - 1):
        level = steps.levels[candidates.levels[i]]
        assert level.objectness is not None and level.anchors is not None and level.features is not None
        assert level.objectness.shape == level.anchors.shape[:3]
        assert level.objectness.shape[:2] == level.features.shape[1:]
        logit = level.objectness.flat[candidates.anchors[i]]
        assert candidates.scores[i] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
        anchor = level.anchors.reshape(-1, 4)[candidates.anchors[i]]
        assert areas(anchor[np.newaxis])[0] > 0


def other(network: nn.Module, stage: str) -> None:
    """Replaces a stage by another class that gives the same."""
    module = getattr(network, stage)
    module.__class__ = type("Other", (type(module),), {})


@pytest.mark.parametrize(("stage", "words"), [("rpn", NO_ANCHORS), ("roi_heads", NO_NAMES)])
def test_of_other_stages_only_the_results_are_kept(stage: str, words: str) -> None:
    network = random_network(scenes)
    other(network, stage)
    model = SegmentationModel(network, "other", COCO_LABELS, torch.device("cpu"), "float32", "", "")
    image = random_picture(120, 160)
    steps, found = look_inside(model, image), segment(model, image)
    assert steps.missing == (words,)
    assert (steps.candidates is None) == (stage == "rpn") and (steps.names is None) == (stage == "roi_heads")
    np.testing.assert_allclose(steps.scores, found.scores, atol=1e-5)
    assert len(steps.proposals)


def test_stages_of_any_kind_work() -> None:
    steps = look_inside(fake_model([(0.1, 0.2, 0.5, 0.6)], [18], [0.9]), np.zeros((50, 80, 3), np.uint8))
    assert steps.missing == (NO_ANCHORS, NO_NAMES)
    np.testing.assert_allclose(steps.on_picture(steps.boxes), [[8, 10, 40, 30]], atol=1e-4)
    assert steps.mask_probs.shape == (1, 28, 28)


def test_the_finest_maps_are_left_out_if_all_take_too_much_memory(
    scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_inside, "FEATURE_BYTES", 60_000)
    steps = look_inside(scenes_model, read_image(SCENE))
    assert [level.features is None for level in steps.levels] == [True, True, False, False]
    assert steps.missing == (NO_FINE_MAPS,)


@pytest.mark.parametrize("look", [look_inside, segment])
def test_a_wrong_image_is_refused(look: Callable[..., object], scenes_model: SegmentationModel) -> None:
    with pytest.raises(ValueError, match="expected"):
        look(scenes_model, np.zeros((4, 4), np.uint8))


def test_a_picture_without_objects_has_steps_too(scenes_model: SegmentationModel) -> None:
    steps = look_inside(scenes_model, np.zeros((64, 64, 3), np.uint8))
    assert steps.mask_probs.shape[0] == len(steps.scores)
