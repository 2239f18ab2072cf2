"""Acceleration: makes a network faster without changing its results.

`accelerate` replaces parts of the network by faster ones. It replaces only the parts whose type it knows, and
leaves all other parts as they are, so it accepts any network with torchvision's four stages.
`docs/performance.md` lists the steps and the time that each step saves.
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
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from network.precision import exact
from network.roi_align import RowRoIAlign
from network.winograd import WinogradConv2d

MASKS_AT_ONCE = 16
"""Masks computed together: few enough for the values between the mask predictor's two layers to stay in the
processor's caches."""
LAST_LAYERS = {FastRCNNPredictor: ("cls_score", "bbox_pred"), MaskRCNNPredictor: ("mask_fcn_logits",)}
"""Layers that stay in float32, because their results are compared with thresholds.

The last layers of the region proposals stay in float32 too; `JoinedRPNHead` takes care of them.
"""


def accelerate(
    network: GeneralizedRCNN, device: torch.device, precision: torch.dtype = torch.float32
) -> None:
    """Makes `network` faster, in place. Its results change only by rounding errors of `precision`.

    Args:
        network: A network in evaluation mode. It cannot be trained afterwards, and its state dict changes.
        device: The device that the network will run on.
        precision: The type of most of its arithmetic. If it is not float32, the caller must run the network
            inside `torch.autocast` with the same type.
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
    if precision != torch.float32 or device.type == "cuda":
        _lower(network, precision)
    if precision != torch.float32 and hasattr(network.rpn, "anchor_generator"):
        network.rpn.anchor_generator = Float32Anchors(network.rpn.anchor_generator)
    network.to(memory_format=torch.channels_last)


class OwnMaskHeads(nn.Module):
    """Gives the same as `heads` at inference, but computes each instance's mask for its own label only.

    Args:
        heads: Torchvision's heads. Their mask predictor computes a mask for each of the 91 labels.
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
        """Does the same as `RoIHeads.forward` without targets."""
        heads = self.heads
        precision = next(iter(features.values())).dtype
        features = {name: feature.float() for name, feature in features.items()}  # for both poolers
        regions = heads.box_roi_pool(features, proposals, image_shapes).to(precision)
        predicted = heads.box_predictor(heads.box_head(regions))
        with exact(regions.device):  # and autocast slows down small steps
            boxes, scores, labels = heads.postprocess_detections(*predicted, proposals, image_shapes)
        insides = heads.mask_head(heads.mask_roi_pool(features, boxes, image_shapes).to(precision))
        masks = torch.split(self.masks(insides, torch.cat(labels)), [len(some) for some in labels])
        found = zip(boxes, scores, labels, masks, strict=True)
        return [
            {"boxes": boxes, "scores": scores, "labels": labels, "masks": masks}
            for boxes, scores, labels, masks in found
        ], {}

    def masks(self, regions: Tensor, labels: Tensor) -> Tensor:
        """Turns (n, C, h, w) features of instances with `labels` into (n, 1, 2h, 2w) mask probabilities."""
        upsample = self.heads.mask_predictor.conv5_mask
        masks = []
        at_once = MASKS_AT_ONCE if regions.device.type == "cpu" else max(1, len(regions))
        parts = torch.split(regions, at_once), torch.split(labels, at_once)
        for some, label in zip(*parts, strict=True):
            cells = functional.relu(upsample(some)).permute(0, 2, 3, 1)
            with exact(cells.device):
                weight = self.weight[label].unsqueeze(2)
                logits = cells.flatten(1, 2).float() @ weight + self.bias[label][:, None, None]
            masks.append(logits.view(len(some), 1, *cells.shape[1:3]))
        return torch.cat(masks).sigmoid()


class JoinedRPNHead(nn.Module):
    """Gives the same as `head`, but computes its two last layers as one layer, in float32.

    The two layers can be joined because they read the same features.

    Args:
        head: Torchvision's head. It gives objectness and box deltas for each anchor.
    """

    def __init__(self, head: RPNHead) -> None:
        super().__init__()
        self.conv = head.conv
        last = head.cls_logits, head.bbox_pred
        self.channels = [layer.out_channels for layer in last]
        self.weight = nn.Parameter(torch.cat([layer.weight for layer in last]), requires_grad=False)
        self.bias = nn.Parameter(torch.cat([layer.bias for layer in last]), requires_grad=False)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Does the same as `RPNHead.forward`."""
        outputs = []
        for feature in features:
            hidden = self.conv(feature)
            with exact(hidden.device):
                joined = functional.conv2d(hidden.float(), self.weight, self.bias)
            outputs.append(torch.split(joined, self.channels, 1))
        return [logits for logits, _ in outputs], [deltas for _, deltas in outputs]


class Float32(nn.Module):
    """Runs `module` in true float32, also inside `torch.autocast` and where TF32 is allowed.

    It is made for layers whose results are compared with thresholds.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, values: Tensor) -> Tensor:
        with exact(values.device):
            output: Tensor = self.module(values.float())
            return output


class Float32Anchors(nn.Module):
    """Gives the anchors of `generator` in float32, whatever the type of the features.

    Torchvision rounds anchors to the features' type. Near 1000 px two neighbouring bfloat16 numbers are 4 px
    apart.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: ImageList, features: list[Tensor]) -> list[Tensor]:
        """Does the same as `AnchorGenerator.forward`, which reads only size, type and device of features."""
        anchors: list[Tensor] = self.generator(images, [feature[:, :0].float() for feature in features])
        return anchors


def _fold_batch_norms(network: nn.Module) -> None:
    """Folds each batch norm into the convolution before it, where we know that it directly follows."""
    for parent in list(network.modules()):
        names = list(parent._modules)
        if isinstance(parent, nn.Sequential | IntermediateLayerGetter):  # both run their children in order
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
    """Replaces each part of `network` that `faster` accepts by a `faster` made from it."""
    for parent in list(network.modules()):
        for name, part in list(parent.named_children()):
            if faster.replaces(part):
                parent._modules[name] = faster(part)


def _lower(network: nn.Module, precision: torch.dtype) -> None:
    """Converts the weights to `precision`, except for the last layers."""
    for parent in list(network.modules()):
        for name, part in list(parent.named_children()):
            if name in LAST_LAYERS.get(type(parent), ()):
                parent._modules[name] = Float32(part)
            elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                part.to(precision)
