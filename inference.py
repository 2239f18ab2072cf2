"""Inference: loads a model, and finds the instances in an image with it.

`load` gives a `SegmentationModel`, and `segment` runs it on an image and gives `Detections`. Both are plain
functions that keep nothing between calls. `serving` decides which models stay in memory and which thread runs
them.

`segment` runs the four stages of torchvision's `GeneralizedRCNN.forward` (transform, backbone, region
proposals, heads). It stops before torchvision pastes the masks. So it returns what torchvision's
`model([image])` returns, but with small masks. The network is that of He et al., "Mask R-CNN" (2017).
"""

from __future__ import annotations

import gc
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList

import coco
from categories import Categories
from closer import MOST_SIDES, look_closer, parts_of
from detections import Detections
from network import eight_bit
from network.acceleration import accelerate, fold_batch_norms
from network.architectures import ARCHITECTURES, TRAINED_EPSILON, Architecture, set_epsilon
from network.calibration import (
    CalibrationError,
    calibrate,
    digest_of,
    names_of,
    ranges_file,
    read_ranges,
    save_ranges,
)
from network.detail import CLOSER, DETAILS, FULL_DETAIL, at_detail, has_details
from network.eight_bit import Ranges
from network.fixed import padded_size, supports, unpack
from network.graphs import Graphs
from network.ideas import Idea, idea_at_place, idea_of_box
from network.inside import Inside, record
from network.precision import PRECISIONS as PRECISIONS
from network.precision import arithmetic, best_precision, has_tf32
from network.weights import Weights, WeightsError, configured_name, find_weights, layout_of_file
from network.zero_gpu import ACTIVE, NotLentError, can_place, on_gpu
from photo.errors import ImageError
from photo.images import read_photo
from photo.limits import MAX_ASPECT
from photo.strips import fit_within, reduced_size

EXAMPLES = Path(__file__).resolve().parent / "examples"
"""The pictures that networks are calibrated with; those for "scenes" are in a folder of their own."""
WORKING_SIDE = 1024
"""Longest side, in pixels, of the image that the network receives."""
SCORE_FLOOR = 0.05
"""Instances with this score or a lower one are dropped."""
LONGEST_SEEN = 1333
"""Longest side, in pixels, of the pictures that torchvision's networks see."""
BATCH = 8
"""Images that a graphics processor takes together."""
DEFAULT_NAME = "resnet50_fpn"
FALLBACK_NAME = "starter"
NAMES = ("auto", *ARCHITECTURES)
NATIVE_ON_CPU = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"),
    "float16": ("avx512_fp16", "amx_fp16"),
}
"""The processor features, as torch names them, with which arithmetic in this type is faster than in
float32."""

DEVICE_FAILURES = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)
"""What torch raises when a device has no memory left, or does not answer any more."""
FAILURE_MESSAGES = re.compile(
    r"CUDA (driver )?error: |cuDNN error: |MPS backend out of memory|(.*\W)?DefaultCPUAllocator: "
)
"""How the message of the same failures begins where torch raises a plain RuntimeError."""
DEVICE_FAILED = "The graphics processor failed or had too little memory, so the CPU did this, slower."

T = TypeVar("T")

logger = logging.getLogger(__name__)


class ModelError(ValueError):
    """No model, device or precision has the given name. The message lists the known names."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SegmentationModel:
    """A network with its weights, ready to run.

    Args:
        network: A network with torchvision's four stages, in evaluation mode, on `device`.
        name: The name of its architecture.
        label_ids: The category id of each label that the network gives. Index 0 is the background.
        device: Where the network runs.
        precision: The arithmetic, a key of `network.precision.PRECISIONS`.
        origin: Where the weights came from, in words for people.
        sha256: The SHA-256 of the weights file.
        graphs: Runs the network as CUDA graphs. None: it runs stage by stage.
        categories: The kinds of object that it knows. Their ids are those of `label_ids`.
        notes: Sentences for the visitor that belong to each of its results.
    """

    network: GeneralizedRCNN
    name: str
    label_ids: tuple[int, ...]
    device: torch.device
    precision: str
    origin: str
    sha256: str
    graphs: Graphs | None = None
    categories: Categories = coco.CATEGORIES
    notes: tuple[str, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The name of each label that the network gives."""
        return ("background", *map(self.categories.name_of, self.label_ids[1:]))


def load(
    name: str = DEFAULT_NAME,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str | None = None,
    precision: str = "auto",
) -> SegmentationModel:
    """Loads a model. Every call reads the weights again; `serving.models.Models` keeps models in memory.

    Args:
        name: "resnet50_fpn" (torchvision COCO_V1), "resnet50_fpn_v2" (COCO_V2), "starter" (small, built in),
            "scenes" (for drawings, built in), or "auto", which is the first model of `load_best`.
        weights: A `.pth` or `.safetensors` file in torchvision's state-dict layout, with any number of
            classes from 2 to 201. By default `network.weights` finds one.
        device: "cuda", "mps" or "cpu". By default the first of these that the machine has.
        precision: "float32", "tf32", "bfloat16", "float16", "int8" or "auto". "auto" is the precision that
            `SEGMENTATION_PRECISION` names, if the device is faster in it. Otherwise it is the fastest one
            that finds the same as float32 (`network.precision.best_precision`), on a CPU float32 itself.
            "int8" is for CPUs with instructions for it and networks with known layers; elsewhere it is the
            next best precision, and the log says why. The first load for some weights takes some seconds
            longer, because the network is calibrated with the example pictures.

    Raises:
        ModelError: Unknown name, device or precision, or a device without TF32 was asked for it.
        WeightsError: The weights are missing or damaged, or belong to another network.
    """
    if name not in NAMES:
        raise ModelError(f"There is no model {name!r}. Expected one of: {', '.join(NAMES)}.")
    if precision not in ("auto", *PRECISIONS):
        raise ModelError(f"There is no precision {precision!r}. Expected auto, {', '.join(PRECISIONS)}.")
    if name == "auto":
        return load_best(weights, device=device, precision=precision)[0]
    place = _device(device)
    chosen = _precision(place) if precision == "auto" else precision
    if chosen == "tf32" and not has_tf32(place):
        raise ModelError(f"{place} does not calculate in tf32. Expected auto, float32, bfloat16 or float16.")
    architecture = ARCHITECTURES[name]
    found = find_weights(architecture, weights)
    network = built(architecture, found)
    label_ids, categories, notes = _kinds(architecture, found)
    ranges = None
    if chosen == "int8":
        try:
            ranges = _ranges(network, name, found, place)
        except CalibrationError as error:
            chosen = _next_best(place)
            logger.warning("%s So %s is used in place of int8.", error, chosen)
    accelerate(network, place, PRECISIONS[chosen], ranges)
    network.to(place)
    # A process that ZeroGPU forks for one photo would record a graph for this photo alone.
    graphs = Graphs(network) if place.type == "cuda" and not ACTIVE and supports(network) else None
    return SegmentationModel(
        network, name, label_ids, place, chosen, found.origin, found.sha256, graphs, categories, notes
    )


def built(architecture: Architecture, weights: Weights) -> GeneralizedRCNN:
    """Returns the network with weights that `find_weights` has found for it, in evaluation mode."""
    network = architecture.build(weights.classes)
    network.load_state_dict(weights.state_dict, strict=False)  # `find_weights` compared names and shapes
    if _is_own(architecture, weights) and weights.has_trained_norms:
        set_epsilon(network, TRAINED_EPSILON)
    return network.eval().requires_grad_(False)


def _is_own(architecture: Architecture, weights: Weights) -> bool:
    """Whether weights know kinds of their own: they have names, or another number of classes than ours."""
    return weights.labels is not None or weights.classes != len(architecture.label_ids)


def _kinds(
    architecture: Architecture, weights: Weights
) -> tuple[tuple[int, ...], Categories, tuple[str, ...]]:
    """Returns the category id of each label, the categories, and notes about them.

    The labels of an owner's own weights are their category ids.
    """
    notes = (weights.note,) if weights.note else ()
    if not _is_own(architecture, weights):
        return architecture.label_ids, coco.CATEGORIES, notes
    label_ids = tuple(range(weights.classes))
    if weights.labels is not None:
        return label_ids, Categories.named(weights.labels), notes
    names = [f"class {label}" for label in label_ids[1:]]
    called = " to ".join(dict.fromkeys((names[0], names[-1])))
    unnamed = f"The weights come without names of their kinds of object, so these are called {called}."
    return label_ids, Categories.named(names), (*notes, unnamed)


def load_best(
    weights: str | os.PathLike[str] | None = None,
    *,
    device: str | None = None,
    precision: str = "auto",
    load: Callable[..., SegmentationModel] = load,
) -> tuple[SegmentationModel, str | None]:
    """Loads the best model that is available. Returns it, and the reason if a better one could not be loaded.

    The best model is the one that `weights` or `SEGMENTATION_WEIGHTS` holds. Without them it is
    "resnet50_fpn", or "starter" if the weights of "resnet50_fpn" cannot be found. "resnet50_fpn_v2" is never
    chosen unasked: it is more accurate, but 2.5 times slower.

    Args:
        load: Loads a model by name, as `load` does. A cache of models gives its own function here.
    """
    try:
        name = layout_of_file(weights) if weights else configured_name() or DEFAULT_NAME
        return load(name, weights=weights, device=device, precision=precision), None
    except WeightsError as error:
        if weights:
            raise
        logger.warning("%s Using the built-in model %s instead.", error, FALLBACK_NAME)
        return load(FALLBACK_NAME, weights=None, device=device, precision=precision), str(error)


def segment(model: SegmentationModel, image: NDArray[np.uint8], detail: str = FULL_DETAIL) -> Detections:
    """Finds every instance in `image` whose score is above `SCORE_FLOOR`.

    Args:
        image: (H, W, 3) uint8 RGB of any size. The network receives the image reduced to `WORKING_SIDE`.
        detail: One of `network.detail.DETAILS`. A lower one is faster and finds fewer small instances. It
            changes nothing for a model with one detail only (`detail_of`). "closer" also looks at parts of
            the image, which is reduced to `reading_side` before.

    Returns:
        The instances, highest score first, with ids from 1 in this order. Boxes are in pixels of `image`.

    Raises:
        ModelError: There is no such detail.
        ValueError: The image is not (H, W, 3) uint8, or one side is more than `MAX_ASPECT` times the other:
            after the reduction the short side would have no pixels.
    """
    detail = detail_of(model, detail)
    if detail == CLOSER:
        return segment_closer(model, image, lambda images: segment_many(model, images))
    working = _working(image)
    (found,) = _run_where_it_belongs(model, [working], detail)
    return _detections(model, found, working, image)


def segment_closer(
    model: SegmentationModel,
    image: NDArray[np.uint8],
    look: Callable[[Sequence[NDArray[np.uint8]]], Sequence[Detections]],
    on_look: Callable[[int, int], None] = lambda done, looks: None,
) -> Detections:
    """Finds the instances in `image` and in overlapping parts of it, as `closer.look_closer` does.

    Args:
        image: As for `segment`.
        look: Runs `model`, as `segment_many` does at full detail. On a graphics processor it gets `BATCH`
            images at a time.
        on_look: Called before each look, with the number of images that are done and of all images.

    Returns:
        At most `closer.MOST` instances, as `segment` returns them.

    Raises:
        ValueError: As `segment`.
    """
    _working(image)
    reduced = fit_within(image, reading_side(model, CLOSER))
    at_once = BATCH if model.device.type == "cuda" else 1
    found = look_closer(reduced, look, *_seen_sides(model), at_once, on_look)
    return found.resized(image.shape[0], image.shape[1])


def looks_of(model: SegmentationModel, size: tuple[int, int], detail: str) -> int:
    """Returns how often `model` looks at a photo of `size`, (height, width), at this detail."""
    if detail != CLOSER:
        return 1
    return 1 + len(parts_of(reduced_size(size, reading_side(model, CLOSER)), *_seen_sides(model)))


def reading_side(model: SegmentationModel, detail: str) -> int:
    """Returns the longest side, in pixels, that a photo needs for this detail. A larger one is reduced."""
    if detail != CLOSER:
        return WORKING_SIDE
    return max(WORKING_SIDE, int(MOST_SIDES * _seen_sides(model)[0]))


def _seen_sides(model: SegmentationModel) -> tuple[int, int]:
    """The shorter side of the pictures that the network sees, and the longer side at most, in pixels.

    For a network whose transform does not say so, these are torchvision's.
    """
    transform = model.network.transform
    sides = getattr(transform, "min_size", (DETAILS[FULL_DETAIL].side,))
    return sides[-1], getattr(transform, "max_size", LONGEST_SEEN)


def segment_many(
    model: SegmentationModel, images: Sequence[NDArray[np.uint8]], detail: str = FULL_DETAIL
) -> list[Detections]:
    """Finds the instances in each image, as `segment` does, for folders and videos.

    On a graphics processor, images that the network sees at the same size run together, `BATCH` at a time.
    The results are those of `segment`, up to rounding. A CPU takes the images one by one, because one image
    keeps it busy. All images and results are in memory, so give long videos in parts.

    Args:
        images: Each one as for `segment`. They may differ in size.
        detail: As for `segment`, but not "closer".

    Returns:
        The detections of each image, in the order of the images.

    Raises:
        ModelError: There is no such detail, or it is "closer", which is for one photo at a time.
        ValueError: As `segment`, before any image runs.
    """
    detail = detail_of(model, detail)
    if detail == CLOSER:
        raise ModelError(f"{CLOSER!r} looks at one photo at a time. Expected full, balanced or fast.")
    working = [_working(image) for image in images]
    found: dict[int, dict[str, NDArray[Any]]] = {}
    for batch in _batches(model, working, detail):
        some = _run_where_it_belongs(model, [working[i] for i in batch], detail)
        found.update(zip(batch, some, strict=True))
    return [_detections(model, found[i], working[i], image) for i, image in enumerate(images)]


def look_inside(model: SegmentationModel, image: NDArray[np.uint8], detail: str = FULL_DETAIL) -> Inside:
    """Runs `model` once more, stage by stage, and returns every step from the picture to its instances.

    Row i of the steps' instances is the instance with the id i + 1 of `segment`.

    Args:
        image, detail: As for `segment`. For "closer" the steps are those of the look at the whole image.

    Returns:
        The steps, at most 60 MB. Boxes are in pixels of the picture that the network sees, which is the image
        reduced to `WORKING_SIDE` and then resized by the network's transform.

    Raises:
        ModelError, ValueError: As `segment`.
    """
    detail = detail_of(model, detail)
    run = _run_inside_on_gpu if model.device.type == "cuda" else _run_inside
    return run(model, _working(image), detail)


def look_at_box(
    model: SegmentationModel, steps: Inside, box_xyxy: NDArray[np.float32], label: int | None = None
) -> Idea:
    """Asks `model` what is in a box, on the features that `look_inside` kept.

    Args:
        steps: What `look_inside` gave for the same model, image and detail.
        box_xyxy: (4,) float32, x1 y1 x2 y2 in pixels of the image, reduced to `WORKING_SIDE`.
        label: A label of the network that is the first of the names in any case.

    Raises:
        NoIdeasError: As `network.ideas.idea_of_box`.
    """
    return _ask(model, lambda: idea_of_box(model.network, model.device, steps, box_xyxy, label))


def look_at_place(model: SegmentationModel, steps: Inside, x: float, y: float) -> Idea:
    """Asks `model` what is at a place, as `look_at_box`.

    Args:
        x, y: The place in pixels of the image, reduced to `WORKING_SIDE`.

    Raises:
        NoIdeasError: As `look_at_box`, or the model proposes nothing at this place.
    """
    return _ask(model, lambda: idea_at_place(model.network, model.device, steps, x, y))


def _ask(model: SegmentationModel, ask: Callable[[], Idea]) -> Idea:
    with torch.inference_mode(), arithmetic(model.device, model.precision):
        return ask()


def detail_of(model: SegmentationModel, wanted: str) -> str:
    """Returns the detail at which `model` looks if `wanted` is asked for: `FULL_DETAIL` if it has no other.

    Raises:
        ModelError: There is no such detail.
    """
    if wanted not in DETAILS:
        raise ModelError(f"There is no detail {wanted!r}. Expected one of: {', '.join(DETAILS)}.")
    return wanted if wanted == CLOSER or has_details(model.network) else FULL_DETAIL


def segment_or_fall_back(
    model: SegmentationModel,
    image: NDArray[np.uint8],
    load_spare: Callable[[str], SegmentationModel] | None = None,
    detail: str = FULL_DETAIL,
    run_spare: Callable[[Callable[[], Detections]], Detections] = lambda work: work(),
) -> tuple[Detections, SegmentationModel, str | None]:
    """As `segment`. If the device fails, has too little memory or is not lent, the CPU tries once more.

    Args:
        load_spare: Gives the model of a name on the CPU. None: only a model on the CPU tries again.
        detail: As for `segment`.
        run_spare: Runs the work of the spare, for example in the thread for networks.

    Returns:
        The detections, the model that found them, and a sentence for the visitor if that model is not
        `model`.

    Raises:
        MemoryError: The CPU has too little memory as well.
    """
    return _or_fall_back(model, lambda model: segment(model, image, detail), load_spare, run_spare)


def segment_many_or_fall_back(
    model: SegmentationModel,
    images: Sequence[NDArray[np.uint8]],
    load_spare: Callable[[str], SegmentationModel] | None = None,
    detail: str = FULL_DETAIL,
    run_spare: Callable[[Callable[[], list[Detections]]], list[Detections]] = lambda work: work(),
) -> tuple[list[Detections], SegmentationModel, str | None]:
    """As `segment_many`, and falls back as `segment_or_fall_back` does."""
    return _or_fall_back(model, lambda model: segment_many(model, images, detail), load_spare, run_spare)


def _or_fall_back(
    model: SegmentationModel,
    run: Callable[[SegmentationModel], T],
    load_spare: Callable[[str], SegmentationModel] | None,
    run_spare: Callable[[Callable[[], T]], T],
) -> tuple[T, SegmentationModel, str | None]:
    try:
        return run(model), model, None
    except NotLentError as error:
        if load_spare is None:
            raise
        note = str(error)
        logger.warning("%s was not lent a graphics processor: %s", model.name, error.__cause__)
    except Exception as error:
        if not _is_device_failure(error) or (load_spare is None and model.device.type != "cpu"):
            raise
        note = DEVICE_FAILED
        logger.warning("%s failed on %s, the CPU tries again: %s", model.name, model.device, str(error))
    # The tensors of the failed run can only be freed here, where the error does not hold them any more.
    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # the device may be lost
            torch.cuda.empty_cache()
    spare = model if load_spare is None or model.device.type == "cpu" else load_spare(model.name)
    try:
        found = run_spare(lambda: run(spare))
    except Exception as error:
        if _is_device_failure(error):
            raise MemoryError(str(error)) from error
        raise
    return found, spare, None if spare is model else note


def _is_device_failure(error: Exception) -> bool:
    """Whether the device failed. Everything else is a bug of ours, which must stay loud."""
    if isinstance(error, DEVICE_FAILURES):
        return True
    return type(error) is RuntimeError and FAILURE_MESSAGES.match(str(error)) is not None


def _working(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Checks an image, and reduces it to `WORKING_SIDE`."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"image: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    # The image may be a reduced photo, whose sides were rounded: one pixel of tolerance.
    if max(image.shape[:2]) > MAX_ASPECT * (min(image.shape[:2]) + 1):
        raise ValueError(f"image: expected sides of at most 1:{MAX_ASPECT}, got {image.shape[:2]}")
    return fit_within(image, WORKING_SIDE)


def _detections(
    model: SegmentationModel,
    found: dict[str, NDArray[Any]],
    working: NDArray[np.uint8],
    image: NDArray[np.uint8],
) -> Detections:
    """Turns what the network found in the working image into detections of `image`."""
    labels = np.asarray(model.label_ids, dtype=np.int64)[found["labels"]]
    detections = Detections(
        boxes=found["boxes"],
        scores=found["scores"],
        class_ids=labels,
        mask_probs=found["masks"][:, 0],
        ids=np.arange(1, len(labels) + 1),
        image_size=(working.shape[0], working.shape[1]),
    )
    kept = detections.select(detections.scores > SCORE_FLOOR)
    return kept.resized(image.shape[0], image.shape[1])


def _batches(model: SegmentationModel, images: list[NDArray[np.uint8]], detail: str) -> list[list[int]]:
    """Says which images run together. Each batch is `BATCH` images or one, so that two graphs are enough.

    In float32 a batch saves no time on a graphics processor, and takes 40 GB there.
    """
    alone = model.device.type == "cuda" and model.precision == "float32"
    if model.graphs is None or detail != FULL_DETAIL or alone:
        return [[i] for i in range(len(images))]
    same: dict[tuple[int, int], list[int]] = {}
    for i, image in enumerate(images):
        size = padded_size(model.network.transform, (image.shape[0], image.shape[1]))
        same.setdefault(size, []).append(i)
    batches = []
    for group in same.values():
        full = len(group) - len(group) % BATCH
        batches += [group[i : i + BATCH] for i in range(0, full, BATCH)]
        batches += [[i] for i in group[full:]]
    return batches


def _run(
    model: SegmentationModel, images: list[NDArray[np.uint8]], detail: str
) -> list[dict[str, NDArray[Any]]]:
    """Runs torchvision's four stages. Gives float32, boxes in pixels of each image, masks (N, 1, M, M)."""
    network = at_detail(model.network, detail)
    graphs = model.graphs if detail == FULL_DETAIL else None  # they hold the numbers of full detail
    with torch.inference_mode(), arithmetic(model.device, model.precision):
        pixels = [_upload(image, model.device).permute(2, 0, 1) / 255 for image in images]
        batch, _ = network.transform(pixels)
        answer = graphs.find(batch.tensors, batch.image_sizes) if graphs is not None else None
        if answer is None:
            found = _stages(network, batch)
        else:
            found = []
            for i, rows in enumerate(answer):
                one = ImageList(batch.tensors[i : i + 1], batch.image_sizes[i : i + 1])
                found.append(unpack(rows) or _stages(network, one)[0])
    return [
        _on_image(values, seen, (image.shape[0], image.shape[1]))
        for values, seen, image in zip(found, batch.image_sizes, images, strict=True)
    ]


def _run_inside(model: SegmentationModel, image: NDArray[np.uint8], detail: str) -> Inside:
    """Runs the stages as `_run` does, but never as a graph, and keeps every step."""
    network = at_detail(model.network, detail)
    with torch.inference_mode(), arithmetic(model.device, model.precision):
        batch, _ = network.transform([_upload(image, model.device).permute(2, 0, 1) / 255])
        return record(network, batch, (image.shape[0], image.shape[1]), model.label_ids, model.label_names)


_run_on_gpu = on_gpu(_run)
_run_inside_on_gpu = on_gpu(_run_inside)


def _run_where_it_belongs(
    model: SegmentationModel, images: list[NDArray[np.uint8]], detail: str
) -> list[dict[str, NDArray[Any]]]:
    return (_run_on_gpu if model.device.type == "cuda" else _run)(model, images, detail)


def _upload(image: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Copies an image to the device as it is, 3 MB at most. Torch must own the memory that it reads."""
    if device.type != "cuda" or ACTIVE:
        return torch.tensor(image, device=device)
    copy = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
    copy.numpy()[:] = image
    return copy.to(device, non_blocking=True)


def _stages(network: GeneralizedRCNN, images: ImageList) -> list[dict[str, Tensor]]:
    """Runs the stages after the transform. Gives each image's instances, on the CPU."""
    features = network.backbone(images.tensors)
    if isinstance(features, Tensor):  # a backbone with one level may return the bare tensor
        features = OrderedDict([("0", features)])
    proposals, _ = network.rpn(images, features)
    found, _ = network.roi_heads(features, proposals, images.image_sizes)
    return [{key: value.cpu() for key, value in values.items()} for values in found]


def _on_image(
    found: dict[str, Tensor], seen_hw: tuple[int, int], size_hw: tuple[int, int]
) -> dict[str, NDArray[Any]]:
    """Brings boxes from the size that the network saw to the image's size, and everything to NumPy."""
    found = {key: value.float() if value.is_floating_point() else value for key, value in found.items()}
    # As in torchvision's `resize_boxes`, the ratios are float32.
    ratio_y, ratio_x = (torch.tensor(size) / seen for size, seen in zip(size_hw, seen_hw, strict=True))
    found["boxes"] = found["boxes"] * torch.stack([ratio_x, ratio_y, ratio_x, ratio_y])
    return {key: value.numpy() for key, value in found.items()}


def _precision(device: torch.device) -> str:
    """The precision that `SEGMENTATION_PRECISION` names, or else the best one that keeps results.

    On a CPU where the named precision would be slower, it is float32. `load` says whether int8 is possible.

    Raises:
        ModelError: The variable names no known precision.
    """
    wanted = os.environ.get("SEGMENTATION_PRECISION") or best_precision(device)
    if wanted not in PRECISIONS:
        raise ModelError(f"SEGMENTATION_PRECISION: expected {', '.join(PRECISIONS)}, got {wanted!r}.")
    if wanted == "tf32" and not has_tf32(device):
        logger.warning("This processor does not calculate in tf32; float32 is used.")
        return "float32"
    if device.type == "cpu" and wanted in NATIVE_ON_CPU and not _is_native(wanted):
        logger.warning("This processor does not calculate in %s; float32 is used.", wanted)
        return "float32"
    return wanted


def _next_best(device: torch.device) -> str:
    """The precision for an owner who wants int8 where it cannot be had: the fastest one of the device."""
    if device.type == "cpu" and _is_native("bfloat16"):
        return "bfloat16"
    return best_precision(device)


def _is_native(precision: str) -> bool:
    """Whether the processor is faster in `precision`, a key of `NATIVE_ON_CPU`, than in float32."""
    able: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch cannot say
    return any(able.get(name) for name in NATIVE_ON_CPU[precision])


def _ranges(network: GeneralizedRCNN, name: str, weights: Weights, device: torch.device) -> Ranges:
    """The ranges of the network's layers: from the weights' file, from the cache, or from the examples.

    Raises:
        CalibrationError: There are none, or nothing here can calculate in int8.
    """
    if device.type != "cpu":
        raise CalibrationError(f"Only CPUs calculate in int8 here, and the device is {device}.")
    if not eight_bit.able():
        raise CalibrationError("This processor, or this version of torch, does not calculate in int8.")
    fold_batch_norms(network)
    if not eight_bit.supports(network):
        raise CalibrationError("This network's backbone has layers that are not known in int8.")
    names = names_of(network)
    digest = digest_of(weights.state_dict)
    path = ranges_file(digest)
    for text in (weights.ranges, _text(path)):
        if text is not None:
            try:
                return read_ranges(text, digest, names)
            except CalibrationError as error:
                logger.warning("%s They are made again.", error)
    logger.info("Calibrating %s for int8 with the example pictures, once for these weights.", name)
    ranges = calibrate(network, calibration_pictures(EXAMPLES / "scenes" if name == "scenes" else EXAMPLES))
    try:
        save_ranges(path, ranges, digest)
    except OSError as error:
        logger.warning("The ranges for int8 cannot be kept in %s (%s).", path.name, error.strerror)
    return ranges


def calibration_pictures(folder: Path) -> list[NDArray[np.uint8]]:
    """Reads the pictures of a folder for `network.calibration.calibrate`, and adds the middle of some.

    In the middle of a picture, objects look larger. Files that hold no picture are left out, with a line in
    the log.

    Raises:
        CalibrationError: The folder holds no picture.
    """
    pictures = []
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            try:
                pictures.append(read_photo(path, WORKING_SIDE).pixels)
            except ImageError as error:
                logger.warning("%s is no picture to calibrate with: %s", path.name, error)
    if not pictures:
        raise CalibrationError(f"There are no pictures to calibrate with in the folder {folder.name}.")
    for picture in pictures[::3]:
        height, width = picture.shape[:2]
        middle = picture[height // 4 : height - height // 4, width // 4 : width - width // 4]
        pictures.append(np.ascontiguousarray(middle))
    return pictures


def _text(path: Path) -> str | None:
    """What a file of ranges holds; None if there is no such file, "" if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return ""


def _device(name: str | None) -> torch.device:
    if name is None:
        cuda = torch.cuda.is_available() and can_place()
        name = "cuda" if cuda else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"There is no device {name!r}. Expected cuda, mps or cpu.") from error
    return device
