"""COCO results: what a network found, in COCO's format, and what pycocotools makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from answer.formats import to_rle
from detections import Detections

KINDS = {"box": "bbox", "mask": "segm"}
"""What is compared, and pycocotools' word for it."""
NAMES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
)
"""COCO's twelve numbers in pycocotools' order; source: "Detection evaluation" of https://cocodataset.org."""

Result = dict[str, Any]
CocoDataset = dict[str, Any]
"""Images, annotations and categories, as in COCO's annotation files."""


def coco_results(found: Detections, image_id: int) -> list[Result]:
    """The instances of one image; masks at its original size."""
    return [
        coco_result(
            image_id,
            int(found.class_ids[i]),
            float(found.scores[i]),
            found.boxes[i].tolist(),
            to_rle(found, i),
        )
        for i in range(len(found))
    ]


def coco_result(
    image_id: int, category_id: int, score: float, box_xyxy: Sequence[float], mask: Mapping[str, Any]
) -> Result:
    """One instance; the mask is compressed RLE with its counts as `str`, as JSON wants them."""
    x1, y1, x2, y2 = box_xyxy
    return {
        "image_id": image_id,
        "category_id": category_id,
        "score": score,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": mask,
    }


def twelve_numbers(truth: CocoDataset, results: Sequence[Result], kind: str) -> dict[str, float]:
    """By `NAMES`, 0 to 1, or -1 where `truth` has no object of that size; `kind` is a key of `KINDS`."""
    evaluation = evaluated(truth, results, kind)
    with redirect_stdout(StringIO()):
        evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats.tolist(), strict=True))


def evaluated(
    truth: CocoDataset,
    results: Sequence[Result],
    kind: str,
    area_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> COCOeval:
    """pycocotools' evaluation of all images and categories in `truth`, accumulated.

    Where a result states no `area`, it is that of what is compared, the box or the mask. (`COCO.loadRes`
    takes the box's for masks too, if a result has both.) There may be no results, which `loadRes` refuses.

    Args:
        kind: A key of `KINDS`.
        area_ranges: Lowest and highest area of each range by its name; COCO's four by default.
    """
    reference, detected = COCO(), COCO()
    # Numbered anew, since pycocotools takes an object with the id 0 for one that was not found.
    reference.dataset = truth | {
        "annotations": [{"iscrowd": 0} | a | {"id": i} for i, a in enumerate(truth["annotations"], start=1)]
    }
    detected.dataset = truth | {
        "annotations": [
            {"area": _area(result, kind)} | result | {"id": i, "iscrowd": 0}
            for i, result in enumerate(results, start=1)
        ]
    }
    with redirect_stdout(StringIO()):
        reference.createIndex()
        detected.createIndex()
        evaluation = COCOeval(reference, detected, KINDS[kind])
        if area_ranges:
            evaluation.params.areaRngLbl = [*area_ranges]
            evaluation.params.areaRng = [[*limits] for limits in area_ranges.values()]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _area(result: Result, kind: str) -> float:
    if kind == "box":
        return float(result["bbox"][2] * result["bbox"][3])
    return float(rle.area(result["segmentation"]))
