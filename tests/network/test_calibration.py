"""Ranges: how they are found, kept and read again, and what damaged ones lead to."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN

from network.architectures import ARCHITECTURES
from network.calibration import (
    CalibrationError,
    as_json,
    calibrate,
    digest_of,
    names_of,
    ranges_file,
    read_ranges,
    save_ranges,
)
from network.eight_bit import OUTPUT
from tools.random_weights import random_network, random_picture

RANGES = {"a": (0.0, 2.5), "b": (-1.25, 3.0)}


def small() -> MaskRCNN:
    network: MaskRCNN = random_network(ARCHITECTURES["scenes"].build).requires_grad_(False)
    return network


def test_the_ranges_are_those_of_what_each_layer_reads() -> None:
    network = small()
    network.transform.min_size, network.transform.max_size = (128,), 128
    seen: dict[str, list[torch.Tensor]] = {
        "backbone.body.stage1.0.0": [],
        "backbone.fpn.layer_blocks.0.0": [],
    }
    results: list[torch.Tensor] = []
    for name, inputs in seen.items():
        network.get_submodule(name).register_forward_hook(
            lambda _, read, found, to=inputs: to.append(read[0])
        )
    layer = network.get_submodule("backbone.fpn.layer_blocks.0.0")
    layer.register_forward_hook(lambda _, read, found: results.append(found))
    ranges = calibrate(network, [random_picture(128, 128, seed=seed) for seed in range(2)])
    assert set(ranges) == set(names_of(network))
    for name, inputs in seen.items():
        assert len(inputs) == 2
        both = torch.cat([each.flatten() for each in inputs])
        low, high = ranges[name]
        assert min(0.0, float(both.min())) <= low <= 0 and 0.3 * float(both.max()) < high <= float(both.max())
    written = ranges["backbone.fpn.layer_blocks.0.0" + OUTPUT]
    assert max(float(each.max()) for each in results) >= written[1] > 0 > written[0]
    assert ranges["backbone.body.stage1.0.0"][0] == 0  # behind a ReLU
    assert all(not module._forward_hooks for name, module in network.named_modules() if name not in seen)


@pytest.mark.parametrize("count", [0, 1])
def test_without_pictures_or_instances_there_are_no_ranges(count: int) -> None:
    network = small()
    network.roi_heads.score_thresh = 2.0  # no instance, so the mask head sees nothing
    pictures = [random_picture(64, 64)] * count
    with pytest.raises(CalibrationError, match="no pictures" if not count else "gave roi_heads.mask_head"):
        calibrate(network, pictures)


def test_infinite_numbers_give_no_ranges() -> None:
    network = small()
    layer: Any = network.backbone.fpn.layer_blocks[0][0]
    layer.bias = nn.Parameter(torch.full_like(layer.bias, math.inf))
    with pytest.raises(CalibrationError, match="infinite"):
        calibrate(network, [random_picture(64, 64)])


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "ranges.json"
    save_ranges(file, RANGES, "f00d")
    assert read_ranges(file.read_text(), "f00d", ["a", "b"]) == RANGES
    assert [path.name for path in file.parent.iterdir()] == ["ranges.json"]
    assert ranges_file("ab" * 32).parent == Path(torch.hub.get_dir()) / "checkpoints"


def changed(**values: Any) -> str:
    return json.dumps(json.loads(as_json(RANGES, "f00d")) | values)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[1, 2]", "damaged"),
        ("null", "damaged"),
        ("[" * 100_000, "damaged"),
        (changed(ranges={"a": [1]}), "damaged"),
        (changed(ranges={"a": ["x", "y"]}), "damaged"),
        (changed(ranges=7), "damaged"),
        (changed(format=99), "format 99; expected 1"),
        (changed(weights="beef"), "belong to the weights beef, not to f00d"),
        (changed(weights=None), "belong to the weights None"),
        (changed(ranges={"a": [0, 1]}), "1 layers are missing, first b"),
        (changed(ranges={"a": [0, 1], "b": [0, math.inf]}), "range of b is 0.0 to inf"),
        (changed(ranges={"a": [0, 1], "b": [0, math.nan]}), "range of b"),
        (changed(ranges={"a": [0, 1], "b": [1, 2]}), "range of b"),
        (changed(ranges={"a": [0, 1], "b": [0, 0]}), "range of b"),
    ],
)
def test_damaged_or_foreign_ranges_are_refused_with_the_reason(text: str, sentence: str) -> None:
    with pytest.raises(CalibrationError, match=sentence):
        read_ranges(text, "f00d", ["a", "b"])


def test_the_digest_is_that_of_the_numbers_and_names_only() -> None:
    one = {"x": torch.arange(4.0), "y": torch.ones(2, 2)}
    same = {"y": torch.ones(2, 2), "x": torch.arange(4.0), "n.num_batches_tracked": torch.tensor(3)}
    assert digest_of(one) == digest_of(same)
    assert digest_of(one) != digest_of(one | {"x": torch.arange(4.0) + 1e-6})
    assert digest_of(one) != digest_of({"z": one["x"], "y": one["y"]})
    scalar = {"x": torch.tensor(np.float32(1))}
    assert digest_of(scalar) == digest_of(scalar)
