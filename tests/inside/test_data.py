"""Tests of the JSON and of the arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from inference import SegmentationModel, look_inside
from inside.data import arrays, save, saved_bytes, to_json
from network.inside import Inside
from photo.images import read_image
from tests.samples import fake_model
from tests.truth import SCENE


@pytest.fixture(scope="module")
def steps(scenes_model: SegmentationModel) -> Inside:
    return look_inside(scenes_model, read_image(SCENE))


def test_the_json_tells_shapes_proposals_scores_and_suppression(steps: Inside) -> None:
    told = to_json(steps)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["levels"][0]["features"] == list(steps.levels[0].features.shape)  # type: ignore[union-attr]
    assert told["proposals"]["count"] == len(steps.proposals)
    assert list(told["proposals"]["best"][0]["scores"])[-1] == "background"
    assert [one["id"] for one in told["instances"]] == list(range(1, len(steps.scores) + 1))
    removed = sum(len(one["removed"]) for one in told["instances"])
    counts = told["suppression"]
    assert removed == counts["removed"] > 0
    assert counts["removed"] + counts["kept"] == counts["boxes"]


def test_the_file_holds_every_array(steps: Inside, tmp_path: Path) -> None:
    path = save(steps, tmp_path)
    assert path.stat().st_size <= saved_bytes(steps)
    with np.load(path) as file:
        assert set(file) == set(arrays(steps))
        assert sum(file[name].nbytes for name in file) == steps.nbytes
        np.testing.assert_array_equal(file["boxes"], steps.boxes)
        np.testing.assert_array_equal(file["levels.0.features"], steps.levels[0].features)


def test_another_network_gives_what_it_has(tmp_path: Path) -> None:
    steps = look_inside(fake_model([(0.1, 0.2, 0.5, 0.6)], [18], [0.9]), np.zeros((50, 80, 3), np.uint8))
    told = to_json(steps)
    assert told["suppression"] is None and len(told["missing"]) == 2
    assert told["instances"][0]["category_name"] == "dog"
    assert save(steps, tmp_path).stat().st_size <= saved_bytes(steps)
