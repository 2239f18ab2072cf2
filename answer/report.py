"""Report: describes a result for a visitor, in sentences, labels and table rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from answer.result import Result, View, counts, in_view, names
from answer.scale import Scale
from categories import Categories
from detections import Detections
from inference import SCORE_FLOOR
from marks import shown_score
from network.detail import FULL_DETAIL

TABLE_HEADERS = ("id", "object", "score", "area (px)", "area (%)", "left", "top", "width", "height")

Row = list[int | float | str]
STEP_BELOW = 0.2
"""The width of the score range below the threshold that `hidden_by_threshold` counts separately."""


def unique_labels(detections: Detections, categories: Categories) -> list[str]:
    """Returns a label for each instance, such as "person 3" for the id 3. No two labels are the same."""
    pairs = zip(names(detections, categories), detections.ids.tolist(), strict=True)
    return [f"{name} {id}" for name, id in pairs]


def full_labels(detections: Detections, categories: Categories) -> list[str]:
    """Returns a label with the id and the score for each instance, such as "person 3: 0.98" for the id 3."""
    pairs = zip(unique_labels(detections, categories), detections.scores.tolist(), strict=True)
    return [
        label if source else f"{label}: {shown_score(score)}"
        for (label, score), source in zip(pairs, detections.sources.tolist(), strict=True)
    ]


def headers(scale: Scale | None = None) -> tuple[str, ...]:
    """Returns the names of the columns of `table`: with a scale, three more."""
    return (*TABLE_HEADERS, *(scale.headers if scale else ()))


def table(
    detections: Detections, categories: Categories, areas_px: Sequence[int], scale: Scale | None = None
) -> list[Row]:
    """Returns one row for each instance, highest score first. `headers` names the columns.

    Scores have 6 digits, as in JSON. People read them through `shown_score`. What a person added or changed
    has "" in place of a score.

    Args:
        scale: Gives area, width and height in its unit too, in three more columns.
        areas_px: The mask area of each instance, in pixels of the original photo. Boxes use the same pixels.
    """
    height, width = detections.image_size
    rows: list[Row] = []
    for i, (name, area) in enumerate(zip(names(detections, categories), areas_px, strict=True)):
        x1, y1, x2, y2 = detections.boxes[i].tolist()
        percent = round(100 * area / (height * width), 2)
        box = [round(x1), round(y1), round(x2 - x1), round(y2 - y1)]
        score = "" if detections.sources[i] else round(float(detections.scores[i]), 6)
        measured = scale.measured(area, x2 - x1, y2 - y1) if scale else ()
        rows.append([int(detections.ids[i]), name, score, area, percent, *box, *measured])
    return rows


def kinds(detections: Detections, categories: Categories) -> list[dict[str, Any]]:
    """Returns the categories that the class filter offers, in groups by supercategory.

    Each group is {"name", "kinds": [{"name", "count"}]}. The groups with the most instances come first. In
    each group, the most frequent categories come first.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, count in counts(detections, categories).items():
        if name in categories.by_name:  # an id that no category has has no group, and no filter knows it
            groups.setdefault(categories.by_name[name].supercategory, []).append(
                {"name": name, "count": count}
            )
    ordered = sorted(groups.items(), key=lambda group: -sum(kind["count"] for kind in group[1]))
    return [{"name": name, "kinds": members} for name, members in ordered]


def summary(view: View) -> str:
    """Returns a few sentences that say what was found and how."""
    return " ".join([found(view), how(view.result)])


def hidden_by_threshold(view: View) -> str:
    """Returns how many more instances a lower score threshold would show.

    For example: "7 shown, 5 more between 0.30 and 0.50, 2 below that".
    """
    shown, filters = len(view.shown), view.filters
    everything = in_view(view.everything, view.categories, filters.everything())
    lower = max(SCORE_FLOOR, filters.score_threshold - STEP_BELOW)
    near = len(in_view(view.everything, view.categories, replace(filters, score_threshold=lower))) - shown
    below = len(everything) - shown - near
    sentence = f"{shown} shown"
    if near or below:
        sentence += f", {near or 'no'} more between {lower:.2f} and {filters.score_threshold:.2f}"
    return sentence + (f", {below} below that" if below else "")


def found(view: View) -> str:
    """Returns a sentence that says what is in view, or why nothing is."""
    everything, shown, filters = view.everything, view.shown, view.filters
    categories = view.categories
    if len(shown):
        each = counts(shown, categories).items()
        listed = ", ".join(categories.counted(name, count) for name, count in each)
        by_hand = len(in_view(everything, categories, replace(filters, hidden=()))) - len(shown)
        hidden_too = f" ({by_hand} more hidden by you)" if by_hand else ""
        return f"{len(shown)} object{'s' if len(shown) > 1 else ''}: {listed}{hidden_too}."
    if not len(everything):
        return "No object was found in this photo."
    threshold = f"{filters.score_threshold:.2f}"
    hidden = len(in_view(everything, categories, replace(filters, classes=None, hidden=())))
    not_hidden = replace(filters, classes=None)
    unticked = len(in_view(everything, categories, not_hidden))
    if hidden and not unticked:
        return f"You have hidden {'all objects' if hidden > 1 else 'the only object'} above {threshold}."
    if unticked < hidden:
        others = "the others are of kinds that are" if unticked > 1 else "the other is of a kind that is"
        return (
            f"You have hidden {hidden - unticked} of {hidden} objects above {threshold}; {others} not ticked."
        )
    if hidden == 1:
        return f"The only object above {threshold} is of a kind that is not ticked."
    if hidden:
        return f"All {hidden} objects above {threshold} are of kinds that are not ticked."
    ticked = in_view(everything, categories, filters.everything())
    if not len(ticked):
        if len(in_view(everything, categories, replace(filters.everything(), hidden=()))):
            return f"Nothing above {threshold}, and you have hidden what a lower score threshold would show."
        return "No object of the kinds that are ticked was found in this photo."
    name, score = names(ticked, categories)[0], float(ticked.scores[0])
    strongest = f"{_article(name)} at {_below(score, filters.score_threshold)}"
    return f"Nothing above {threshold}; the strongest is {strongest}. Lower the score threshold to see it."


def _below(score: float, threshold: float) -> str:
    """Returns `score` with enough digits to read as a lower number than `threshold`."""
    for digits in (2, 4, 6):
        if float(shown_score(score, digits)) < round(threshold, digits):
            break
    return shown_score(score, digits)


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def how(result: Result) -> str:
    """Returns sentences that say how the objects were found."""
    device = {"cuda": "GPU", "mps": "GPU"}.get(result.model.device.type, "CPU")
    took = f"{result.timings_ms['model'] / 1000:.1f} s on {device}"
    detail = "" if result.detail == FULL_DETAIL else f" ({result.detail})"
    sentence = f"Model {result.model.name}{detail}, {'as found before' if result.cached else took}"
    height, width = result.detections.image_size
    if result.working_image.shape[:2] != (height, width):
        reduced_height, reduced_width = result.working_image.shape[:2]
        sentence += (
            f"; for the model the photo was reduced from {width}x{height} to {reduced_width}x{reduced_height}"
        )
    return " ".join([f"{sentence}.", *result.notes])
