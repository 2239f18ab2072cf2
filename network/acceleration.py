"""Acceleration: makes a network faster without changing its results.

`accelerate` replaces parts of the network by faster ones. It replaces only the parts whose type it knows, and
leaves all other parts as they are, so it accepts any network with torchvision's four stages.
`docs/performance.md` lists the steps and the time that each step saves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d

from network import kernels
from network.eight_bit import EightUpsample, Ranges, quantize
from network.precision import exact
from network.roi_align import RowRoIAlign
from network.winograd import WinogradConv2d

MASKS_AT_ONCE = 16
"""Masks computed together: few enough for the values between the mask predictor's two layers to stay in the
processor's caches."""
EPILOGUE = "triton"
"""How a graphics processor adds biases and rectifies after a convolution (`Rectified`): "triton", "cudnn" or
"torch". If Triton does not run, "triton" is "torch"."""
LEAST_CHANNELS = 16
"""With fewer channels, cuDNN's convolution that rectifies is far slower than its other ones."""
LAST_LAYERS = {FastRCNNPredictor: ("cls_score", "bbox_pred"), MaskRCNNPredictor: ("mask_fcn_logits",)}
"""Layers that stay in float32, because their results are compared with thresholds.

The last layers of the region proposals stay in float32 too; `JoinedRPNHead` takes care of them.
"""


def accelerate(
    network: GeneralizedRCNN,
    device: torch.device,
    precision: torch.dtype = torch.float32,
    ranges: Ranges | None = None,
) -> None:
    """Makes `network` faster, in place. Its results change only by rounding errors of `precision`.

    Args:
        network: A network in evaluation mode. It cannot be trained afterwards, and its state dict changes.
        device: The device that the network will run on.
        precision: The type of most of its arithmetic. If it is not float32, the caller must run the network
            inside `torch.autocast` with the same type.
        ranges: If given, known parts run in 8-bit integers (`network.eight_bit`), on a CPU and beside
            float32 only.
    """
    fold_batch_norms(network)
    if ranges is not None:
        quantize(network, ranges)
    if type(network.roi_heads) is RoIHeads and type(network.roi_heads.mask_predictor) is MaskRCNNPredictor:
        network.roi_heads = OwnMaskHeads(network.roi_heads)
    if type(network.rpn) is RegionProposalNetwork and type(network.rpn.head) is RPNHead:
        network.rpn.head = JoinedRPNHead(network.rpn.head)
    if device.type == "cuda":
        _rectify(network)
        _flatten_rows(network)
        _replace(network, MergedPyramid)
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
        by_product = isinstance(upsample, EightUpsample)
        if regions.device.type == "cuda" and upsample.kernel_size == upsample.stride == (2, 2):
            return self.masks_by_product(regions, labels)
        masks = []
        at_once = MASKS_AT_ONCE if regions.device.type == "cpu" else max(1, len(regions))
        parts = torch.split(regions, at_once), torch.split(labels, at_once)
        for some, label in zip(*parts, strict=True):
            if by_product:
                masks.append(self._logits(upsample(some), label, some.shape[2:]))
                continue
            cells = functional.relu(upsample(some)).permute(0, 2, 3, 1)
            with exact(cells.device):
                weight = self.weight[label].unsqueeze(2)
                logits = cells.flatten(1, 2).float() @ weight + self.bias[label][:, None, None]
            masks.append(logits.view(len(some), 1, *cells.shape[1:3]))
        return torch.cat(masks).sigmoid()

    def masks_by_product(self, regions: Tensor, labels: Tensor) -> Tensor:
        """Does the same as `masks` with one matrix product, whose result needs no other order."""
        upsample = self.heads.mask_predictor.conv5_mask
        weight = upsample.weight.permute(2, 3, 1, 0).flatten(0, 2)
        cells = regions.permute(0, 2, 3, 1).flatten(1, 2)
        cells = functional.relu(functional.linear(cells, weight, upsample.bias.repeat(4)), inplace=True)
        return self._logits(cells, labels, regions.shape[2:]).sigmoid()

    def _logits(self, cells: Tensor, labels: Tensor, size_hw: Sequence[int]) -> Tensor:
        """Turns the four cells that each cell of (h, w) became, one after the other, into (n, 1, 2h, 2w)."""
        count, (height, width) = len(cells), size_hw
        with exact(cells.device):
            cells = cells.view(count, height * width * 4, self.weight.shape[1]).float()
            logits = torch.bmm(cells, self.weight[labels].unsqueeze(2)) + self.bias[labels][:, None, None]
        quarters = logits.view(count, 1, height, width, 2, 2).transpose(3, 4)
        return quarters.reshape(count, 1, 2 * height, 2 * width)


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
                if hidden.device.type == "cuda":  # a matrix product adds the bias by itself
                    cells = hidden.permute(0, 2, 3, 1).float()
                    joined = functional.linear(cells, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
                else:
                    joined = functional.conv2d(hidden.float(), self.weight, self.bias)
            outputs.append(torch.split(joined, self.channels, 1))
        return [logits for logits, _ in outputs], [deltas for _, deltas in outputs]


class Rectified(nn.Module):
    """Gives relu(convolution(x)), or relu(convolution(x) + more), with fewer passes over the memory.

    Torch adds the bias, then `more`, and then rectifies: three passes. `EPILOGUE` says what is done instead.

    Args:
        convolution: A convolution with a bias.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, values: Tensor, more: Tensor | None = None) -> Tensor:
        own = self.convolution
        assert own.bias is not None
        if values.device.type == "cuda":
            rest: Any = own.stride, own.padding, own.dilation, own.groups
            if EPILOGUE == "cudnn" and own.in_channels >= LEAST_CHANNELS:
                values = values.to(own.weight.dtype)
                if more is None:
                    return torch.cudnn_convolution_relu(values, own.weight, own.bias, *rest)
                return torch.cudnn_convolution_add_relu(values, own.weight, more, 1.0, own.bias, *rest)
            if EPILOGUE != "torch" and kernels.work(values.device):
                found = functional.conv2d(values, own.weight, None, *rest)
                ordered = [part for part in (found, more) if part is not None]
                if all(part.is_contiguous(memory_format=torch.channels_last) for part in ordered):
                    return kernels.finish_(found, own.bias, more)
                found = found.add_(own.bias[:, None, None])
                return functional.relu(found if more is None else found.add_(more), inplace=True)
        found = own(values)
        return functional.relu(found if more is None else found.add_(more), inplace=True)


class RectifiedBottleneck(nn.Module):
    """Gives the same as `block`, whose batch norms are folded, with `Rectified` convolutions."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (Rectified(c) for c in (block.conv1, block.conv2, block.conv3))
        self.downsample = block.downsample
        if isinstance(self.downsample, nn.Sequential):
            (first, *_) = self.downsample
            assert block.conv3.bias is not None
            if isinstance(first.bias, Tensor):  # the sum of both branches needs only one bias
                block.conv3.bias.data += first.bias.data
                first.register_parameter("bias", None)

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Whether `module` is torchvision's block with folded batch norms."""
        if type(module) is not Bottleneck or type(module.relu) is not nn.ReLU:
            return False
        below = module.downsample
        return all(type(getattr(module, f"bn{i}")) is nn.Identity for i in (1, 2, 3)) and (
            below is None
            or (type(below) is nn.Sequential and [type(p) for p in below] == [nn.Conv2d, nn.Identity])
        )

    def forward(self, values: Tensor) -> Tensor:
        inside = self.conv2(self.conv1(values))
        found: Tensor = self.conv3(inside, values if self.downsample is None else self.downsample(values))
        return found


class MergedPyramid(nn.Module):
    """Gives the same as `pyramid`, but adds the bias and the coarser level to each level in one pass."""

    def __init__(self, pyramid: FeaturePyramidNetwork) -> None:
        super().__init__()
        self.inner_blocks, self.layer_blocks = pyramid.inner_blocks, pyramid.layer_blocks
        self.extra_blocks = pyramid.extra_blocks

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Whether `module` is torchvision's pyramid with folded batch norms."""
        if type(module) is not FeaturePyramidNetwork:
            return False
        both: Any = module.inner_blocks, module.layer_blocks
        return all(
            type(block[0]) is nn.Conv2d
            and block[0].bias is not None
            and all(type(part) is nn.Identity for part in list(block)[1:])
            for block in chain(*both)
        )

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Does the same as `FeaturePyramidNetwork.forward`."""
        names, maps = list(features), list(features.values())
        last: Tensor | None = None
        results: list[Tensor] = []
        for values, inner, layer in reversed(
            list(zip(maps, self.inner_blocks, self.layer_blocks, strict=True))
        ):
            last = self._convolve(inner[0], values, last)
            results.insert(0, self._convolve(layer[0], last, None))
        if self.extra_blocks is not None:
            results, names = self.extra_blocks(results, maps, names)
        return OrderedDict(zip(names, results, strict=True))

    @staticmethod
    def _convolve(own: nn.Conv2d, values: Tensor, coarser: Tensor | None) -> Tensor:
        """Convolves `values`, and adds the coarser level."""
        if values.device.type == "cuda" and EPILOGUE != "torch" and kernels.work(values.device):
            found = functional.conv2d(values, own.weight, None, own.stride, own.padding)
            ordered = [part for part in (found, coarser) if part is not None]
            double = coarser is None or found.shape[2:] == tuple(2 * side for side in coarser.shape[2:])
            if double and all(p.is_contiguous(memory_format=torch.channels_last) for p in ordered):
                assert own.bias is not None
                return kernels.finish_(found, own.bias, coarser, rectify=False, doubled=True)
        found = cast("Tensor", own(values))
        if coarser is None:
            return found
        return found + functional.interpolate(coarser, size=found.shape[2:], mode="nearest")


class RowsHead(nn.Module):
    """Gives the same as `head`, but reads channels-last regions in their order, without a copy.

    Args:
        head: Torchvision's box head.
        channels: The number of channels of a region.
    """

    def __init__(self, head: TwoMLPHead, channels: int) -> None:
        super().__init__()
        self.fc6, self.fc7 = _by_rows(head.fc6, channels), head.fc7

    def forward(self, regions: Tensor) -> Tensor:
        inside = functional.relu(self.fc6(regions.permute(0, 2, 3, 1).flatten(1)), inplace=True)
        return functional.relu(self.fc7(inside), inplace=True)


class FlattenRows(nn.Module):
    """Flattens channels-last regions in their order."""

    def forward(self, regions: Tensor) -> Tensor:
        return regions.permute(0, 2, 3, 1).flatten(1)


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


def fold_batch_norms(network: nn.Module) -> None:
    """Folds each batch norm, in place, into the convolution that it is known to follow directly."""
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


def _rectify(network: nn.Module) -> None:
    """Replaces each convolution that a ReLU follows by a `Rectified`."""
    _replace(network, RectifiedBottleneck)
    for parent in list(network.modules()):
        if not isinstance(parent, nn.Sequential | IntermediateLayerGetter):
            continue
        names = [name for name, part in parent.named_children() if type(part) is not nn.Identity]
        for first, second in pairwise(names):
            convolution, then = parent.get_submodule(first), parent.get_submodule(second)
            if type(convolution) is nn.Conv2d and convolution.bias is not None and type(then) is nn.ReLU:
                parent._modules[first] = Rectified(convolution)
                parent._modules[second] = nn.Identity()


def _flatten_rows(network: GeneralizedRCNN) -> None:
    """Lets the box head read channels-last regions without a copy."""
    if type(network.roi_heads) is not OwnMaskHeads:
        return
    heads = network.roi_heads.heads
    down, across = heads.box_roi_pool.output_size
    if type(heads.box_head) is TwoMLPHead:
        heads.box_head = RowsHead(heads.box_head, heads.box_head.fc6.in_features // (down * across))
    elif isinstance(heads.box_head, FastRCNNConvFCHead):
        for first, second in pairwise(list(heads.box_head._modules)):
            linear = heads.box_head.get_submodule(second)
            if type(heads.box_head.get_submodule(first)) is nn.Flatten and type(linear) is nn.Linear:
                heads.box_head._modules[first] = FlattenRows()
                heads.box_head._modules[second] = _by_rows(linear, linear.in_features // (down * across))


def _by_rows(linear: nn.Linear, channels: int) -> nn.Linear:
    """Orders the inputs of `linear` by cells first, then by channels."""
    weight = linear.weight.data.view(linear.out_features, channels, -1).transpose(1, 2).flatten(1)
    linear.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    return linear


def _lower(network: nn.Module, precision: torch.dtype) -> None:
    """Converts the weights to `precision`, except for the last layers."""
    for parent in list(network.modules()):
        for name, part in list(parent.named_children()):
            if name in LAST_LAYERS.get(type(parent), ()):
                parent._modules[name] = Float32(part)
            elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                part.to(precision)
