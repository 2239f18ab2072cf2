"""What bfloat16 does to results: average precision on drawn scenes, and agreement of instances on photos.

    python benchmarks/precision.py [--scenes 200] [--photos DIR --factory module:function]

The `scenes` network runs in float32 and in bfloat16, both as the app runs them. With --photos, so does the
network that `function()` returns: any with torchvision's four stages whose labels are the categories' ids;
put its folder in PYTHONPATH. An instance agrees if one of the other run has the same category and a box
with an IoU of at least 0.5. Prints one JSON object as the last line.
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

from inference import load_model, segment
from photo.images import read_image
from tools.coco_results import KINDS, Result, coco_results, twelve_numbers
from tools.evaluate import load_from_factory
from training.scenes.draw import to_coco
from training.scenes.train import held_out_scenes

SURE = 0.5
"""Scores above this are those that a visitor sees at first."""


def scenes_figures(count: int) -> dict[str, dict[str, float]]:
    """AP of boxes and masks of the `scenes` network in both precisions, on the same held-out scenes."""
    scenes = list(held_out_scenes(count))
    truth = to_coco(scenes, [f"{i}.png" for i in range(count)])
    figures = {}
    for precision in ("float32", "bfloat16"):
        model = load_model("scenes", device="cpu", precision=precision)
        results: list[Result] = []
        for image_id, scene in enumerate(tqdm(scenes, desc=precision, unit="scene"), start=1):
            results += coco_results(segment(model, scene.image), image_id)
        figures[precision] = {
            f"{kind}_ap": round(twelve_numbers(truth, results, kind)["AP"], 4) for kind in KINDS
        }
    return figures


def agreement(folder: Path, factory: str) -> dict[str, float]:
    """Of the instances that float32 is sure of: how many bfloat16 finds, and how far they are apart."""
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
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs")
    parser.add_argument("--factory", help="module:function that builds a network for them")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"scenes": scenes_figures(arguments.scenes)}
    if arguments.photos:
        figures["photos"] = agreement(arguments.photos, arguments.factory)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
