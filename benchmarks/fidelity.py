"""Measures how far `segment`, with its accelerated network, is from torchvision's own forward pass.

    python benchmarks/fidelity.py

Both have the same random weights and torchvision's own settings, and run in float32 on the CPU. The cases are
the V1 and the V2 network, each with pictures of four sizes. The script prints a line for each case, then the
worst figures as one JSON object. `tests/test_inference.py` holds the limits.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torchvision.models.detection import MaskRCNN
from torchvision.transforms.functional import to_tensor

from inference import WORKING_SIDE, SegmentationModel, segment
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES, COCO_LABELS
from photo.strips import fit_within
from tools.random_weights import random_network, random_picture

SIZES_HW = ((480, 640), (640, 427), (30, 40), (2000, 3000))


def compare(network: MaskRCNN, size_hw: tuple[int, int]) -> dict[str, float]:
    """Returns the differences on one picture of this size. Boxes are in pixels of the working image.

    Raises `SystemExit` if the two find other instances or other categories.
    """
    accelerated, cpu = copy.deepcopy(network), torch.device("cpu")
    accelerate(accelerated, cpu)
    model = SegmentationModel(accelerated, "", COCO_LABELS, cpu, "float32", "", "")
    image = random_picture(*size_hw, seed=4)
    working = fit_within(image, WORKING_SIDE)
    with torch.inference_mode():
        expected = {key: value.numpy() for key, value in network([to_tensor(working.copy())])[0].items()}
    found = segment(model, image).resized(*working.shape[:2])
    # Two instances may change places if the difference of their scores is smaller than the rounding error.
    places = [int(np.abs(expected["boxes"] - box).max(1).argmin()) for box in found.boxes]
    if sorted(places) != list(range(len(expected["boxes"]))):
        raise SystemExit(f"at {size_hw}: other instances than torchvision's")
    expected = {key: values[places] for key, values in expected.items()}
    if not np.array_equal(found.class_ids, expected["labels"]):
        raise SystemExit(f"at {size_hw}: other categories than torchvision's")
    agreements = []
    for i, (x1, y1, x2, y2) in enumerate(expected["boxes"]):
        differing = np.count_nonzero(found.mask(i) != (expected["masks"][i, 0] > 0.5))
        agreements.append(1 - differing / max((x2 - x1) * (y2 - y1), 1))
    return {
        "instances": len(found),
        "box_px": float(np.abs(found.boxes - expected["boxes"]).max()),
        "score": float(np.abs(found.scores - expected["scores"]).max()),
        "mask_agreement": float(min(agreements)),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args()
    cases = []
    for name in ("resnet50_fpn", "resnet50_fpn_v2"):
        network = random_network(ARCHITECTURES[name].build)
        for size_hw in SIZES_HW:
            case = compare(network, size_hw)
            print(name, size_hw, case, flush=True)
            cases.append(case)
    worst = {
        "instances_least": min(case["instances"] for case in cases),
        "box_px_worst": max(case["box_px"] for case in cases),
        "score_worst": max(case["score"] for case in cases),
        "mask_agreement_least": min(case["mask_agreement"] for case in cases),
    }
    print(json.dumps(worst))


if __name__ == "__main__":
    main()
