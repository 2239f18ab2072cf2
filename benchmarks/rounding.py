"""Measures how far the networks' results are from a run in float64.

    python benchmarks/rounding.py --seeds 10

Three networks with the same random weights run in float32 on the CPU: torchvision's, torchvision's with the
memory order "channels last" and no other change, and ours. All get the same picture after `transform`, whose
shorter side is 320 pixels. The script prints a JSON line for each picture, then a JSON object with the
distributions. `docs/performance.md` explains them.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from network.acceleration import accelerate
from network.architectures import ARCHITECTURES
from tools.random_weights import random_network, random_picture

SIZES_HW = ((640, 427), (683, 1024))
Found = dict[str, NDArray[np.float64]]
"""The "boxes", "scores" and "labels" of all instances."""


def variants(network: MaskRCNN) -> dict[str, MaskRCNN]:
    """Returns the network in float64, and the three networks that are compared with it."""
    truth = copy.deepcopy(network).double()
    for anchors in truth.rpn.anchor_generator.cell_anchors:
        anchors.data = anchors.double()
    ours = copy.deepcopy(network)
    accelerate(ours, torch.device("cpu"))
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    return {"float64": truth, "torchvision": network, "channels last": last, "ours": ours}


@torch.inference_mode()
def run(network: MaskRCNN, transform: Any, picture: Tensor) -> tuple[Tensor, Found]:
    """Returns the finest feature map in float64, and what was found."""
    images, _ = transform([picture])
    features = network.backbone(images.tensors.to(next(network.backbone.parameters()).dtype))
    images.tensors = images.tensors.to(features["0"].dtype)
    proposals, _ = network.rpn(images, features)
    (found,), _ = network.roi_heads(features, proposals, images.image_sizes)
    return features["0"].double(), {
        name: found[name].double().numpy() for name in ("boxes", "scores", "labels")
    }


def distance(one: Found, other: Found) -> float:
    """Returns the largest difference between the scores of an instance in both.

    Raises `SystemExit` if one of them has an instance that the other has not.
    """
    worst = 0.0
    for box, score, label in zip(one["boxes"], one["scores"], one["labels"], strict=True):
        apart = np.abs(other["boxes"] - box).max(1) + 1000 * (other["labels"] != label)
        if apart.min() > 0.5:
            raise SystemExit("other instances than in float64")
        worst = max(worst, abs(float(other["scores"][apart.argmin()] - score)))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=10, help="number of random networks")
    parser.add_argument("--model", default="resnet50_fpn_v2", choices=("resnet50_fpn", "resnet50_fpn_v2"))
    options = parser.parse_args()
    figures: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        network = random_network(ARCHITECTURES[options.model].build, seed)
        network.transform.min_size, network.transform.max_size = (320,), 533
        networks = variants(network)
        for number, size_hw in enumerate(SIZES_HW):
            picture = torch.from_numpy(random_picture(*size_hw, seed=4 + number)).permute(2, 0, 1) / 255
            results = {name: run(one, network.transform, picture) for name, one in networks.items()}
            (truth, true), (_, theirs) = results.pop("float64"), results["torchvision"]
            line: dict[str, float] = {}
            for name, (features, found) in results.items():
                error = (features - truth).square().mean() / truth.square().mean()
                line[f"{name}: features"] = float(error.sqrt())
                line[f"{name}: scores"] = distance(true, found)
                if found is not theirs:
                    line[f"{name}: scores, from torchvision's"] = distance(theirs, found)
            print(json.dumps({"seed": seed, "size": size_hw, **line}), flush=True)
            for key, value in line.items():
                figures.setdefault(key, []).append(value)
    print(json.dumps({key: [statistics.median(values), max(values)] for key, values in figures.items()}))


if __name__ == "__main__":
    main()
