"""Inference: a model in memory, and `segment`, which gives the instances that the model sees in an image.

`segment` walks torchvision's own four stages (transform, backbone, region proposals, heads) and stops
before masks are pasted, so what it returns is what torchvision's `model([image])` returns, smaller.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import copy_context
from dataclasses import dataclass
from pickle import PicklingError  # nosec B403
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from detections import Detections
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES
from network.weights import WeightsError, configured_name, find_weights, layout_of_file
from network.zero_gpu import can_place, on_gpu
from photo.images import MAX_ASPECT, fit_within

WORKING_SIDE = 1024
"""Longest side, in pixels, of the image that the network is given."""
SCORE_FLOOR = 0.05
"""Instances with this score or less are not kept."""
DEFAULT_NAME = "resnet50_fpn"
FALLBACK_NAME = "starter"
NAMES = ("auto", *ARCHITECTURES)
LOST = re.compile(r"out of memory|not enough memory|can't allocate memory|CUDA|cuDNN|CUBLAS", re.IGNORECASE)
"""In the message of a RuntimeError: the device has no memory left, or does not answer any more."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NATIVE_ON_CPU = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"),
    "float16": ("avx512_fp16", "amx_fp16"),
}
"""What a processor can, as torch names it, if it calculates in this type faster than in float32."""

T = TypeVar("T")
logger = logging.getLogger(__name__)


class ModelError(ValueError):
    """There is no model, device or precision of the given name; the message lists those there are."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationModel:
    """A network with its weights, ready to run.

    Args:
        network: Any network with torchvision's four stages, in evaluation mode on `device`.
        name: Of its architecture.
        label_ids: COCO category id of each label the network gives; index 0 is background.
        device: Where it runs.
        precision: "float32", or the type that most arithmetic is done in.
        origin: Where the weights came from, for people.
        sha256: Of the weights file.
    """

    network: GeneralizedRCNN
    name: str
    label_ids: tuple[int, ...]
    device: torch.device
    precision: str
    origin: str
    sha256: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Goes to a process that was forked from this one, where it is as well, as what it is kept under."""
        for key, model in _models.items():
            if model is self:
                return _kept, (key,)
        raise PicklingError("Only models of `load_model` can go to another process.")


_models: dict[tuple[str, ...], SegmentationModel] = {}
_locks: dict[tuple[str, ...], threading.Lock] = {}
_locks_lock = threading.Lock()
_network_thread = ThreadPoolExecutor(1, "network")


def load_model(
    name: str = DEFAULT_NAME,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str | None = None,
    precision: str = "auto",
) -> SegmentationModel:
    """The model of that name, loaded once: the same arguments give the same object, in any thread.

    Args:
        name: "resnet50_fpn" (torchvision COCO_V1), "resnet50_fpn_v2" (COCO_V2), "starter" (small, built in),
            "scenes" (for drawings, built in) or "auto": the network whose weights `SEGMENTATION_WEIGHTS`
            names, else "resnet50_fpn" if its weights can be had, else "starter".
        weights: A `.pth` or `.safetensors` file in torchvision's state-dict layout; by default `network/weights.py`
            finds one.
        device: "cuda", "mps" or "cpu"; by default the first of these that is there.
        precision: "float32", "bfloat16", "float16" or "auto": what `SEGMENTATION_PRECISION` names, if the
            device is faster in it, else float32.

    Raises:
        ModelError: Unknown name, device or precision.
        WeightsError: The weights are missing, damaged, or those of another network.
    """
    if name not in NAMES:
        raise ModelError(f"There is no model {name!r}. Expected one of: {', '.join(NAMES)}.")
    if precision not in ("auto", *PRECISIONS):
        raise ModelError(f"There is no precision {precision!r}. Expected auto, {', '.join(PRECISIONS)}.")
    if name == "auto":
        return load_best(weights, device=device, precision=precision)[0]
    place = _device(device)
    kept_precision = _precision(place) if precision == "auto" else precision
    key = (name, os.fspath(weights or ""), str(place), kept_precision)
    with _locks_lock:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:
        if key not in _models:
            _models[key] = _load(name, weights, place, kept_precision)
        return _models[key]


def load_best(
    weights: str | os.PathLike[str] | None = None, *, device: str | None = None, precision: str = "auto"
) -> tuple[SegmentationModel, str | None]:
    """The best model that is available, and why it is not the one it should be (None where it is).

    See "auto" of `load_model`. "resnet50_fpn_v2" is never chosen unasked: it is better but 2.5 times slower.
    """
    try:
        name = layout_of_file(weights) if weights else configured_name() or DEFAULT_NAME
        return load_model(name, weights=weights, device=device, precision=precision), None
    except WeightsError as error:
        if weights:
            raise
        logger.warning("%s Using the built-in model %s instead.", error, FALLBACK_NAME)
        return load_model(FALLBACK_NAME, device=device, precision=precision), str(error)


def on_network_thread(work: Callable[[], T]) -> T:
    """What `work` returns, which runs alone, in the one thread of this process for networks.

    Two photos at once would take twice the memory and no less time. It is a thread and no lock because each
    thread that calls torch gets a team of threads of its own, and teams that share cores hinder each other.
    """
    return _network_thread.submit(copy_context().run, work).result()


def segment(model: SegmentationModel, image: NDArray[np.uint8]) -> Detections:
    """Every instance that `model` sees in `image` with a score above `SCORE_FLOOR`.

    Args:
        image: (H, W, 3) uint8 RGB of any size. The network is given the image reduced to `WORKING_SIDE`.

    Returns:
        Boxes in pixels of `image`, highest score first, ids from 1 in that order.

    Raises:
        ValueError: Not (H, W, 3) uint8, or one side over `images.MAX_ASPECT` times the other: reduced, it
            would have no pixels left.

    The network is that of He et al., "Mask R-CNN" (2017), as in torchvision's `GeneralizedRCNN.forward`.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"image: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    if max(image.shape[:2]) > MAX_ASPECT * (min(image.shape[:2]) + 1):  # reduced, it may have been rounded
        raise ValueError(f"image: expected sides of at most 1:{MAX_ASPECT}, got {image.shape[:2]}")
    working = fit_within(image, WORKING_SIDE)
    found = (_run_on_gpu if model.device.type == "cuda" else _run)(model, working)
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


def segment_or_fall_back(
    model: SegmentationModel,
    image: NDArray[np.uint8],
    load_spare: Callable[[str], SegmentationModel] | None = None,
) -> tuple[Detections, SegmentationModel, str | None]:
    """As `segment`; where the device ran out of memory or was lost, once more on the CPU.

    Args:
        load_spare: Gives the model of a name on the CPU; `load_model` by default.

    Returns:
        What was found, the model that found it, and a sentence for the visitor if it is not `model`.

    Raises:
        MemoryError: The CPU has too little memory, too.
    """
    try:
        return segment(model, image), model, None
    except (MemoryError, RuntimeError) as error:
        if not _is_lost(error):
            raise
        logger.warning("%s failed on %s, the CPU tries again: %s", model.name, model.device, str(error))
    # Only here, where the error no longer holds the stage's tensors, can they be freed.
    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # a device that was lost
            torch.cuda.empty_cache()
    on_cpu = model.device.type == "cpu"
    spare = model if on_cpu else (load_spare or _load_on_cpu)(model.name)
    try:
        found = segment(spare, image)
    except RuntimeError as error:
        if _is_lost(error):
            raise MemoryError(str(error)) from error
        raise
    if on_cpu:
        return found, spare, None
    return (
        found,
        spare,
        "The graphics processor failed or had too little memory, so the CPU did this, slower.",
    )


def _is_lost(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or LOST.search(str(error)) is not None


def _load_on_cpu(name: str) -> SegmentationModel:
    return load_model(name, device="cpu")


def _run(model: SegmentationModel, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Torchvision's four stages; float32, boxes in pixels of `image`, masks (N, 1, M, M)."""
    network, size = model.network, (image.shape[0], image.shape[1])
    with torch.inference_mode(), _arithmetic(model):
        # Torch wants to own what it reads; 3 MB at most.
        pixels = torch.tensor(image, device=model.device).permute(2, 0, 1) / 255
        images, _ = network.transform([pixels])
        features = network.backbone(images.tensors)
        if isinstance(features, Tensor):  # a backbone with one level may give it bare
            features = OrderedDict([("0", features)])
        proposals, _ = network.rpn(images, features)
        (found,), _ = network.roi_heads(features, proposals, images.image_sizes)
        found = {key: value.cpu() for key, value in found.items()}
    found = {key: value.float() if value.is_floating_point() else value for key, value in found.items()}
    seen_height, seen_width = images.image_sizes[0]
    # As torchvision's `resize_boxes`: ratios in float32.
    ratio_x, ratio_y = torch.tensor(size[1]) / seen_width, torch.tensor(size[0]) / seen_height
    found["boxes"] = found["boxes"] * torch.stack([ratio_x, ratio_y, ratio_x, ratio_y])
    return {key: value.numpy() for key, value in found.items()}


_run_on_gpu = on_gpu(_run)


def _kept(key: tuple[str, ...]) -> SegmentationModel:
    return _models[key]


def _arithmetic(model: SegmentationModel) -> AbstractContextManager[object]:
    if model.precision == "float32":
        return nullcontext()
    return torch.autocast(model.device.type, PRECISIONS[model.precision])


def _load(
    name: str, weights: str | os.PathLike[str] | None, device: torch.device, precision: str
) -> SegmentationModel:
    architecture = ARCHITECTURES[name]
    found = find_weights(architecture, weights)
    network = architecture.build()
    network.load_state_dict(found.state_dict, strict=False)  # `find_weights` compared names and shapes
    network.eval().requires_grad_(False)
    accelerate(network, device, PRECISIONS[precision])
    network.to(device)
    return SegmentationModel(
        network, name, architecture.label_ids, device, precision, found.origin, found.sha256
    )


def _precision(device: torch.device) -> str:
    """What `SEGMENTATION_PRECISION` names; float32 where that is nothing, or would be slower.

    Raises:
        ModelError: It names none.
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
