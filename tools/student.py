"""Student: the `starter` network in training, and how far its answers are from its teacher's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from tools.teacher import BOX_WEIGHTS, encode
from tools.training import MatrixRoIAlign, autocast
from tools.views import Batch, View

LOSS_WEIGHTS = {
    "features": 2.0,
    "objectness": 2.0,
    "proposals": 3.0,
    "classes": 1.0,
    "boxes": 1.0,
    "masks": 1.0,
    "truth": 0.5,
}
BACKGROUND_WEIGHT = 0.05
"""How much a place counts in which the teacher sees nothing, against 1 where it is sure of an object."""

DROPPED = 0.25
"""The part of a region's channels that is left out in training, lest the box head learn regions by heart."""


class Student(nn.Module):
    """The network, and an adapter through which its feature map is compared with the teacher's.

    The adapter, and the mean and deviation of the teacher's features, which let each channel count the same,
    are not part of what is published.

    Args:
        network: As `networks.starter` makes it; it is trained.
        channels: Of the teacher's feature map.
        precision: Of most of the arithmetic.
    """

    def __init__(
        self, network: MaskRCNN, channels: int, precision: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        self.network = network
        self.adapter = nn.Conv2d(network.backbone.out_channels, channels, 1)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))
        heads = network.roi_heads
        if device.type == "cpu":
            heads.box_roi_pool = MatrixRoIAlign(heads.box_roi_pool)
            heads.mask_roi_pool = MatrixRoIAlign(heads.mask_roi_pool)
        if precision != torch.float32:
            parts = (network.backbone, network.rpn.head, heads.box_head, heads.mask_head)
            for part in (*parts, heads.mask_predictor):
                autocast(part, precision, device)
        self.to(device).to(memory_format=torch.channels_last)

    def standardize(self, views: Sequence[View]) -> None:
        """Takes mean and deviation of the teacher's features from these views."""
        features = torch.stack([torch.from_numpy(view.features).float() for view in views])
        self.mean.copy_(features.mean(dim=(0, 2, 3))[:, None, None])
        self.std.copy_(features.std(dim=(0, 2, 3))[:, None, None].clamp(min=1e-3))

    def losses(self, batch: Batch, images: Tensor) -> dict[str, Tensor]:
        """How far the answers about `images` are from the teacher's about `batch.images`.

        Args:
            images: (N, 3, side, side) in 0 to 1: those of `batch`, perhaps in other colours.

        Returns:
            Of `LOSS_WEIGHTS` all but "truth"; and "masks" only if the teacher saw any object.
        """
        network, sizes = self.network, [(images.shape[2], images.shape[3])] * len(images)
        features = network.backbone(self._normalized(images).contiguous(memory_format=torch.channels_last))
        (level,) = features.values()
        losses = {"features": F.mse_loss(self.adapter(level), (batch.features - self.mean) / self.std)}

        (logits,), (deltas,) = network.rpn.head([level])
        logits = logits.permute(0, 2, 3, 1)
        deltas = deltas.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2)
        entropy = F.binary_cross_entropy_with_logits(logits, batch.objectness, reduction="none")
        losses["objectness"] = _mean(entropy, batch.objectness + BACKGROUND_WEIGHT)
        apart = F.smooth_l1_loss(deltas, batch.deltas, beta=1 / 9, reduction="none").sum(dim=-1)
        losses["proposals"] = _mean(apart, batch.objectness)

        heads = network.roi_heads
        pooled = heads.box_roi_pool(features, batch.regions, sizes)
        pooled = F.dropout2d(pooled, DROPPED, self.training)
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        seen = 1 - batch.classes[:, 0]
        divergence = F.kl_div(logits.log_softmax(dim=1), batch.classes, reduction="none").sum(dim=1)
        losses["classes"] = _mean(divergence, seen + BACKGROUND_WEIGHT)
        # Boxes and masks of all classes learn from every object: few are the examples of most of the 80.
        wanted = encode(torch.cat(batch.regions), batch.boxes) * torch.tensor(BOX_WEIGHTS).to(images)
        deltas = deltas.unflatten(1, (-1, 4))[:, 1:]
        apart = F.smooth_l1_loss(deltas, wanted[:, None].expand_as(deltas), reduction="none").sum(dim=-1)
        losses["boxes"] = _mean(apart.mean(dim=1), seen)

        if len(batch.masks):
            pooled = heads.mask_roi_pool(features, batch.mask_boxes, sizes)
            logits = heads.mask_predictor(heads.mask_head(pooled))[:, 1:]
            wanted = batch.masks[:, None].expand_as(logits)
            losses["masks"] = F.binary_cross_entropy_with_logits(logits, wanted)
        return losses

    def _normalized(self, images: Tensor) -> Tensor:
        transform = self.network.transform
        mean, std = torch.tensor(transform.image_mean), torch.tensor(transform.image_std)
        return (images - mean.to(images)[:, None, None]) / std.to(images)[:, None, None]


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum() / weights.sum()


def total(losses: dict[str, Tensor]) -> Tensor:
    """The weighted sum, which is made small."""
    return torch.stack([LOSS_WEIGHTS[name] * loss for name, loss in losses.items()]).sum()


def recoloured(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, 3, H, W) in 0 to 1 with some other saturation, contrast, brightness and white balance."""

    def factor(spread: float, channels: int = 1) -> Tensor:
        drawn = torch.rand(len(images), channels, 1, 1, generator=generator)
        return (1 + spread * (2 * drawn - 1)).to(images.device)

    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * factor(0.5)
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (middle + (images - middle) * factor(0.4)) * factor(0.3) * factor(0.1, channels=3)
    return images.clamp(0, 1)
