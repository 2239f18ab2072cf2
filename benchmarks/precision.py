"""Measures how bfloat16 and int8 change average precision on drawn scenes, and the instances found on photos.

    python benchmarks/precision.py [--scenes 200] [--photos DIR --factory module:function]
    python benchmarks/precision.py --layers [--scenes 100]

The `scenes` network runs in float32, bfloat16 and int8, as the app runs it. With --photos, the network that
`function()` returns runs in float32 and bfloat16 too. This network needs torchvision's four stages, and its
labels must be the categories' ids. Put the folder of its module in PYTHONPATH. An instance agrees if the
other run has an instance of the same category and the IoU of their boxes is at least 0.5. The last line is
one JSON object.

With --layers, the `scenes` network runs in int8 with one group of layers at a time in float32, which says
which layers cost most. The layers of a group read and write the same 8-bit codes as before, but compute in
float32 with the weights as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from network import runtime

runtime.prepare()

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou
from tqdm import tqdm

from inference import EXAMPLES, calibration_pictures, load, segment
from network import eight_bit
from network.acceleration import accelerate, fold_batch_norms
from network.architectures import ARCHITECTURES
from network.calibration import calibrate
from network.eight_bit import Codes, Grid, encode
from network.weights import find_weights
from photo.images import read_image
from tools.coco_results import KINDS, Result, coco_results, twelve_numbers
from tools.evaluate import load_from_factory
from training.scenes.draw import to_coco
from training.scenes.train import held_out_scenes

GROUPS = (
    *(f"backbone.body.{name}" for name in ("stem", "stage1", "stage2", "stage3", "stage4")),
    *("backbone.fpn.inner_blocks", "backbone.fpn.layer_blocks", "rpn.head.conv"),
    *("roi_heads.box_head", "roi_heads.mask_head"),
)
"""The beginnings of the names of layers that are in float32 together."""
HEADS = ("box_head", "mask_head")
SURE = 0.5
"""The page first shows the instances with a score above this one."""


def scenes_figures(count: int) -> dict[str, dict[str, float]]:
    """Returns the AP of the `scenes` network's boxes and masks in each precision on held-out scenes."""
    scenes = list(held_out_scenes(count))
    truth = to_coco(scenes, [f"{i}.png" for i in range(count)])
    figures: dict[str, dict[str, float]] = {}
    for precision in ("float32", "bfloat16", "int8"):
        model = load("scenes", device="cpu", precision=precision)
        if model.precision != precision:
            raise SystemExit(f"This processor or this torch cannot calculate in {precision}.")
        results: list[Result] = []
        for image_id, scene in enumerate(tqdm(scenes, desc=precision, unit="scene"), start=1):
            results += coco_results(segment(model, scene.image), image_id)
        figures[precision] = {
            f"{kind}_ap": round(twelve_numbers(truth, results, kind)["AP"], 4) for kind in KINDS
        }
    return figures


class _InFloat(nn.Module):
    """Computes in float32 what a layer of `network.eight_bit` computes, from codes to codes."""

    def __init__(self, own: nn.Conv2d, target: Grid | None, rectify: bool) -> None:
        super().__init__()
        self.own, self.target, self.rectify = own, target, rectify

    def forward(self, codes: Codes, added: Codes | None = None) -> Codes | Tensor:
        result: Tensor = self.own(codes.float().contiguous())
        if added is not None:
            result = result + added.float()
        result = result.relu() if self.rectify else result
        return result if self.target is None else encode(result, self.target)


def layers_figures(count: int) -> dict[str, dict[str, float]]:
    """Returns the AP of the `scenes` network in int8 with one group of layers at a time in float32."""
    architecture = ARCHITECTURES["scenes"]
    plain = architecture.build().eval().requires_grad_(False)
    plain.load_state_dict(find_weights(architecture, None).state_dict)
    fold_batch_norms(plain)
    ranges = calibrate(plain, calibration_pictures(EXAMPLES / "scenes"))
    scenes = list(held_out_scenes(count))
    truth = to_coco(scenes, [f"{i}.png" for i in range(count)])
    model, build = load("scenes", device="cpu", precision="float32"), eight_bit.convolution
    figures: dict[str, dict[str, float]] = {}
    for group in ("none", *GROUPS):
        network = deepcopy(plain)
        own = {id(part) for name, part in network.named_modules() if name.startswith(group)}

        def convolution(layer: nn.Conv2d, source: Grid, target: Grid | None, rectify: bool) -> nn.Module:
            if id(layer) in own:  # noqa: B023  # it is called in this round only
                return _InFloat(layer, target, rectify)
            return build(layer, source, target, rectify)

        heads = {name: getattr(network.roi_heads, name) for name in HEADS}
        with patch.object(eight_bit, "convolution", convolution):
            accelerate(network, torch.device("cpu"), torch.float32, ranges)
        for name, head in heads.items():
            if group == f"roi_heads.{name}":
                setattr(network.roi_heads.heads, name, head)
        results: list[Result] = []
        run = replace(model, network=network)
        for image_id, scene in enumerate(tqdm(scenes, desc=group, unit="scene"), start=1):
            results += coco_results(segment(run, scene.image), image_id)
        figures[group] = {
            f"{kind}_ap": round(twelve_numbers(truth, results, kind)["AP"], 4) for kind in KINDS
        }
    return figures


def agreement(folder: Path, factory: str) -> dict[str, float]:
    """Returns how many of the sure float32 instances bfloat16 finds too, and how far the two are apart."""
    models = [load_from_factory(factory, precision) for precision in ("float32", "bfloat16")]
    agreeing, scores, overlaps, masks = [], [], [], []
    for path in tqdm(sorted(folder.glob("*.jp*g")), unit="photo"):
        image = read_image(path)
        exact, fast = (segment(model, image) for model in models)
        same = exact.class_ids[:, None] == fast.class_ids
        ious = box_iou(torch.tensor(exact.boxes), torch.tensor(fast.boxes)).numpy() * same
        for i in np.flatnonzero(exact.scores > SURE):
            j = int(ious[i].argmax()) if len(fast) else 0
            agreeing.append(len(fast) > 0 and ious[i, j] >= 0.5)
            if agreeing[-1]:
                scores.append(abs(float(exact.scores[i] - fast.scores[j])))
                overlaps.append(float(ious[i, j]))
                a, b = exact.mask(int(i)), fast.mask(j)
                masks.append(float((a & b).sum() / max(int((a | b).sum()), 1)))
    return {
        "instances": len(agreeing),
        "agreeing": round(float(np.mean(agreeing)), 4),
        "score_difference_mean": round(float(np.mean(scores)), 5),
        "score_difference_95": round(float(np.percentile(scores, 95)), 5),
        "box_iou_mean": round(float(np.mean(overlaps)), 4),
        "mask_iou_mean": round(float(np.mean(masks)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scenes", type=int, default=200, help="number of drawn scenes")
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files")
    parser.add_argument("--factory", help="module:function that builds the network for --photos")
    parser.add_argument("--layers", action="store_true", help="one group of layers at a time in float32")
    arguments = parser.parse_args()
    if arguments.layers:
        print(json.dumps({"layers": layers_figures(arguments.scenes)}))
        return
    figures: dict[str, Any] = {"scenes": scenes_figures(arguments.scenes)}
    if arguments.photos:
        figures["photos"] = agreement(arguments.photos, arguments.factory)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
