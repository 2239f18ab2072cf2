"""Writes a teacher of a few random layers, and photos to train with.

The teacher's file has the format that `training/starter/teacher.py` reads.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import coco
from network.architectures import STARTER_ANCHORS
from training.starter.teacher import STAGES

CHANNELS, ROI_CHANNELS, CLASSES = 128, 160, 81

FEATURE = "xif3_6_int8"
WIDTHS = {
    "backbone": [*[(32, 4)] * 2, *[(48, 8)] * 3, *[(96, 16)] * 4, *[(128, 16)] * 3],
    "rpn": [(128, 1)] * 3,
    "box": [*[(128, 2)] * 3, (ROI_CHANNELS, 2)],
    "mask": [*[(128, 1)] * 3, (ROI_CHANNELS, 1)],
}
"""For each output of each part's `STAGES`: its channels, and its stride in cells of the part's input."""


def write_teacher(path: Path, sure: bool = True) -> Path:
    """Writes the teacher to `path` and returns `path`.

    A feature of the teacher is a weighted sum of the pixels in its cell. With `sure` the teacher sees objects
    nearly everywhere, and without `sure` it sees none.
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.1

    half = torch.tensor(STARTER_ANCHORS, dtype=torch.float32) / 2
    bias = torch.zeros(CLASSES)
    bias[1 if sure else 0] = 6.0
    weights = {
        "anchor": torch.cat((8 - half, 8 + half - 1), dim=1),
        "see.w": random(CHANNELS, 3, 16, 16) / 255,
        "see.b": random(CHANNELS),
        "where.w": random(15, CHANNELS, 1, 1) / 4,
        "where.b": random(15),
        "move.w": random(60, CHANNELS, 1, 1) / 4,
        "move.b": random(60),
        "kind.w": random(CLASSES, ROI_CHANNELS) / 4,
        "kind.b": bias,
        "fit.w": random(4 * CLASSES, ROI_CHANNELS) / 4,
        "fit.b": random(4 * CLASSES),
        "grow.w": random(ROI_CHANNELS, CHANNELS, 2, 2),
        "mask.w": random(CHANNELS, CLASSES, 2, 2) * 10,
        "none": torch.zeros(CLASSES),
        "zero": torch.zeros(CHANNELS),
    }

    def step(kind: str, inputs: list[str], out: str, **settings: Any) -> dict[str, Any]:
        return {"type": kind, "in": inputs, "out": out, **settings}

    conv: dict[str, Any] = {"stride": 1, "pad": 0, "group": 1}

    def on_the_way(part: str, source: str, channels: int) -> list[dict[str, Any]]:
        """Returns the steps for a part's `STAGES`. Each step reads `source` directly."""
        steps = []
        for name, (width, stride) in zip(STAGES[part], WIDTHS[part], strict=True):
            if name != FEATURE:
                scale = 1 / 255 if source == "data" else 10 / math.sqrt(channels) / stride
                weights[f"{name}.w"] = random(width, channels, stride, stride) * scale
                weights[f"{name}.b"] = random(width)
                inputs = [source, f"{name}.w", f"{name}.b"]
                steps.append(step("conv", inputs, name, stride=stride, pad=0, group=1))
        return steps

    graph = {
        "feature": FEATURE,
        "backbone": [
            *on_the_way("backbone", "data", 3),
            step("conv", ["data", "see.w", "see.b"], FEATURE, stride=16, pad=0, group=1),
        ],
        "rpn": [
            *on_the_way("rpn", FEATURE, CHANNELS),
            step("conv", [STAGES["rpn"][-1], "where.w", "where.b"], "rpn_cls_logits", **conv),
            step("conv", [STAGES["rpn"][-1], "move.w", "move.b"], "rpn_bbox_pred", **conv),
        ],
        "box": [
            *on_the_way("box", "roi", CHANNELS),
            step("avgpool", [STAGES["box"][-1]], "mean", kernel=3, stride=1),
            step("fc", ["mean", "kind.w", "kind.b"], "cls_score"),
            step("fc", ["mean", "fit.w", "fit.b"], "bbox_pred"),
        ],
        "mask": [
            *on_the_way("mask", "roi", CHANNELS),
            step("deconv", [STAGES["mask"][-1], "grow.w", "zero"], "larger", stride=2, pad=0),
            step("relu", ["larger"], "positive"),
            step("sum", ["larger", "positive"], "both"),
            step("deconv", ["both", "mask.w", "none"], "mask_fcn_logits_up", stride=2, pad=0),
        ],
    }
    save_file(weights, path, metadata={"graph": json.dumps(graph)})
    return path


def write_photos(folder: Path) -> dict[str, Path]:
    """Writes four labelled photos and two unlabelled photos. Each photo shows one bright rectangle.

    Returns the paths by the names of the options of `training/starter/train.py`.
    """
    images, unlabelled = folder / "images", folder / "unlabelled"
    records, annotations = [], []
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 90, (96, 128, 3), np.uint8)
        x, y = 10 + 9 * number, 12 + 5 * number
        pixels[y : y + 40, x : x + 60] += 150
        path = (images if number < 4 else unlabelled) / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
        if number < 4:
            records.append({"id": number, "file_name": path.name, "width": 128, "height": 96})
            annotations.append(annotation(number, (x, y, 60, 40)))
    file = folder / "train.json"
    write_annotations(file, records, annotations)
    return {"images": images, "annotations": file, "unlabelled": unlabelled}


def annotation(image_id: int, box: tuple[int, int, int, int], category_id: int = 90) -> dict[str, Any]:
    """Returns the COCO annotation of an object that fills its box (x, y, width, height)."""
    x, y, width, height = box
    outline = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {
        "id": image_id + 1,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": list(box),
        "area": width * height,
        "segmentation": [outline],
        "iscrowd": 0,
    }


def write_annotations(file: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> None:
    """Writes a file of COCO instances with all 80 categories."""
    categories = [category.as_json() for category in coco.BY_ID.values()]
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
