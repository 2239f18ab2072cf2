"""Steps: keeps what a network gave step by step, for the tab "Inside" and for corrections.

Steps take up to 60 MB for a photo, so only those of a few photos are kept, of all visitors together.
"""

from __future__ import annotations

import hashlib

import numpy as np

from answer.result import Result
from network.inside import Inside
from serving.kept import Kept

MOST = 4
"""The number of photos whose steps are kept."""


class Steps:
    """The steps that led to a result. They are found by the pixels, the model and how it ran."""

    def __init__(self) -> None:
        self._kept = Kept[Inside](most=MOST)

    def get(self, result: Result) -> Inside | None:
        """Returns the steps, or None if they are not kept (any more)."""
        return self._kept.get(_key(result))

    def keep(self, result: Result, steps: Inside) -> None:
        """Keeps the steps. Those that were not used for the longest time give way."""
        self._kept.put(steps, token=_key(result))


def _key(result: Result) -> str:
    pixels = hashlib.sha256(np.ascontiguousarray(result.working_image).data.cast("B")).hexdigest()
    model, shape = result.model, result.working_image.shape
    return " ".join(map(str, (pixels, shape, model.name, model.sha256, model.precision, result.detail)))
