"""Data: turns a result into JSON for programs."""

from __future__ import annotations

from typing import Any

from pycocotools import mask as coco_mask

from answer.formats import to_rle
from answer.result import View, counts, names
from answer.settings import Filters
from detections import Detections
from inference import SegmentationModel

SCHEMA_VERSION = 1


def to_json(view: View, warnings: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the instances in view, and how they were found, as values that JSON can hold.

    Boxes are floats and areas are whole numbers, both in pixels of the original photo. `segmentation` is
    COCO's compressed RLE at the original size. `pycocotools.mask.decode` turns the RLE back into a mask.
    `source` is "model", or "edited" or "person" for what a person changed or added. Then there is no score.

    Args:
        warnings: Sentences that the client should read.
    """
    result, shown = view.result, view.shown
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model_facts(result.model, result.detail),
        "cached": result.cached,
        "image_size": image_size_facts(shown),
        "settings": filter_facts(view.filters),
        "edits": [change.to_json() for change in view.edits],
        "timings_ms": {stage: round(milliseconds, 1) for stage, milliseconds in result.timings_ms.items()},
        "counts": counts(shown, view.categories),
        "warnings": list(warnings),
        "instances": [
            _instance(shown, i, name, view.filters) for i, name in enumerate(names(shown, view.categories))
        ],
    }


def model_facts(model: SegmentationModel, detail: str) -> dict[str, str]:
    """Returns which model found the instances, with which weights, and how the model ran."""
    return {
        "name": model.name,
        "weights": model.origin,
        "sha256": model.sha256,
        "device": str(model.device),
        "precision": model.precision,
        "detail": detail,
    }


def image_size_facts(detections: Detections) -> dict[str, int]:
    """Returns the width and height of the original photo in pixels."""
    height, width = detections.image_size
    return {"width": width, "height": height}


def filter_facts(filters: Filters) -> dict[str, Any]:
    """Returns the arguments of `Filters` as values that JSON can hold."""
    return {
        "score_threshold": filters.score_threshold,
        "classes": None if filters.classes is None else list(filters.classes),
        "mask_threshold": filters.mask_threshold,
        "hidden": list(filters.hidden),
        "thresholds": dict(filters.thresholds),
    }


def _instance(detections: Detections, i: int, name: str, filters: Filters) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(value, 2) for value in detections.boxes[i].tolist())
    segmentation = to_rle(detections, i, filters.mask_threshold)
    return {
        "id": int(detections.ids[i]),
        "category_id": int(detections.class_ids[i]),
        "category_name": name,
        "score": None if detections.sources[i] else round(float(detections.scores[i]), 6),
        "source": detections.source(i),
        "bbox_xyxy": [x1, y1, x2, y2],
        "bbox_xywh": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
        "area": int(coco_mask.area(segmentation)),
        "segmentation": segmentation,
    }
