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
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from detections import Detections
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES
from network.detail import DETAILS, FULL_DETAIL, at_detail, has_details
from network.weights import WeightsError, configured_name, find_weights, layout_of_file
from network.zero_gpu import NotLentError, can_place, on_gpu
from photo.limits import MAX_ASPECT
from photo.strips import fit_within

WORKING_SIDE = 1024
"""Longest side, in pixels, of the image that the network receives."""
SCORE_FLOOR = 0.05
"""Instances with this score or a lower one are dropped."""
DEFAULT_NAME = "resnet50_fpn"
FALLBACK_NAME = "starter"
NAMES = ("auto", *ARCHITECTURES)
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
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

logger = logging.getLogger(__name__)


class ModelError(ValueError):
    """No model, device or precision has the given name. The message lists the known names."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SegmentationModel:
    """A network with its weights, ready to run.

    Args:
        network: A network with torchvision's four stages, in evaluation mode, on `device`.
        name: The name of its architecture.
        label_ids: The COCO category id of each label that the network gives. Index 0 is the background.
        device: Where the network runs.
        precision: "float32", or the type of most of the arithmetic.
        origin: Where the weights came from, in words for people.
        sha256: The SHA-256 of the weights file.
    """

    network: GeneralizedRCNN
    name: str
    label_ids: tuple[int, ...]
    device: torch.device
    precision: str
    origin: str
    sha256: str


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
        weights: A `.pth` or `.safetensors` file in torchvision's state-dict layout. By default
            `network.weights` finds one.
        device: "cuda", "mps" or "cpu". By default the first of these that the machine has.
        precision: "float32", "bfloat16", "float16" or "auto". "auto" is the precision that
            `SEGMENTATION_PRECISION` names, if the device is faster in it, and float32 otherwise.

    Raises:
        ModelError: Unknown name, device or precision.
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
    architecture = ARCHITECTURES[name]
    found = find_weights(architecture, weights)
    network = architecture.build()
    network.load_state_dict(found.state_dict, strict=False)  # `find_weights` compared names and shapes
    network.eval().requires_grad_(False)
    accelerate(network, place, PRECISIONS[chosen])
    network.to(place)
    return SegmentationModel(network, name, architecture.label_ids, place, chosen, found.origin, found.sha256)


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
            changes nothing for a model with one detail only (`detail_of`).

    Returns:
        The instances, highest score first, with ids from 1 in this order. Boxes are in pixels of `image`.

    Raises:
        ModelError: There is no such detail.
        ValueError: The image is not (H, W, 3) uint8, or one side is more than `MAX_ASPECT` times the other:
            after the reduction the short side would have no pixels.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"image: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    # The image may be a reduced photo, whose sides were rounded: one pixel of tolerance.
    if max(image.shape[:2]) > MAX_ASPECT * (min(image.shape[:2]) + 1):
        raise ValueError(f"image: expected sides of at most 1:{MAX_ASPECT}, got {image.shape[:2]}")
    detail = detail_of(model, detail)
    working = fit_within(image, WORKING_SIDE)
    found = (_run_on_gpu if model.device.type == "cuda" else _run)(model, working, detail)
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


def detail_of(model: SegmentationModel, wanted: str) -> str:
    """Returns the detail at which `model` looks if `wanted` is asked for: `FULL_DETAIL` if it has no other.

    Raises:
        ModelError: There is no such detail.
    """
    if wanted not in DETAILS:
        raise ModelError(f"There is no detail {wanted!r}. Expected one of: {', '.join(DETAILS)}.")
    return wanted if has_details(model.network) else FULL_DETAIL


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
    try:
        return segment(model, image, detail), model, None
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
        found = run_spare(lambda: segment(spare, image, detail))
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


def _run(model: SegmentationModel, image: NDArray[np.uint8], detail: str) -> dict[str, NDArray[Any]]:
    """Runs torchvision's four stages. Gives float32, boxes in pixels of `image`, masks (N, 1, M, M)."""
    network, size = at_detail(model.network, detail), (image.shape[0], image.shape[1])
    with torch.inference_mode(), _arithmetic(model):
        # `torch.tensor` copies, because torch must own the memory that it reads. 3 MB at most.
        pixels = torch.tensor(image, device=model.device).permute(2, 0, 1) / 255
        images, _ = network.transform([pixels])
        features = network.backbone(images.tensors)
        if isinstance(features, Tensor):  # a backbone with one level may return the bare tensor
            features = OrderedDict([("0", features)])
        proposals, _ = network.rpn(images, features)
        (found,), _ = network.roi_heads(features, proposals, images.image_sizes)
        found = {key: value.cpu() for key, value in found.items()}
    found = {key: value.float() if value.is_floating_point() else value for key, value in found.items()}
    seen_height, seen_width = images.image_sizes[0]
    # As in torchvision's `resize_boxes`, the ratios are float32.
    ratio_x, ratio_y = torch.tensor(size[1]) / seen_width, torch.tensor(size[0]) / seen_height
    found["boxes"] = found["boxes"] * torch.stack([ratio_x, ratio_y, ratio_x, ratio_y])
    return {key: value.numpy() for key, value in found.items()}


_run_on_gpu = on_gpu(_run)


def _arithmetic(model: SegmentationModel) -> AbstractContextManager[object]:
    if model.precision == "float32":
        return nullcontext()
    return torch.autocast(model.device.type, PRECISIONS[model.precision])


def _precision(device: torch.device) -> str:
    """The precision that `SEGMENTATION_PRECISION` names, or float32 where that precision would be slower.

    Raises:
        ModelError: The variable names no known precision.
    """
    wanted = os.environ.get("SEGMENTATION_PRECISION") or "float32"
    if wanted not in PRECISIONS:
        raise ModelError(f"SEGMENTATION_PRECISION: expected {', '.join(PRECISIONS)}, got {wanted!r}.")
    if device.type == "cpu" and wanted != "float32":
        able: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch cannot say
        if not any(able.get(name) for name in NATIVE_ON_CPU[wanted]):
            logger.warning("This processor does not calculate in %s; float32 is used.", wanted)
            return "float32"
    return wanted


def _device(name: str | None) -> torch.device:
    if name is None:
        cuda = torch.cuda.is_available() and can_place()
        name = "cuda" if cuda else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"There is no device {name!r}. Expected cuda, mps or cpu.") from error
    return device
