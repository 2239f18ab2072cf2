"""Difference: says which objects of two views of one photo are the same, and which only one of them has."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from answer.result import View, counts, names
from detections import Detections
from matching import match


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """What two views of the same photo have in common, and what not.

    Args:
        both: The objects that both have, as the left view has them.
        only_left, only_right: The objects that one of them has alone.
        words: A sentence for each of the three, with a list of the kinds.
    """

    both: Detections
    only_left: Detections
    only_right: Detections
    words: tuple[str, str, str]


def difference(left: View, right: View) -> Difference:
    """Compares what two views show.

    Two objects are the same if they have the same name and their masks overlap (`matching.match`). Kinds are
    compared by name, because two models may give the same kind different ids.
    """
    numbers: dict[str, int] = {}
    for name in (*names(left.shown, left.categories), *names(right.shown, right.categories)):
        numbers.setdefault(name, len(numbers) + 1)
    pairs = match(_renumbered(left, numbers), _renumbered(right, numbers), left.filters.mask_threshold)
    in_left, in_right = np.zeros(len(left.shown), bool), np.zeros(len(right.shown), bool)
    for i, j in pairs:
        in_left[i] = in_right[j] = True
    parts = left.shown.select(in_left), left.shown.select(~in_left), right.shown.select(~in_right)
    told = zip(("Both", "Only left", "Only right"), parts, (left, left, right), strict=True)
    both, only_left, only_right = (_sentence(name, part, view) for name, part, view in told)
    return Difference(*parts, (both, only_left, only_right))


def _renumbered(view: View, numbers: dict[str, int]) -> Detections:
    ids: NDArray[np.int64] = np.array(
        [numbers[name] for name in names(view.shown, view.categories)], np.int64
    )
    return replace(view.shown, class_ids=ids)


def _sentence(name: str, part: Detections, view: View) -> str:
    count = len(part)
    if not count:
        return f"{name}: nothing."
    each = counts(part, view.categories).items()
    listed = ", ".join(view.categories.counted(kind, number) for kind, number in each)
    return f"{name}: {count} object{'' if count == 1 else 's'}, {listed}."
