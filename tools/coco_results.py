"""Writes detections in COCO's result format and computes COCO's twelve numbers for them.

`coco_results` and `coco_result` write the format. `twelve_numbers` and `evaluated` let pycocotools compare
the results with annotations.
"""

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
"""The two kinds of comparison, and pycocotools' name for each."""
NAMES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
)
"""The names of COCO's twelve numbers, in pycocotools' order.

Source: "Detection evaluation" on https://cocodataset.org.
"""

Result = dict[str, Any]
CocoDataset = dict[str, Any]
"""A dictionary with images, annotations and categories, as in COCO's annotation files."""


def coco_results(found: Detections, image_id: int) -> list[Result]:
    """Returns one result for each instance of an image. The masks have the image's original size."""
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
    """Returns one instance in COCO's result format. Its box becomes x, y, width and height.

    Args:
        box_xyxy: x1 y1 x2 y2 in pixels.
        mask: Compressed RLE. Its counts are a `str`, because JSON holds no bytes.
    """
    x1, y1, x2, y2 = box_xyxy
    return {
        "image_id": image_id,
        "category_id": category_id,
        "score": score,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": mask,
    }


def twelve_numbers(truth: CocoDataset, results: Sequence[Result], kind: str) -> dict[str, float]:
    """Returns COCO's twelve numbers by their names in `NAMES`.

    Each number is 0 to 1, or -1 if `truth` has no object of the number's size. `kind` is a key of `KINDS`.
    """
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
    """Returns pycocotools' accumulated evaluation of all images and categories in `truth`.

    A result without an `area` gets the area of its box or of its mask, depending on `kind`. (`COCO.loadRes`
    takes the box's area for masks too, if a result has both.) `results` may be empty; `loadRes` refuses that.

    Args:
        kind: A key of `KINDS`.
        area_ranges: Lowest and highest area of each range in square pixels, by the range's name. Default:
            COCO's four ranges.
    """
    reference, detected = COCO(), COCO()
    # The annotations get new ids, because pycocotools never counts an object with the id 0 as found.
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
