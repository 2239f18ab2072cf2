"""Steps: keeps what a network gave step by step, and asks its heads about a box or a place in a photo.

The tab "Inside" shows the steps, and corrections need them: the heads answer in milliseconds on features that
are kept. Steps take up to 60 MB for a photo, so only those of a few photos are kept, of all visitors
together.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from answer.edits import in_photo
from answer.result import Result
from answer.settings import SettingsError, said
from detections import Detections
from inference import SegmentationModel, look_at_box, look_at_place
from network import zero_gpu
from network.ideas import Idea
from network.inside import Inside
from serving.kept import Kept
from serving.photos import inside_image, on_device

if TYPE_CHECKING:
    from serving.service import Request, Service

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


async def steps_of(service: Service, request: Request, result: Result) -> Inside:
    """Returns the steps that led to `result`. Runs the network in turn if they are not kept."""
    steps = service.steps.get(result)
    if steps is None:
        steps = await request.run(
            lambda job: inside_image(result.working_image, result.model, job.stage, result.detail)
        )
        service.steps.keep(result, steps)
    return steps


async def idea_of_box(
    service: Service, request: Request, result: Result, box: object, name: str | None = None
) -> Idea:
    """Returns what the model of `result` says of a box that a person drew.

    Args:
        box: x1 y1 x2 y2 in pixels of the original photo.
        name: A kind that is the first name of the idea, if the model knows it.

    Returns:
        The idea. Its box is in pixels of the original photo.

    Raises:
        SettingsError: The box has no area, or lies outside of the photo.
        NoIdeasError: The model has other heads than torchvision's.
    """
    sides = in_photo(box, result.detections.image_size) * _to_working(result)
    steps, model = await steps_of(service, request, result), _near(service, result.model)
    category = result.categories.by_name.get(name or "")
    label = model.label_ids.index(category.id) if category and category.id in model.label_ids else None
    ask = lambda: on_device(model, lambda: look_at_box(model, steps, sides, label))  # noqa: E731
    return _on_photo(await request.look(ask), result)


async def idea_at_place(service: Service, request: Request, result: Result, place: object) -> Idea:
    """Returns what the model of `result` takes the object at a place for, as `idea_of_box`.

    Args:
        place: x and y in pixels of the original photo.

    Raises:
        SettingsError: The place lies outside of the photo.
        NoIdeasError: As `idea_of_box`, or the model proposes nothing at this place.
    """
    x, y = checked_place(place, result.detections.image_size)
    ratio_x, ratio_y, *_ = _to_working(result).tolist()
    steps, model = await steps_of(service, request, result), _near(service, result.model)
    ask = lambda: on_device(model, lambda: look_at_place(model, steps, x * ratio_x, y * ratio_y))  # noqa: E731
    return _on_photo(await request.look(ask), result)


def one_for_each_name(idea: Idea, result: Result) -> Detections:
    """Returns an idea as detections, one for each of its names, with scores of 0.

    Args:
        idea: Its box is in pixels of the original photo.
    """
    count = len(idea.labels)
    return Detections(
        np.repeat(idea.box[None], count, axis=0),
        np.zeros(count, np.float32),
        np.asarray(result.model.label_ids, np.int64)[idea.labels],
        idea.mask_probs,
        np.arange(1, count + 1),
        result.detections.image_size,
    )


def checked_place(place: object, image_size: tuple[int, int]) -> tuple[float, float]:
    """Returns x and y.

    Args:
        image_size: (height, width) in pixels of the original photo.

    Raises:
        SettingsError: These are not two numbers, or the place lies outside of the photo.
    """
    wrong = SettingsError(f"place: expected x and y in pixels of the photo, got {said(place)}.")
    if not isinstance(place, list | tuple) or len(place) != 2:
        raise wrong
    if any(isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at) for at in place):
        raise wrong
    (x, y), (height, width) = place, image_size
    if not (0 <= x <= width and 0 <= y <= height):
        raise SettingsError(
            f"place: this place lies outside of the photo, which has {width} x {height} pixels."
        )
    return float(x), float(y)


def _near(service: Service, model: SegmentationModel) -> SegmentationModel:
    """Returns `model`, or on a Zero GPU Space its twin on the CPU: for the heads alone no lease is needed."""
    lent = zero_gpu.ACTIVE and model.device.type == "cuda"
    return service.models.on_cpu(model.name) if lent else model


def _key(result: Result) -> str:
    pixels = hashlib.sha256(np.ascontiguousarray(result.working_image).data.cast("B")).hexdigest()
    model, shape = result.model, result.working_image.shape
    return " ".join(map(str, (pixels, shape, model.name, model.sha256, model.precision, result.detail)))


def _to_working(result: Result) -> NDArray[np.float32]:
    """Returns by what boxes in the original photo are multiplied to lie in the working image, (4,)."""
    height, width = result.detections.image_size
    working_height, working_width = result.working_image.shape[:2]
    return np.array([working_width / width, working_height / height] * 2, np.float32)


def _on_photo(idea: Idea, result: Result) -> Idea:
    """Returns an idea whose box is in pixels of the original photo."""
    return Idea(idea.box / _to_working(result), idea.labels, idea.scores, idea.mask_probs)
