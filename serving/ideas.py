"""Ideas: asks a network's heads about a box or a place in a photo.

The heads answer in milliseconds on features that `serving.steps` keeps. Without them the network runs again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from answer.edits import in_photo, is_number
from answer.result import Result
from answer.settings import SettingsError, said
from detections import Detections
from inference import SegmentationModel, look_at_box, look_at_place
from network import zero_gpu
from network.ideas import Idea
from network.inside import Inside
from serving.photos import inside_image, on_device
from serving.service import Request, Service


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
        NoIdeasError: As `network.ideas.idea_of_box`.
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

    A name that the network sees no pixel of gets the whole box as its mask, so that nobody adds an object
    without pixels.

    Args:
        idea: Its box is in pixels of the original photo.
    """
    count = len(idea.labels)
    return Detections(
        np.repeat(idea.box[None], count, axis=0),
        np.zeros(count, np.float32),
        np.asarray(result.model.label_ids, np.int64)[idea.labels],
        np.where(idea.outlined[:, None, None], idea.mask_probs, np.float32(1)),
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
    if not all(map(is_number, place)):
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


def _to_working(result: Result) -> NDArray[np.float32]:
    """Returns by what boxes in the original photo are multiplied to lie in the working image, (4,)."""
    height, width = result.detections.image_size
    working_height, working_width = result.working_image.shape[:2]
    return np.array([working_width / width, working_height / height] * 2, np.float32)


def _on_photo(idea: Idea, result: Result) -> Idea:
    """Returns an idea whose box is in pixels of the original photo."""
    return Idea(idea.box / _to_working(result), idea.labels, idea.scores, idea.mask_probs)
