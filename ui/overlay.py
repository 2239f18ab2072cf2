"""Scene: a result as the picture on the page takes it (`assets/objects.js`).

`scene` is everything that could be shown, and changes with the photo or the mask threshold; `look` is what
is in view and how it looks, a few hundred bytes, and all that travels when a filter moves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from answer.formats import areas
from answer.outlines import edge_path
from answer.report import TABLE_HEADERS, Row, table
from answer.result import Result, names, view
from answer.settings import Filters
from detections import Detections
from inference import WORKING_SIDE
from visualize import Style, ink, instance_colors


def scene(result: Result, mask_threshold: float = 0.5) -> dict[str, Any]:
    """Every instance of a result: outline, box, colours, table row and numbers.

    Outlines run along the pixel edges of the masks at `width` x `height`, whose longer side is
    `WORKING_SIDE` also for smaller photos: masks have no resolution of their own. Boxes are shares of
    the picture's sides.
    """
    detections = result.detections
    height, width = detections.image_size
    scale = WORKING_SIDE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    rows = table(detections, areas(detections, mask_threshold))
    colors = {by: instance_colors(detections, by).tolist() for by in ("instance", "category")}  # type: ignore[arg-type]
    return {
        "width": size[1],
        "height": size[0],
        "headers": list(TABLE_HEADERS),
        "instances": [
            {
                "id": int(detections.ids[i]),
                "name": name,
                "score": round(float(detections.scores[i]), 4),
                "area": rows[i][3],
                "numbers": _numbers(_cells(rows[i])),
                "row": rows[i],
                "cells": _cells(rows[i]),
                "box": _shares(detections, i),
                "path": _path(detections, i, size, mask_threshold),
                "colors": {by: _fill_and_ink(color[i]) for by, color in colors.items()},
            }
            for i, name in enumerate(names(detections))
        ],
    }


def look(result: Result, filters: Filters, style: Style) -> dict[str, Any]:
    """Which instances are in view, the highest score first, which ones are hidden by hand, and the style."""
    return {
        "ids": view(result.detections, filters).ids.tolist(),
        "hidden": list(filters.hidden),
        "opacity": style.opacity,
        "color_by": style.color_by,
        "masks": style.masks,
        "boxes": style.boxes,
        "labels": style.labels,
    }


def _cells(row: Row) -> list[str]:
    """A table row as it is read."""
    id, name, score, area, percent, *box = row
    return [str(id), str(name), f"{score:.3f}", f"{area:,}", f"{percent:.2f}", *[f"{side:,}" for side in box]]


def _numbers(cells: list[str]) -> list[tuple[str, str]]:
    """What the selected object's card says, as terms and values."""
    _, _, score, area, percent, left, top, width, height = cells
    return [
        ("Score", score),
        ("Pixels", area),
        ("Of the photo", f"{percent} %"),
        ("Box", f"{width} x {height}"),
        ("At", f"{left}, {top}"),
    ]


def _shares(detections: Detections, i: int) -> list[float]:
    """The box of row `i` as shares of the picture's width and height, cut at its borders."""
    height, width = detections.image_size
    shares = (detections.boxes[i] / np.array([width, height] * 2)).clip(0, 1)
    return [round(share, 5) for share in shares.tolist()]


def _path(detections: Detections, i: int, size: tuple[int, int], mask_threshold: float) -> str:
    (y, x), crop = detections.mask_crop(i, size, mask_threshold)
    return edge_path(crop, (x, y))


def _fill_and_ink(color: list[int]) -> dict[str, str]:
    return {"fill": f"#{bytes(color).hex()}", "ink": f"#{bytes(ink(color)).hex()}"}
