"""Measures how bfloat16 and int8 change average precision on drawn scenes, and the instances found on photos.

    python benchmarks/precision.py [--scenes 200] [--photos DIR --factory module:function]

The `scenes` network runs in float32, bfloat16 and int8, as the app runs it. With --photos, the network that
`function()` returns runs in float32 and bfloat16 too. This network needs torchvision's four stages, and its
labels must be the categories' ids. Put the folder of its module in PYTHONPATH. An instance agrees if the
other run has an instance of the same category and the IoU of their boxes is at least 0.5. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from network import runtime

runtime.prepare()

import numpy as np
import torch
from torchvision.ops import box_iou
from tqdm import tqdm

from inference import load, segment
from photo.images import read_image
from tools.coco_results import KINDS, Result, coco_results, twelve_numbers
from tools.evaluate import load_from_factory
from training.scenes.draw import to_coco
from training.scenes.train import held_out_scenes

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
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"scenes": scenes_figures(arguments.scenes)}
    if arguments.photos:
        figures["photos"] = agreement(arguments.photos, arguments.factory)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
