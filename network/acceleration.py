"""Acceleration: a network changed so that it gives the same results in less time.

What is changed, and what each step gives, is in `docs/performance.md`. Only parts whose kind is known are
changed; any other part, and so any network with torchvision's four stages, stays as it is.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from network.roi_align import RowRoIAlign
from network.winograd import WinogradConv2d

MASKS_AT_ONCE = 16
"""So that what lies between the two layers of the mask predictor stays in the processor's caches."""
LAST_LAYERS = {FastRCNNPredictor: ("cls_score", "bbox_pred"), MaskRCNNPredictor: ("mask_fcn_logits",)}
"""Layers whose results are compared with thresholds and stay in float32; `JoinedRPNHead` sees to its own."""


def accelerate(
    network: GeneralizedRCNN, device: torch.device, precision: torch.dtype = torch.float32
) -> None:
    """Changes `network` in place. Results are equal to rounding, of `precision`.

    Args:
        network: In evaluation mode; it cannot be trained afterwards, and its state dict is another.
        device: Where it will run.
        precision: Of most of its arithmetic: where it is not float32, that of the `torch.autocast` around it.
    """
    _fold_batch_norms(network)
    if type(network.roi_heads) is RoIHeads and type(network.roi_heads.mask_predictor) is MaskRCNNPredictor:
        network.roi_heads = OwnMaskHeads(network.roi_heads)
    if type(network.rpn) is RegionProposalNetwork and type(network.rpn.head) is RPNHead:
        network.rpn.head = JoinedRPNHead(network.rpn.head)
    if device.type == "cpu":
        _replace(network, RowRoIAlign)
        if precision == torch.float32:
            _replace(network, WinogradConv2d)
    if precision != torch.float32:
        _lower(network, precision)
    network.to(memory_format=torch.channels_last)


class OwnMaskHeads(nn.Module):
    """What `heads` give at inference; each instance's mask is computed for its own category only.

    Args:
        heads: Torchvision's, with its mask predictor, which gives a mask for each of the 91 labels.
    """

    def __init__(self, heads: RoIHeads) -> None:
        super().__init__()
        self.heads = heads
        last = heads.mask_predictor.mask_fcn_logits
        self.weight = nn.Parameter(last.weight.detach().flatten(1), requires_grad=False)
        self.bias = nn.Parameter(last.bias.detach(), requires_grad=False)

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """As `RoIHeads.forward` without targets."""
        heads = self.heads
        precision = next(iter(features.values())).dtype
        features = {name: feature.float() for name, feature in features.items()}  # for both poolers
        regions = heads.box_roi_pool(features, proposals, image_shapes).to(precision)
        predicted = heads.box_predictor(heads.box_head(regions))
        with torch.autocast(regions.device.type, enabled=False):  # which looks at each small step
            boxes, scores, labels = heads.postprocess_detections(*predicted, proposals, image_shapes)
        insides = heads.mask_head(heads.mask_roi_pool(features, boxes, image_shapes).to(precision))
        masks = torch.split(self._masks(insides, torch.cat(labels)), [len(some) for some in labels])
        found = zip(boxes, scores, labels, masks, strict=True)
        return [
            {"boxes": boxes, "scores": scores, "labels": labels, "masks": masks}
            for boxes, scores, labels, masks in found
        ], {}

    def _masks(self, regions: Tensor, labels: Tensor) -> Tensor:
        """(n, C, h, w) features of instances with `labels` to (n, 1, 2h, 2w) probabilities."""
        upsample = self.heads.mask_predictor.conv5_mask
        masks = []
        parts = torch.split(regions, MASKS_AT_ONCE), torch.split(labels, MASKS_AT_ONCE)
        for some, label in zip(*parts, strict=True):
            cells = functional.relu(upsample(some)).permute(0, 2, 3, 1)
            with torch.autocast(cells.device.type, enabled=False):
                weight = self.weight[label].unsqueeze(2)
                logits = cells.flatten(1, 2).float() @ weight + self.bias[label][:, None, None]
            masks.append(logits.view(len(some), 1, *cells.shape[1:3]))
        return torch.cat(masks).sigmoid()


class JoinedRPNHead(nn.Module):
    """What `head` gives; its two last layers, which read the same, are one, in float32.

    Args:
        head: Torchvision's, which gives objectness and box deltas for each anchor.
    """

    def __init__(self, head: RPNHead) -> None:
        super().__init__()
        self.conv = head.conv
        last = head.cls_logits, head.bbox_pred
        self.channels = [layer.out_channels for layer in last]
        self.weight = nn.Parameter(torch.cat([layer.weight for layer in last]), requires_grad=False)
        self.bias = nn.Parameter(torch.cat([layer.bias for layer in last]), requires_grad=False)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """As `RPNHead.forward`."""
        outputs = []
        for feature in features:
            hidden = self.conv(feature)
            with torch.autocast(hidden.device.type, enabled=False):
                joined = functional.conv2d(hidden.float(), self.weight, self.bias)
            outputs.append(torch.split(joined, self.channels, 1))
        return [logits for logits, _ in outputs], [deltas for _, deltas in outputs]


class Float32(nn.Module):
    """`module` in float32, whatever is around it: for layers whose results are compared with thresholds."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, values: Tensor) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            output: Tensor = self.module(values.float())
            return output


def _fold_batch_norms(network: nn.Module) -> None:
    """Moves each batch norm into the convolution before it, where it is known to follow that."""
    for parent in list(network.modules()):
        names = list(parent._modules)
        if isinstance(parent, nn.Sequential | IntermediateLayerGetter):  # which run what they list in order
            pairs = list(pairwise(names))
        elif isinstance(parent, BasicBlock | Bottleneck):
            pairs = [(f"conv{i}", f"bn{i}") for i in (1, 2, 3) if f"bn{i}" in names]
        else:
            continue
        for first, second in pairs:
            convolution, norm = parent.get_submodule(first), parent.get_submodule(second)
            if type(convolution) is nn.Conv2d and isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d):
                parent._modules[first] = fuse_conv_bn_eval(convolution, norm)
                parent._modules[second] = nn.Identity()


def _replace(network: nn.Module, faster: type[Any]) -> None:
    """Puts `faster` in the place of every part that it can replace."""
    for parent in list(network.modules()):
        for name, part in list(parent.named_children()):
            if faster.replaces(part):
                parent._modules[name] = faster(part)


def _lower(network: nn.Module, precision: torch.dtype) -> None:
    """Keeps the weights in `precision`, except for those of the last layers."""
    for parent in list(network.modules()):
        for name, part in list(parent.named_children()):
            if name in LAST_LAYERS.get(type(parent), ()):
                parent._modules[name] = Float32(part)
            elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                part.to(precision)
