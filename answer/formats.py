"""Formats: converts detections to the formats that other tools read.

All masks have the size of the original image. The functions read and write no files. The only thing from a
photo that they put into their results is its file name.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

import coco
from answer.outlines import Polygon, joined, polygons
from answer.report import TABLE_HEADERS, Row
from answer.result import names
from categories import Categories
from detections import Detections
from marks import shown_score

COCO_PALETTE: dict[int, tuple[int, int, int]] = {
    1: (220, 20, 60), 2: (119, 11, 32), 3: (0, 0, 142), 4: (0, 0, 230), 5: (106, 0, 228), 6: (0, 60, 100),
    7: (0, 80, 100), 8: (0, 0, 70), 9: (0, 0, 192), 10: (250, 170, 30), 11: (100, 170, 30),
    13: (220, 220, 0), 14: (175, 116, 175), 15: (250, 0, 30), 16: (165, 42, 42), 17: (255, 77, 255),
    18: (0, 226, 252), 19: (182, 182, 255), 20: (0, 82, 0), 21: (120, 166, 157), 22: (110, 76, 0),
    23: (174, 57, 255), 24: (199, 100, 0), 25: (72, 0, 118), 27: (255, 179, 240), 28: (0, 125, 92),
    31: (209, 0, 151), 32: (188, 208, 182), 33: (0, 220, 176), 34: (255, 99, 164), 35: (92, 0, 73),
    36: (133, 129, 255), 37: (78, 180, 255), 38: (0, 228, 0), 39: (174, 255, 243), 40: (45, 89, 255),
    41: (134, 134, 103), 42: (145, 148, 174), 43: (255, 208, 186), 44: (197, 226, 255), 46: (171, 134, 1),
    47: (109, 63, 54), 48: (207, 138, 255), 49: (151, 0, 95), 50: (9, 80, 61), 51: (84, 105, 51),
    52: (74, 65, 105), 53: (166, 196, 102), 54: (208, 195, 210), 55: (255, 109, 65), 56: (0, 143, 149),
    57: (179, 0, 194), 58: (209, 99, 106), 59: (5, 121, 0), 60: (227, 255, 205), 61: (147, 186, 208),
    62: (153, 69, 1), 63: (3, 95, 161), 64: (163, 255, 0), 65: (119, 0, 170), 67: (0, 182, 199),
    70: (0, 165, 120), 72: (183, 130, 88), 73: (95, 32, 0), 74: (130, 114, 135), 75: (110, 129, 133),
    76: (166, 74, 118), 77: (219, 142, 185), 78: (79, 210, 114), 79: (178, 90, 62), 80: (65, 70, 15),
    81: (127, 167, 115), 82: (59, 105, 106), 84: (142, 108, 45), 85: (196, 172, 0), 86: (95, 54, 80),
    87: (128, 76, 255), 88: (201, 57, 1), 89: (246, 0, 122), 90: (191, 162, 208),
}  # fmt: skip
"""The RGB colour of each category id. Source: `panoptic_coco_categories.json` of cocodataset/panopticapi."""

YOLO_DIGITS = 6
"""Digits after the decimal point: precise to a hundredth of a pixel in a picture 20,000 pixels wide."""
POINT_IN_PIXEL = 0.25
"""How far right of and below its pixel's upper left corner each point of a polygon lies, in pixels.

Some readers round coordinates down, others round them to the nearest whole number. Both turn k + 0.25 into k,
even after `YOLO_DIGITS` digits. Rounding turns k + 0.5 into k or k + 1. A coordinate of exactly k can become
k - 1 when a reader divides it by the image's size, multiplies it again and rounds it down.
"""
BY_A_PERSON = {"edited": "changed by a person", "person": "added by a person"}
"""What labelme's file says in place of a score."""
LABELME_VERSION = "5.5.0"
"""The labelme release whose file format `to_labelme` follows. Later releases read it too."""


def areas(detections: Detections, threshold: float = 0.5) -> list[int]:
    """Returns the area of each instance's mask, in pixels of the original photo."""
    return [detections.area(i, threshold) for i in range(len(detections))]


def to_rle(detections: Detections, i: int, threshold: float = 0.5) -> dict[str, Any]:
    """Returns the mask of row `i` at the original size as COCO's compressed RLE. Its counts are a `str`."""
    height, width = detections.image_size
    (y, x), crop = detections.mask_crop(i, threshold=threshold)
    # Runs go down the columns. Their ends are found in the crop, then moved to their place in the image.
    columns = np.zeros((crop.shape[1], crop.shape[0] + 2), np.uint8)
    if crop.size:
        columns[:, 1:-1] = cv2.transpose(crop.view(np.uint8))  # takes a third of NumPy's time
    cells = columns.ravel()
    column, row = np.divmod(np.flatnonzero(cells[1:] != cells[:-1]), columns.shape[1])
    ends = (x + column) * height + y + row
    same = np.flatnonzero(np.diff(ends) == 0)  # the run continues at the top of the next column
    ends = np.delete(ends, np.concatenate([same, same + 1]))
    counts = np.diff(ends[ends < height * width], prepend=0, append=height * width)
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def to_coco(
    detections: Detections, categories: Categories, file_name: str, mask_threshold: float = 0.5
) -> dict[str, Any]:
    """Returns the instances of one image as COCO instance annotations, which `pycocotools.coco.COCO` loads.

    The id of an annotation is the id of the instance. The mask is stored as COCO's compressed RLE. The score
    is stored too: the definition of annotations has no score, but COCO's result files have one. What a
    person added or changed has no score; "source" says "person" or "edited". Instances
    with an empty mask are left out, because training programs fail on an area of 0. Source: "Data format" of
    https://cocodataset.org.

    Args:
        file_name: The image's file name.
    """
    height, width = detections.image_size
    annotations = []
    for i in range(len(detections)):
        segmentation = to_rle(detections, i, mask_threshold)
        area = int(coco_mask.area(segmentation))
        if not area:
            continue
        x1, y1, x2, y2 = (round(value, 2) for value in detections.boxes[i].tolist())
        annotations.append(
            {
                "id": int(detections.ids[i]),
                "image_id": 1,
                "category_id": int(detections.class_ids[i]),
                "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                "area": area,
                "segmentation": segmentation,
                "iscrowd": 0,
                "source": detections.source(i),
                **({} if detections.sources[i] else {"score": round(float(detections.scores[i]), 6)}),
            }
        )
    return {
        "info": {"description": "Objects found in one photo by Mask R-CNN", "version": "1.0"},
        "licenses": [],
        "images": [{"id": 1, "file_name": file_name, "height": height, "width": width}],
        "annotations": annotations,
        "categories": categories.as_json(),
    }


def to_yolo(detections: Detections, categories: Categories, mask_threshold: float = 0.5) -> str:
    """Returns a YOLO segmentation label: one line for each instance.

    A line has the index of the category, then the x and y of each point of the outline, as fractions of the
    image's width and height. There is room for only one polygon. So straight lines join the parts of a mask,
    and connect holes with the boundary. A reader multiplies the points by the image's size, and rounds them
    down (Ultralytics) or to the nearest whole number (supervision). Both ways give the pixels of the outline,
    and `cv2.fillPoly` fills exactly the mask if the mask has only one part. Instances with an empty mask, or
    with an id that no category has, are left out. Source: "Instance Segmentation Datasets" of
    https://docs.ultralytics.com.
    """
    index_of = {category.id: index for index, category in enumerate(categories)}
    height, width = detections.image_size
    lines = []
    for i, category_id in enumerate(detections.class_ids.tolist()):
        parts = _polygons(detections, i, mask_threshold)
        if parts and category_id in index_of:
            shares = (joined(parts) + POINT_IN_PIXEL) / (width, height)
            numbers = (f"{share:.{YOLO_DIGITS}f}" for share in shares.ravel().tolist())
            lines.append(f"{index_of[category_id]} {' '.join(numbers)}\n")
    return "".join(lines)


def yolo_names(categories: Categories) -> str:
    """Returns the `data.yaml` for labels of `to_yolo`, with the names of the categories.

    It expects the pictures in the folder `images` and the labels in the folder `labels`.
    """
    names = (
        f"  {index}: {json.dumps(category.name, ensure_ascii=False)}"
        for index, category in enumerate(categories)
    )
    return "\n".join(["train: images", "val: images", "names:", *names, ""])


def to_labelme(
    detections: Detections, categories: Categories, file_name: str, mask_threshold: float = 0.5
) -> dict[str, Any]:
    """Returns the content of a labelme JSON file, with one polygon for each part of each mask.

    The polygons of an instance have its id as their `group_id`. Lines connect holes with the boundary. Three
    kinds of readers give exactly the mask again: labelme's `shape_to_mask`, readers that round the points or
    round them down and fill with `cv2.fillPoly`, and readers that first convert the points to YOLO's
    fractions. After a conversion to COCO polygons, `pycocotools` loses the pixels on the right and on the
    lower border, because it takes only pixels whose centre is inside the polygon. `to_coco` is exact.
    Instances with an empty mask have no polygon. Source: https://github.com/wkentaro/labelme.

    Args:
        file_name: The file name of the image, which lies beside the JSON file.
    """
    height, width = detections.image_size
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": [
            {
                "label": name,
                "points": (polygon + POINT_IN_PIXEL).tolist(),
                "group_id": int(detections.ids[i]),
                "description": BY_A_PERSON.get(
                    detections.source(i), f"score {shown_score(detections.scores[i], 3)}"
                ),
                "shape_type": "polygon",
                "flags": {},
            }
            for i, name in enumerate(names(detections, categories))
            for polygon in _polygons(detections, i, mask_threshold)
        ],
        "imagePath": file_name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def instance_map(detections: Detections, mask_threshold: float = 0.5) -> NDArray[np.uint16]:
    """Returns the id of the instance at each pixel, (H, W) uint16, and 0 where there is none.

    The instance with the highest score lies on top.
    """
    return _laid_out(detections, detections.ids.astype(np.uint16), mask_threshold)


def category_map(detections: Detections, mask_threshold: float = 0.5) -> NDArray[np.uint8]:
    """Returns the category id at each pixel, (H, W) uint8, and 0 where there is no instance.

    The instance with the highest score lies on top.
    """
    return _laid_out(detections, detections.class_ids.astype(np.uint8), mask_threshold)


def palette(categories: Categories) -> list[tuple[int, int, int]]:
    """Returns the RGB colour of each pixel value of `category_map`, 256 in all.

    COCO's categories have COCO's colours. Other ids have those of the PASCAL VOC challenge: the lowest
    bits of the id are the highest bits of red, green and blue, in turn. So no two are the same. Source:
    `VOClabelcolormap.m` of the VOC2012 development kit.
    """
    colors = []
    for id in range(256):
        if id in COCO_PALETTE and categories.by_id.get(id) == coco.BY_ID[id]:
            colors.append(COCO_PALETTE[id])
        else:
            bits = [(id >> k & 1) << 7 - k // 3 for k in range(8)]
            colors.append((sum(bits[0::3]), sum(bits[1::3]), sum(bits[2::3])))
    return colors


def to_csv(rows: Sequence[Row], headers: Sequence[str] = TABLE_HEADERS) -> str:
    """Returns the rows of `report.table`, under its headers, as comma-separated values (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text).writerows([headers, *rows])
    return text.getvalue()


def _polygons(detections: Detections, i: int, mask_threshold: float) -> list[Polygon]:
    (y, x), crop = detections.mask_crop(i, threshold=mask_threshold)
    return polygons(crop, (x, y))


def _laid_out(detections: Detections, values: NDArray[Any], mask_threshold: float) -> NDArray[Any]:
    """Returns an (H, W) array with each instance's value in its mask, and 0 elsewhere.

    The array has the dtype of `values`. The instance with the highest score lies on top.
    """
    laid_out = np.zeros(detections.image_size, values.dtype)
    for i in reversed(range(len(detections))):
        (y, x), mask = detections.mask_crop(i, threshold=mask_threshold)
        laid_out[y : y + mask.shape[0], x : x + mask.shape[1]][mask] = values[i]
    return laid_out
