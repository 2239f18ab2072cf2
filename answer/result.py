"""Result: what the model saw in one photo, and the part of it that passes a visitor's filters.

The page and the API make a `Result` with `serving.photos.segment_file` and look at it through `view`. So they
cannot disagree.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from answer import coco
from answer.settings import Filters
from detections import Detections
from inference import SegmentationModel


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What `segment_file` found.

    Args:
        path: The photo's file, kept for full-resolution pictures of it.
        working_image: (h, w, 3) uint8 RGB, the photo as the model was given it.
        detections: Everything above the score floor, in pixels of the photo itself.
        model: What found it.
        timings_ms: Milliseconds by stage: "read", "model".
        format: Of the photo's file, as Pillow names it.
        notes: What a visitor should know about how it was made, in sentences.
    """

    path: Path
    working_image: NDArray[np.uint8]
    detections: Detections
    model: SegmentationModel
    timings_ms: dict[str, float]
    format: str = "PNG"
    notes: tuple[str, ...] = ()


def view(detections: Detections, filters: Filters) -> Detections:
    """The instances that pass: score at least the threshold, category among the classes, not hidden."""
    keep = detections.scores >= np.float32(filters.score_threshold)
    keep &= ~np.isin(detections.ids, filters.hidden)
    if filters.classes is not None:
        keep &= np.isin(detections.class_ids, [coco.BY_NAME[name].id for name in filters.classes])
    return detections.select(keep)


def names(detections: Detections) -> list[str]:
    """The category name of each instance."""
    return [coco.name_of(int(class_id)) for class_id in detections.class_ids]


def counts(detections: Detections) -> dict[str, int]:
    """Instances by category name, the most frequent first, ties by the highest score."""
    return dict(Counter(names(detections)).most_common())
