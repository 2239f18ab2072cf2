"""Export: a result as data and as files for other programs, at the photo's original resolution."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
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
            "classes": None if filters.classes is None else list(filters.classes),
            "mask_threshold": filters.mask_threshold,
            "hidden": list(filters.hidden),
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
    height, width = detections.image_size
    (y, x), crop = detections.mask_crop(i, threshold=threshold)
    # Runs go down the columns. Their ends are found in the crop alone, then moved to the image.
    columns = np.pad(crop.T, ((0, 0), (1, 1)))
    column, row = np.divmod(np.flatnonzero(np.diff(columns.ravel())), columns.shape[1])
    ends = (x + column) * height + y + row
    joined = np.flatnonzero(np.diff(ends) == 0)  # a run that goes on at the top of the next column
    ends = np.delete(ends, np.concatenate([joined, joined + 1]))
    counts = np.diff(ends[ends < height * width], prepend=0, append=height * width)
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def annotated_photo(result: Result, filters: Filters, style: Style) -> bytes:
    """The photo at its original resolution with masks, boxes and labels of what passes `filters`, as PNG.

    Raises:
        ImageError: The photo's file is gone.
    """
    shown = view(result.detections, filters)
    annotated = annotate(read_image(result.path), shown, picture_labels(shown), style)
    return to_png(annotated, f"Segmented by the model {result.model.name} ({result.model.origin}).")


def to_png(image: NDArray[np.uint8], description: str) -> bytes:
    """`image`, (H, W, 3) uint8 RGB, as the bytes of a PNG file: its pixels, `description`, nothing else."""
    text = PngInfo()
    text.add_itxt("Description", description)
    file = io.BytesIO()
    # Level 1: 3.5 times as fast as Pillow's own choice for 12 megapixels, and 15 % larger.
    Image.fromarray(image).save(file, "PNG", compress_level=1, pnginfo=text)
    return file.getvalue()


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
