"""Timing: foretells how long a model will need for a photo, from the photos before."""

from __future__ import annotations

from inference import SegmentationModel
from network.detail import CLOSER, FULL_DETAIL

FIRST_GUESS = {"resnet50_fpn": 1.5, "resnet50_fpn_v2": 4.0}
"""The seconds on two processor cores before a photo was seen, by the model's name (`docs/performance.md`)."""
OTHERS = 0.3
"""The first guess for every other model, and for every model on a graphics processor."""
NEWEST = 0.4
"""The weight of the newest photo in the average."""


class Seconds:
    """Moving averages of the seconds that a photo takes, for each model, detail and device."""

    def __init__(self) -> None:
        self._averages: dict[tuple[str, ...], float] = {}

    def note(self, model: SegmentationModel, detail: str, seconds: float) -> None:
        """Notes how long the model needed for a photo."""
        before = self._averages.get(_key(model, detail), seconds)
        self._averages[_key(model, detail)] = before + NEWEST * (seconds - before)

    def measured(self, model: SegmentationModel, detail: str) -> float | None:
        """Returns the average of the photos so far, in seconds, or None before the first one."""
        return self._averages.get(_key(model, detail))

    def expected(self, model: SegmentationModel, detail: str) -> float:
        """Returns how long the model will probably need for the next photo, in seconds."""
        guess = FIRST_GUESS.get(model.name, OTHERS) if model.device.type == "cpu" else OTHERS
        return self._averages.get(_key(model, detail), guess)


def _key(model: SegmentationModel, detail: str) -> tuple[str, ...]:
    # "closer" is many looks at full detail.
    return model.name, str(model.device), model.precision, FULL_DETAIL if detail == CLOSER else detail
