"""Result: holds what the model found in one photo, and what a visitor sees of it.

The page and the API both get a `Result` from `serving.photos.segment_file` and read it through a `View`. So
the page and the API cannot disagree.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from answer.edits import Edit, edited
from answer.scale import Scale
from answer.settings import Filters, SettingsError, check_classes
from categories import Categories
from detections import Detections
from inference import SegmentationModel
from network.detail import FULL_DETAIL
from visualize import Style

MOST_KINDS = 255
"""The highest id of a category that a picture of categories can hold (`answer.formats.category_map`)."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Everything that `segment_file` found in one photo.

    Args:
        path: The photo's file. Pictures at the original resolution are made from this file.
        working_image: (h, w, 3) uint8 RGB, the photo as the model received it.
        detections: All instances above the score floor, in pixels of the original photo.
        model: The model that found the instances.
        timings_ms: The milliseconds that each stage took: "read" and "model".
        format: The format of the photo's file, as Pillow names it.
        notes: Sentences for the visitor about how the result was made.
        passing_note: The note that is about this run alone, such as a device that failed.
        detail: How closely the model looked, one of `network.detail.DETAILS`.
        more_names: Kinds that the model does not know, from annotations that were opened with the photo.
        cached: Whether an earlier run on the same photo found the instances.
    """

    path: Path
    working_image: NDArray[np.uint8]
    detections: Detections
    model: SegmentationModel
    timings_ms: dict[str, float]
    format: str = "PNG"
    notes: tuple[str, ...] = ()
    passing_note: str | None = None
    detail: str = FULL_DETAIL
    cached: bool = False
    more_names: tuple[str, ...] = ()

    @property
    def categories(self) -> Categories:
        """The kinds of object that the model knows, and `more_names`."""
        return self.model.categories.with_names(self.more_names)

    def again(self, path: Path, read_ms: float) -> Result:
        """Returns this result for another request with the same photo, without what was about this run alone.

        Args:
            path: That request's own file.
            read_ms: The milliseconds that it took to find this result again.
        """
        notes = tuple(note for note in self.notes if note != self.passing_note)
        timings_ms = {"read": read_ms, "model": 0.0}
        return replace(self, path=path, timings_ms=timings_ms, notes=notes, passing_note=None, cached=True)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A result as a visitor looks at it. What is shown, counted or written is a function of a view.

    Args:
        result: Everything that was found.
        filters: The rules that decide which instances are in view.
        style: How they are drawn.
        edits: What a person has changed, in order.
        categories: The kinds that the model knows, and those that a person has named.
        everything: All instances above the score floor, with the changes.
        scale: How long a pixel is, or None if nobody has said it.
        shown: The instances in view, highest score first. They are selected once, when the view is made.

    Raises:
        SettingsError: The filters name a category that is not known, or an edit does not fit the result.
    """

    result: Result
    filters: Filters = field(default_factory=Filters)
    style: Style = field(default_factory=Style)
    edits: tuple[Edit, ...] = ()
    scale: Scale | None = None
    categories: Categories = field(init=False)
    everything: Detections = field(init=False)
    shown: Detections = field(init=False)

    def __post_init__(self) -> None:
        categories = self.result.categories.with_names(change.name for change in self.edits)
        if max(categories.by_id, default=0) > MOST_KINDS:
            raise SettingsError(f"edits: there can be at most {MOST_KINDS} kinds, with those of the model.")
        class_ids = {category.name: category.id for category in categories}
        everything = edited(self.result.detections, self.edits, class_ids)
        object.__setattr__(self, "categories", categories)
        object.__setattr__(self, "everything", everything)
        object.__setattr__(self, "shown", in_view(everything, categories, self.filters))


def in_view(detections: Detections, categories: Categories, filters: Filters) -> Detections:
    """Returns the instances that pass `filters`, in the same order.

    An instance passes if its score is at least the threshold for its category, its category is among the
    classes, and its id is not hidden. What a person added or changed has no score, so it passes every
    threshold.

    Raises:
        SettingsError: The filters name a category that is none of `categories`.
    """
    scores = np.where(detections.sources > 0, np.float32(1), detections.scores)
    return detections.select(passes(scores, detections.class_ids, detections.ids, categories, filters))


def passes(
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    ids: NDArray[np.int64],
    categories: Categories,
    filters: Filters,
) -> NDArray[np.bool_]:
    """Returns which of N instances pass `filters`, (N,) bool. Raises `SettingsError` as `in_view` does."""
    check_classes(filters, categories)
    least = np.full(len(scores), filters.score_threshold, np.float32)
    for name, score in filters.thresholds.items():
        least[class_ids == categories.by_name[name].id] = score
    keep: NDArray[np.bool_] = scores >= least
    keep &= ~np.isin(ids, filters.hidden)
    if filters.classes is not None:
        keep &= np.isin(class_ids, [categories.by_name[name].id for name in filters.classes])
    return keep


def names(detections: Detections, categories: Categories) -> list[str]:
    """Returns the category name of each instance."""
    return [categories.name_of(int(class_id)) for class_id in detections.class_ids]


def counts(detections: Detections, categories: Categories) -> dict[str, int]:
    """Returns the number of instances of each category, by the category's name.

    The most frequent category comes first. Of two equally frequent categories, the one with the highest score
    comes first.
    """
    return dict(Counter(names(detections, categories)).most_common())
