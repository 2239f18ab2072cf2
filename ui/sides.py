"""Sides: makes the picture on the right side of the stage's line, for an effect or a comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from answer.difference import Difference, difference
from answer.result import Result, View, names
from answer.settings import rgb
from ui.choices import Choices
from ui.components import as_markdown, picture_file
from visualize import annotate, apply_effect

BOTH, ONLY_LEFT, ONLY_RIGHT = (150, 150, 150), (240, 130, 0), (0, 120, 255)
"""The colours, RGB, of what both sides of a comparison have, and of what only one has."""
LEGEND = "On the right side of the line: orange is only left, blue is only right, grey is in both."
CHECKS = 12
"""Pixels a side of the chequered squares that stand for transparency."""


def before_and_after(view: View, choices: Choices) -> dict[str, Any]:
    """Returns what is on the right side for an effect. On the left is the photo without any drawing."""
    effect: Any = choices.effect
    after = apply_effect(
        view.result.working_image,
        view.shown,
        effect,
        mask_threshold=choices.mask_threshold,
        color=rgb(choices.color),
    )
    return _side(_on_checks(after) if after.shape[2] == 4 else after) | {"plain": True}


def side_by_side(view: View, other: Result | None, choices: Choices) -> tuple[dict[str, Any], str]:
    """Returns what is on the right side for a comparison, and both sides and their difference in words.

    Args:
        other: Another model's result on the same photo. None compares the same result with another threshold.
    """
    right = replace(choices, score_threshold=choices.other_threshold, thresholds={}, scale=None)
    # The ids of another model's result mean other instances.
    against = right.view(view.result) if other is None else replace(right, hidden=(), edits=()).view(other)
    found = difference(view, against)
    sides = (
        f"**{name}:** {len(side.shown)} object{'' if len(side.shown) == 1 else 's'}, "
        f"model {side.result.model.name}, threshold {side.filters.score_threshold:.2f}."
        for name, side in (("Left", view), ("Right", against))
    )
    words = "\n\n".join("  \n".join(lines) for lines in (sides, map(as_markdown, found.words)))
    if choices.other_show == "difference":
        return _side(_drawn(found, view, against)), f"{words}  \n{LEGEND}"
    drawn = annotate(
        against.result.working_image,
        against.shown,
        names(against.shown, against.categories),
        against.style,
        against.everything,
    )
    return _side(drawn), words


def _drawn(found: Difference, left: View, right: View) -> NDArray[np.uint8]:
    """Draws what both sides have without labels, and over it what only one side has."""
    picture = left.result.working_image
    for part, view, side, color in (
        (found.both, left, "", BOTH),
        (found.only_left, left, "left", ONLY_LEFT),
        (found.only_right, right, "right", ONLY_RIGHT),
    ):
        labels = [f"{name} ({side})" for name in names(part, view.categories)]
        style = replace(left.style, masks=True, labels=bool(side))
        colors = np.tile(np.array(color, np.uint8), (len(part), 1))
        picture = annotate(picture, part, labels, style, colors_rgb=colors)
    return picture


def _side(picture: NDArray[np.uint8]) -> dict[str, Any]:
    return {"picture": {"path": picture_file(picture), "meta": {"_type": "gradio.FileData"}}}


def _on_checks(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lays an RGBA picture over grey squares, as image editors show what is transparent."""
    rows, columns = np.indices(picture.shape[:2], np.uint16) // CHECKS
    squares = np.where((rows + columns) % 2, np.uint8(205), np.uint8(240))
    laid = np.repeat(squares[..., np.newaxis], 3, axis=2)
    cv2.copyTo(np.ascontiguousarray(picture[..., :3]), picture[..., 3], laid)
    return laid
