"""Export: a result as data and as files for other programs, at the photo's original resolution."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from detections import Detections
from images import read_image
from report import picture_labels
from result import Filters, Result, counts, names, view
from visualize import Style, annotate

SCHEMA_VERSION = 1


def to_json(result: Result, filters: Filters, warnings: tuple[str, ...] = ()) -> dict[str, Any]:
    """The instances that pass `filters`, and how they were found, as values that JSON can hold.

    Boxes are floats and areas whole pixels of the original photo. `segmentation` is COCO's compressed RLE
    at the original size; `pycocotools.mask.decode` reads it back.
    """
    shown = view(result.detections, filters)
    height, width = shown.image_size
    model = result.model
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "name": model.name,
            "weights": model.origin,
            "sha256": model.sha256,
            "device": str(model.device),
            "precision": model.precision,
        },
        "image_size": {"width": width, "height": height},
        "settings": {
            "score_threshold": filters.score_threshold,
            "classes": filters.classes and list(filters.classes),
            "mask_threshold": filters.mask_threshold,
        },
        "timings_ms": {stage: round(milliseconds, 1) for stage, milliseconds in result.timings_ms.items()},
        "counts": counts(shown),
        "warnings": list(warnings),
        "instances": [_instance(shown, i, name, filters) for i, name in enumerate(names(shown))],
    }


def areas(detections: Detections, threshold: float = 0.5) -> list[int]:
    """Pixels of the original photo in each instance's mask."""
    return [detections.area(i, threshold) for i in range(len(detections))]


def to_rle(detections: Detections, i: int, threshold: float = 0.5) -> dict[str, Any]:
    """The mask of row `i` at the original size as COCO's compressed RLE, its counts a `str`."""
    rle = coco_mask.encode(np.asfortranarray(detections.mask(i, threshold=threshold).astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def annotated_photo(result: Result, filters: Filters, style: Style) -> bytes:
    """The photo at its original resolution with masks, boxes and labels of what passes `filters`, as PNG.

    Raises:
        ImageError: The photo's file is gone.
    """
    shown = view(result.detections, filters)
    return to_png(annotate(read_image(result.path), shown, picture_labels(shown), style))


def to_png(image: NDArray[np.uint8]) -> bytes:
    """`image`, (H, W, 3) uint8 RGB, as the bytes of a PNG file, with nothing in it but pixels."""
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return png.tobytes()


def _instance(detections: Detections, i: int, name: str, filters: Filters) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(value, 2) for value in detections.boxes[i].tolist())
    segmentation = to_rle(detections, i, filters.mask_threshold)
    return {
        "id": int(detections.ids[i]),
        "category_id": int(detections.class_ids[i]),
        "category_name": name,
        "score": round(float(detections.scores[i]), 6),
        "bbox_xyxy": [x1, y1, x2, y2],
        "bbox_xywh": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
        "area": int(coco_mask.area(segmentation)),
        "segmentation": segmentation,
    }
