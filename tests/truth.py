"""Reads the drawn example scenes and the annotations of the objects in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from tests.conftest import ROOT

SCENES = sorted((ROOT / "examples" / "scenes").glob("*.png"))
SCENE = SCENES[0]


def truth(scene: Path) -> list[dict[str, Any]]:
    """Returns the COCO annotations of a scene."""
    annotations: list[dict[str, Any]] = json.loads(scene.with_suffix(".json").read_text())["annotations"]
    return annotations


def share_found(scene: Path, instances: list[dict[str, Any]], least_iou: float = 0.5) -> float:
    """Returns the share of the true objects that the instances find.

    Only objects whose longer side is at least 32 px count. An object is found if an instance of the same
    category has an IoU of at least `least_iou` with it.

    Args:
        instances: The instances as the API returns them.
    """
    large = [a for a in truth(scene) if max(a["bbox"][2:]) >= 32]
    found = 0
    for annotation in large:
        same = [i["segmentation"] for i in instances if i["category_id"] == annotation["category_id"]]
        ious = coco_mask.iou(same, [annotation["segmentation"]], [0]) if same else np.zeros((1, 1))
        found += bool((ious >= least_iou).any())
    return found / len(large)
