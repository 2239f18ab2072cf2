"""Overlay: turns a result into the data that the picture on the page draws (`assets/objects.js`).

`scene` holds everything that could be shown. It changes with the photo or the mask threshold. `look` says
which instances are in view and how they look. When a filter moves, only `look` is sent, a few hundred bytes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from answer.formats import areas
from answer.outlines import edge_path
from answer.report import Row, found, headers, how, kinds, table
from answer.result import View, in_view, names
from detections import Detections
from inference import WORKING_SIDE
from marks import ink, instance_colors, shown_score

PENCIL = "✎"
"""Stands in place of the score of what a person added or changed."""
MOST_DOTS = 4
"""The number of objects of a kind whose colours stand in its chip."""


def scene(view: View) -> dict[str, Any]:
    """Returns every instance of a view, also those out of view: outline, box, colours, table row, numbers.

    Outlines run along the pixel edges of the masks at `width` x `height`. The longer of these sides is
    `WORKING_SIDE`, also for smaller photos, because masks have no resolution of their own. Boxes are x1 y1 x2
    y2 as shares of the picture's width and height.
    """
    detections, categories, mask_threshold = view.everything, view.categories, view.filters.mask_threshold
    size = scene_size(detections.image_size)
    rows = table(detections, categories, areas(detections, mask_threshold), view.scale)
    colors = {by: instance_colors(detections, by).tolist() for by in ("instance", "category")}  # type: ignore[arg-type]
    return {
        "width": size[1],
        "height": size[0],
        "photo_size": list(detections.image_size[::-1]),
        "names": [category.name for category in categories],
        "headers": list(headers(view.scale)),
        "instances": [
            {
                "id": int(detections.ids[i]),
                "name": name,
                "score": float(shown_score(detections.scores[i], 4)),
                "source": detections.source(i),
                "area": rows[i][3],
                "numbers": _numbers(_cells(rows[i]), headers(view.scale)),
                "row": rows[i],
                "cells": _cells(rows[i]),
                "box": shares(detections, i),
                "path": outline(detections, i, size, mask_threshold)[0],
                "colors": {by: fill_and_ink(color[i]) for by, color in colors.items()},
            }
            for i, name in enumerate(names(detections, categories))
        ],
    }


def scene_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """Returns the (height, width) at which the outlines of a photo of `image_size` are drawn."""
    scale = WORKING_SIDE / max(image_size)
    return max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale))


def look(view: View) -> dict[str, Any]:
    """Returns the ids in view (highest score first), the ids that are hidden by hand, and the style."""
    style = view.style
    return {
        "ids": view.shown.ids.tolist(),
        "hidden": list(view.filters.hidden),
        "opacity": style.opacity,
        "color_by": style.color_by,
        "masks": style.masks,
        "boxes": style.boxes,
        "labels": style.labels,
    }


def summary(view: View, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns what the summary shows: the kinds, sentences, and whether filters hide everything.

    A kind is {"name", "count", "words", "dots"}. "plain" means that the chips say the same as
    the sentence. `dots` are the colours of its first objects in view. A kind whose own score threshold hides
    all of its objects is there too, so that the visitor can change the threshold. "threshold" is that of all
    other kinds.
    """
    colors = instance_colors(view.shown, view.style.color_by, view.everything).tolist()
    dots: dict[str, list[str]] = {}
    for name, color in zip(names(view.shown, view.categories), colors, strict=True):
        if (fill := fill_and_ink(color)["fill"]) not in dots.setdefault(name, []):
            dots[name].append(fill)
    groups = kinds(
        in_view(view.everything, view.categories, replace(view.filters, classes=None)), view.categories
    )
    _add_silent(groups, view)
    for group in groups:
        for kind in group["kinds"]:
            kind["dots"] = dots.get(kind["name"], [])[:MOST_DOTS]
            kind["words"] = view.categories.counted(kind["name"], kind["count"])
    return {
        "groups": groups,
        "threshold": view.filters.score_threshold,
        "found": " ".join([found(view), *notes]),
        "plain": len(view.shown) > 0 and not notes and not view.filters.hidden,
        "how": " ".join([how(view.result), *([view.scale.words] if view.scale else [])]),
        "resettable": not len(view.shown) and len(view.everything) > 0,
    }


def _add_silent(groups: list[dict[str, Any]], view: View) -> None:
    """Adds the kinds that were found, but that their own score thresholds hide altogether."""
    counted = {kind["name"] for group in groups for kind in group["kinds"]}
    for name in view.filters.thresholds.keys() - counted:
        if view.categories.by_name[name].id in view.everything.class_ids:
            of = view.categories.by_name[name].supercategory
            group = next((group for group in groups if group["name"] == of), None)
            if group is None:
                groups.append(group := {"name": of, "kinds": []})
            group["kinds"].append({"name": name, "count": 0})


def shares(detections: Detections, i: int) -> list[float]:
    """Returns the box of instance `i` as shares of the picture's width and height, cut at the borders."""
    height, width = detections.image_size
    sides = (detections.boxes[i] / np.array([width, height] * 2)).clip(0, 1)
    return [round(side, 5) for side in sides.tolist()]


def outline(detections: Detections, i: int, size: tuple[int, int], mask_threshold: float) -> tuple[str, int]:
    """Returns the outline of instance `i` as an SVG path in a picture of `size`, and its area in pixels."""
    (y, x), crop = detections.mask_crop(i, size, mask_threshold)
    return edge_path(crop, (x, y)), int(np.count_nonzero(crop))


def _cells(row: Row) -> list[str]:
    """Returns the texts of a table row."""
    id, name, score, area, percent, *rest = row
    shown = PENCIL if score == "" else shown_score(float(score), 3)
    return [str(id), str(name), shown, f"{area:,}", f"{percent:.2f}", *[f"{number:,}" for number in rest]]


def _numbers(cells: list[str], names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Returns the terms and values that the card of the selected object shows."""
    _, _, score, area, percent, left, top, width, height, *measured = cells
    return [
        ("Score", score),
        ("Pixels", area),
        ("Of the photo", f"{percent} %"),
        ("Box", f"{width} x {height}"),
        ("At", f"{left}, {top}"),
        *((name.capitalize(), text) for name, text in zip(names[-3:], measured, strict=False)),
    ]


def fill_and_ink(color: list[int]) -> dict[str, str]:
    """Returns an RGB colour, and the colour of letters on it, as the stage's script takes them."""
    return {"fill": f"#{bytes(color).hex()}", "ink": f"#{bytes(ink(color)).hex()}"}
