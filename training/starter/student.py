"""Holds the student, which is the `starter` network in training, and computes its losses.

A loss measures the distance between the student's answers or maps and the teacher's. `Student.losses` returns
all losses of a batch of views. `total` adds them up with their weights.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from training.common import MatrixRoIAlign, autocast
from training.starter.teacher import BOX_WEIGHTS, Maps, encode
from training.starter.views import Batch

LOSS_WEIGHTS = {
    "stages": 1.0,
    "features": 2.0,
    "objectness": 2.0,
    "proposals": 3.0,
    "classes": 1.0,
    "boxes": 1.0,
    "masks": 1.0,
    "truth": 0.5,
}
BACKGROUND_WEIGHT = 0.05
"""The weight of a place where the teacher sees no object.

A place where the teacher is sure of an object has about weight 1.
"""


class Scale(nn.Module):
    """Scales each channel by a stored mean and standard deviation.

    `take` stores the statistics of some maps. After scaling, each channel of these maps has mean 0 and
    standard deviation 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))

    def take(self, maps: Tensor) -> None:
        """Stores the mean and the standard deviation of each channel of maps (N, C, H, W)."""
        self.mean.copy_(maps.mean(dim=(0, 2, 3))[:, None, None])
        self.std.copy_(maps.std(dim=(0, 2, 3))[:, None, None].clamp(min=1e-3))

    def forward(self, maps: Tensor) -> Tensor:
        """Returns the scaled maps (N, C, H, W)."""
        scaled: Tensor = (maps - self.mean) / self.std
        return scaled


class Student(nn.Module):
    """The network in training, and the scales for the teacher's maps.

    The student learns the scaled maps. The scales are not part of the published weights.

    Args:
        network: A network from `network.architectures.starter`. It is trained in place.
        precision: The precision of most of the arithmetic.
        device: The device of the training.
    """

    def __init__(self, network: MaskRCNN, precision: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.network = network
        heads = network.roi_heads
        self.stages: dict[str, nn.Sequential] = {
            "backbone": network.backbone.stages,
            "rpn": network.rpn.head.conv,
            "box": heads.box_head.stages,
            "mask": heads.mask_head.stages,
        }
        self.scales: dict[str, list[Scale]] = {}
        for part, stages in self.stages.items():
            self.scales[part] = known = []
            before = self.scales["backbone"][-1:]  # the other parts start from the backbone's map
            for stage in stages:
                # A stage that adds to its input keeps the scale of its input.
                before = before if _skips(stage) else [Scale([*stage.parameters()][-1].shape[0])]
                known += before
        self._registered = nn.ModuleList(dict.fromkeys(itertools.chain(*self.scales.values())))
        if device.type == "cpu":
            heads.box_roi_pool = MatrixRoIAlign(heads.box_roi_pool)
            heads.mask_roi_pool = MatrixRoIAlign(heads.mask_roi_pool)
        if precision != torch.float32:
            inside = itertools.chain(*self.stages.values())
            for module in (*inside, heads.box_head.last, heads.mask_head.last, heads.mask_predictor):
                autocast(module, precision, device)
        self.to(device).to(memory_format=torch.channels_last)

    def standardize(self, maps: Maps) -> None:
        """Sets the scales from these maps of the teacher."""
        taken: set[Scale] = set()
        for part, scales in self.scales.items():
            for scale, map_ in zip(scales, maps[part], strict=True):
                if scale not in taken:
                    scale.take(map_)
                    taken.add(scale)

    def losses(self, batch: Batch, maps: Maps | None = None) -> dict[str, Tensor]:
        """Returns the distances between the student's and the teacher's answers about `batch.images`.

        Args:
            batch: The images with the teacher's answers.
            maps: The teacher's `stages` for `batch`. If they are given, each stage is measured by itself. Its
                input is then the teacher's map before the stage.

        Returns:
            The losses by their names in `LOSS_WEIGHTS`, without "truth". "masks" is there only if the teacher
            saw an object. "stages" is there only with `maps`, and "features" only without `maps`.
        """
        network, images = self.network, batch.images
        sizes = [(images.shape[2], images.shape[3])] * len(images)
        losses: dict[str, Tensor] = {}
        inputs = self._normalized(images).contiguous(memory_format=torch.channels_last)
        level = self._through("backbone", inputs, maps, losses)
        features = {"0": level}
        if maps is None:
            losses["features"] = F.mse_loss(level, self.scales["backbone"][-1](batch.features))

        seen_here = self._through("rpn", level, maps, losses)
        logits = network.rpn.head.cls_logits(seen_here).permute(0, 2, 3, 1)
        deltas = network.rpn.head.bbox_pred(seen_here).unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2)
        entropy = F.binary_cross_entropy_with_logits(logits, batch.objectness, reduction="none")
        losses["objectness"] = _mean(entropy, batch.objectness + BACKGROUND_WEIGHT)
        apart = F.smooth_l1_loss(deltas, batch.deltas, beta=1 / 9, reduction="none").sum(dim=-1)
        losses["proposals"] = _mean(apart, batch.objectness)

        heads = network.roi_heads
        pooled = self._through("box", heads.box_roi_pool(features, batch.regions, sizes), maps, losses)
        logits, deltas = heads.box_predictor(heads.box_head.last(pooled))
        seen = 1 - batch.classes[:, 0]
        divergence = F.kl_div(logits.log_softmax(dim=1), batch.classes, reduction="none").sum(dim=1)
        losses["classes"] = _mean(divergence, seen + BACKGROUND_WEIGHT)
        # Every object teaches the boxes and masks of all classes, because most classes have few examples.
        wanted = encode(torch.cat(batch.regions), batch.boxes) * torch.tensor(BOX_WEIGHTS).to(images)
        deltas = deltas.unflatten(1, (-1, 4))[:, 1:]
        apart = F.smooth_l1_loss(deltas, wanted[:, None].expand_as(deltas), reduction="none").sum(dim=-1)
        losses["boxes"] = _mean(apart.mean(dim=1), seen)

        if len(batch.masks):
            pooled = heads.mask_roi_pool(features, batch.mask_boxes, sizes)
            pooled = self._through("mask", pooled, maps, losses)
            logits = heads.mask_predictor(heads.mask_head.last(pooled))[:, 1:]
            wanted = batch.masks[:, None].expand_as(logits)
            losses["masks"] = F.binary_cross_entropy_with_logits(logits, wanted)
        return losses

    def _through(self, part: str, inputs: Tensor, maps: Maps | None, losses: dict[str, Tensor]) -> Tensor:
        """Returns the output of a part's stages.

        Without `maps`, returns the student's output for `inputs`. With the teacher's `maps`, returns the last
        map of the part, scaled. Then the distance between each stage's output and the teacher's map is added
        to `losses["stages"]`, as a share of what the stage has to learn. A fine map has more cells than
        needed, so only some of its images are used.
        """
        stages = self.stages[part]
        if maps is None:
            through: Tensor = stages(inputs)
            return through
        wanted: list[Tensor] = [
            scale(map_).contiguous(memory_format=torch.channels_last)
            for scale, map_ in zip(self.scales[part], maps[part], strict=True)
        ]
        for stage, given, map_ in zip(stages, [inputs, *wanted], wanted, strict=False):
            count = math.ceil(len(map_) * wanted[-1].shape[3] / map_.shape[3])
            given, map_ = given[:count], map_[:count]
            unlearnt = (map_ - given if _skips(stage) else map_).square().mean()
            distance = F.mse_loss(stage(given), map_) / unlearnt
            losses["stages"] = losses.get("stages", torch.zeros_like(distance)) + distance
        return wanted[-1]

    def _normalized(self, images: Tensor) -> Tensor:
        transform = self.network.transform
        mean, std = torch.tensor(transform.image_mean), torch.tensor(transform.image_std)
        return (images - mean.to(images)[:, None, None]) / std.to(images)[:, None, None]


def _skips(stage: nn.Module) -> bool:
    """Returns whether the stage adds its result to its input."""
    return bool(getattr(stage, "skip", False))


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum() / weights.sum()


def total(losses: dict[str, Tensor]) -> Tensor:
    """Returns the weighted sum of the losses, which the training minimizes."""
    return torch.stack([LOSS_WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
