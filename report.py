"""Report: a result in words and rows, as a visitor reads it."""

from __future__ import annotations

from collections.abc import Sequence

from detections import Detections
from result import Filters, Result, counts, names, view

TABLE_HEADERS = ("id", "object", "score", "area (px)", "area (%)", "left", "top", "width", "height")

Row = list[int | float | str]


def unique_labels(detections: Detections) -> list[str]:
    """ "person 3" for the instance with id 3: a label for each, different from all others."""
    return [f"{name} {id}" for name, id in zip(names(detections), detections.ids.tolist(), strict=True)]


def picture_labels(detections: Detections) -> list[str]:
    """ "person 3: 0.98" for the instance with id 3."""
    pairs = zip(unique_labels(detections), detections.scores.tolist(), strict=True)
    return [f"{label}: {score:.2f}" for label, score in pairs]


def table(detections: Detections, areas_px: Sequence[int]) -> list[Row]:
    """One row for each instance, highest score first, under `TABLE_HEADERS`.

    Args:
        areas_px: The mask areas of the instances in pixels of the original photo, as their boxes are.
    """
    height, width = detections.image_size
    rows: list[Row] = []
    for i, (name, area) in enumerate(zip(names(detections), areas_px, strict=True)):
        x1, y1, x2, y2 = detections.boxes[i].tolist()
        percent = round(100 * area / (height * width), 2)
        box = [round(x1), round(y1), round(x2 - x1), round(y2 - y1)]
        rows.append(
            [int(detections.ids[i]), name, round(float(detections.scores[i]), 3), area, percent, *box]
        )
    return rows


def summary(result: Result, filters: Filters) -> str:
    """What was found and how, in one or two sentences."""
    shown = view(result.detections, filters)
    return f"{_found(result.detections, shown, filters)} {_how(result)}"


def _found(everything: Detections, shown: Detections, filters: Filters) -> str:
    if len(shown):
        kinds = ", ".join(f"{count} {name}" for name, count in counts(shown).items())
        return f"{len(shown)} object{'s' if len(shown) > 1 else ''}: {kinds}."
    if not len(everything):
        return "No object was found in this photo."
    threshold = f"{filters.score_threshold:.2f}"
    hidden = len(view(everything, Filters(score_threshold=filters.score_threshold)))
    if hidden == 1:
        return f"The only object above {threshold} is of a kind that is not ticked."
    if hidden:
        return f"All {hidden} objects above {threshold} are of kinds that are not ticked."
    ticked = view(everything, Filters(0, filters.classes))
    if not len(ticked):
        return "No object of the kinds that are ticked was found in this photo."
    strongest = f"{_article(names(ticked)[0])} at {_below(float(ticked.scores[0]), filters.score_threshold)}"
    return f"Nothing above {threshold}; the strongest is {strongest}. Lower the score threshold to see it."


def _below(score: float, threshold: float) -> str:
    """`score` in so many digits that it reads as less than `threshold` does."""
    digits = next((digits for digits in (2, 4, 6) if round(score, digits) < round(threshold, digits)), 8)
    return f"{score:.{digits}f}"


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _how(result: Result) -> str:
    device = {"cuda": "GPU", "mps": "GPU"}.get(result.model.device.type, "CPU")
    sentence = f"Model {result.model.name}, {result.timings_ms['model'] / 1000:.1f} s on {device}"
    height, width = result.detections.image_size
    if result.working_image.shape[:2] != (height, width):
        reduced_height, reduced_width = result.working_image.shape[:2]
        sentence += (
            f"; for the model the photo was reduced from {width}x{height} to {reduced_width}x{reduced_height}"
        )
    return f"{sentence}."
