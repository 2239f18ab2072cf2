"""Runs the teacher, a small Mask R-CNN for COCO, and returns all its answers and the maps inside it.

The teacher is read from one safetensors file. The file's metadata hold a JSON text under the key `graph`. The
text describes the four parts `backbone`, `rpn`, `box` and `mask`, and names the feature map under `feature`.
A part is a list of steps, and each step is one of `_OPERATIONS`. The inputs of a step are outputs of earlier
steps or tensors of the file. The outputs of a part's steps include the part's `STAGES`. The tensor `anchor`
(A, 4) holds the anchors of the first cell. MaskRCNN2Go (facebookarchive/models, Apache-2.0) can be written in
this format.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torchvision.ops import roi_align

STRIDE = 16
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""The box head's deltas are divided by these weights (Ren et al. 2015), as in torchvision's `RoIHeads`."""
LARGEST_GROWTH = 4.135
"""The upper limit of the deltas for width and height: log(1000 / 16), torchvision's `bbox_xform_clip`."""

STAGES = {
    "backbone": (
        *("xif1_0_bn_int8", "xif1_1_int8", "xif2_0_bn_int8", "xif2_1_int8", "xif2_2_int8", "xif3_0_bn_int8"),
        *("xif3_1_int8", "xif3_2_int8", "xif3_3_int8", "xif3_4_bn_int8", "xif3_5_int8", "xif3_6_int8"),
    ),
    "rpn": ("[rpn]xif3_4_int8", "[rpn]xif3_5_int8", "conv_rpn_int8"),
    "box": tuple(f"_[bbox]_xif4_{stage}_int8" for stage in ("0_bn", "1", "2", "3_bn")),
    "mask": tuple(f"_[mask]_xif4_{stage}_int8" for stage in ("0", "1", "2", "3_bn")),
}
"""For each part, the names of the outputs of MaskRCNN2Go's inverted residuals.

There is one activation between an output and the next, and there are three before the first output.
"""

Blobs = dict[str, Tensor]
"""The outputs of steps by their names."""
Maps = dict[str, list[Tensor]]
"""For each part, the outputs of its `STAGES`."""
Step = dict[str, Any]


class TeacherError(ValueError):
    """The file cannot be used. The message says why, and what is expected."""


class Teacher:
    """A trained Mask R-CNN that answers in torchvision's conventions.

    Boxes are (x0, y0, x1, y1) in px, and x1 and y1 are exclusive. In the file's own convention the corners
    are inclusive. Both conventions give a box the same width and centre. They differ only where regions are
    cut out of the feature map.
    """

    def __init__(
        self, path: Path, device: torch.device | None = None, precision: torch.dtype = torch.float32
    ) -> None:
        """Reads the teacher from a file.

        Args:
            path: The safetensors file, as the module docstring describes it.
            device: The device to compute on; the CPU by default.
            precision: The precision of most of the arithmetic. The answers are float32.

        Raises:
            TeacherError: The file is missing, or it does not hold a teacher.
        """
        try:
            with safe_open(path, "pt") as file:
                self.graph: dict[str, Any] = json.loads((file.metadata() or {})["graph"])
                names = file.keys()
                self.weights = {name: file.get_tensor(name).float().to(device) for name in names}
            self.feature: str = self.graph["feature"]
            made = {part: {step["out"] for step in self.graph[part]} for part in STAGES}
            self.anchors = self.weights.pop("anchor")
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise TeacherError(
                f"The teacher {path} cannot be used ({type(error).__name__}: {error}); expected a "
                "safetensors file with a graph in its metadata and an anchor tensor."
            ) from error
        missing = [name for part, names in STAGES.items() for name in names if name not in made[part]]
        if missing or self.feature != STAGES["backbone"][-1]:
            raise TeacherError(
                f"The teacher {path} has no {(missing or [self.feature])[0]}; expected all of "
                "training.starter.teacher.STAGES, with the feature map as the backbone's last."
            )
        self.anchors[:, 2:] += 1
        self.device = self.anchors.device
        self.precision = precision
        for name, weight in self.weights.items():
            if weight.ndim == 4:  # convolutions on a CPU are several times faster in this order
                self.weights[name] = weight.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Returns the feature maps (N, C, H / 16, W / 16) of images (N, 3, H, W).

        The images are RGB, 0 to 1. H and W are multiples of 16.
        """
        return self._run("backbone", {"data": _bytes(images)})[self.feature].float()

    @torch.inference_mode()
    def propose(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns, for each anchor in each cell, the logit of an object and the proposed box.

        Returns:
            The logits (N, H, W, A) and the boxes (N, H, W, A, 4) in px. Boxes may reach out of the picture.
        """
        blobs = self._run("rpn", {self.feature: features})
        logits = blobs["rpn_cls_logits"].float().permute(0, 2, 3, 1)
        count, height, width, anchors = logits.shape
        deltas = (
            blobs["rpn_bbox_pred"].float().reshape(count, anchors, 4, height, width).permute(0, 3, 4, 1, 2)
        )
        rows = torch.arange(height, device=logits.device) * STRIDE
        columns = torch.arange(width, device=logits.device) * STRIDE
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        grid = torch.stack((x, y, x, y), dim=-1)[:, :, None] + self.anchors
        return logits, decode(grid, deltas)

    @torch.inference_mode()
    def classify(self, features: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the class logits, and a box for each class, of regions in N feature maps.

        Args:
            features: The feature maps (N, C, H, W).
            boxes: The regions (R, 4) of each feature map, in px.

        Returns:
            The logits (sum of R, K) and the boxes (sum of R, K, 4). Class 0 is background.
        """
        blobs = self._run("box", {"roi": self._pool(features, boxes)})
        deltas = blobs["bbox_pred"].float().reshape(len(blobs["bbox_pred"]), -1, 4)
        deltas = deltas / deltas.new_tensor(BOX_WEIGHTS)
        return blobs["cls_score"].float(), decode(torch.cat(boxes)[:, None], deltas)

    @torch.inference_mode()
    def segment(self, features: Tensor, boxes: list[Tensor]) -> Tensor:
        """Returns the mask logits of each class, (sum of R, K, M, M), for boxes (R, 4) in N feature maps."""
        return self._run("mask", {"roi": self._pool(features, boxes)})["mask_fcn_logits_up"].float()

    @torch.no_grad()
    def stages(self, images: Tensor, regions: list[Tensor], mask_boxes: list[Tensor]) -> Maps:
        """Returns the outputs of all `STAGES`, which the teacher computes on the way to its answers.

        The images are as in `features`. The regions and the mask boxes are as in `classify`.
        """

        def inside(part: str, name: str, inputs: Tensor) -> list[Tensor]:
            blobs = self._run(part, {name: inputs})
            return [blobs[output].float() for output in STAGES[part]]

        maps = {"backbone": inside("backbone", "data", _bytes(images))}
        features = maps["backbone"][-1]
        maps["rpn"] = inside("rpn", self.feature, features)
        maps["box"] = inside("box", "roi", self._pool(features, regions))
        maps["mask"] = inside("mask", "roi", self._pool(features, mask_boxes))
        return maps

    def _pool(self, features: Tensor, boxes: list[Tensor]) -> Tensor:
        inclusive = [region - region.new_tensor([0, 0, 1, 1]) for region in boxes]
        pooled: Tensor = roi_align(features, inclusive, (6, 6), 1 / STRIDE, -1, False)
        return pooled

    def _run(self, part: str, blobs: Blobs) -> Blobs:
        lower = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=lower):
            for step in self.graph[part]:
                values = [blobs[name] if name in blobs else self.weights[name] for name in step["in"]]
                blobs[step["out"]] = _OPERATIONS[step["type"]](step, *values)
        return blobs


def _bytes(images: Tensor) -> Tensor:
    """Converts RGB, 0 to 1, to BGR, 0 to 255."""
    return (images[:, [2, 1, 0]] * 255.0).contiguous(memory_format=torch.channels_last)


def _convolve(step: Step, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(inputs, weight, bias, step["stride"], step["pad"], 1, step["group"])


_OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "conv": _convolve,
    "convrelu": lambda step, *values: _convolve(step, *values).relu_(),
    "deconv": lambda step, inputs, weight, bias: F.conv_transpose2d(
        inputs, weight, bias, step["stride"], step["pad"]
    ),
    "sum": lambda _, first, second: first + second,
    "relu": lambda _, inputs: inputs.relu(),
    "avgpool": lambda step, inputs: F.avg_pool2d(inputs, step["kernel"], step["stride"]),
    "fc": lambda _, inputs, weight, bias: F.linear(inputs.flatten(1), weight, bias),
}


def decode(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Returns the boxes (..., 4) changed by deltas (..., 4).

    The first two deltas move the centre by shares of the width and the height. The two others are the
    logarithms of the growth of width and height.
    """
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + size / 2 + deltas[..., :2] * size
    half = size * deltas[..., 2:].clamp(max=LARGEST_GROWTH).exp() / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def encode(boxes: Tensor, targets: Tensor) -> Tensor:
    """Returns the deltas (..., 4) that change `boxes` (..., 4) to `targets` (..., 4), as `decode` does."""
    size, wanted = boxes[..., 2:] - boxes[..., :2], targets[..., 2:] - targets[..., :2]
    offset = targets[..., :2] + wanted / 2 - boxes[..., :2] - size / 2
    return torch.cat((offset / size, (wanted / size).clamp(min=1e-4).log()), dim=-1)
