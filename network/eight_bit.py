"""Eight bits: runs convolutions and linear layers in 8-bit integers, on a CPU.

Numbers between layers are `Codes`: unsigned 8-bit integers on a `Grid`, number = scale * (code - zero). Each
layer reads codes, multiplies them with 8-bit weights, adds up in 32 bits, and writes codes on the grid that
the next layer reads. ReLU and the sum of a residual block happen in the same step. So a value between two
layers is never float. Weights have one scale for each output channel, and are symmetric.

The scheme is that of Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (2018), section 2. `network.calibration` chooses the grids. Torch's
operators `onednn.qconv2d_pointwise` and `onednn.qlinear_pointwise` do the arithmetic.

`quantize` replaces the parts of a network that consist of known layers only, and leaves all others as they
are. Each replaced part takes float32 too, and the last layers, whose results meet thresholds, stay float32.
"""

from __future__ import annotations

import functools
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from network.architectures import InvertedResidual

FEATURES = ("avx512_vnni", "avx_vnni", "amx_int8")
"""Processor features, as torch names them, with which products of 8-bit integers are fast and exact.

Without them, oneDNN adds pairs of products in 16 bits, where they may overflow.
"""
MOST = 255
"""The largest code."""
MOST_WEIGHT = 127
AT_ONCE = 1 << 17
"""Numbers encoded together: few enough to stay in the processor's caches."""

Ranges: TypeAlias = Mapping[str, tuple[float, float]]
"""The lowest and the highest number that a layer's input holds, by the layer's name, and that its output
holds, by the name with `OUTPUT` behind it."""
OUTPUT = ":output"
logger = logging.getLogger(__name__)


class Grid(NamedTuple):
    """The numbers that codes stand for: scale * (code - zero)."""

    scale: float
    zero: int
    """The code of the number 0: padding must be exact."""


PLAIN = Grid(1.0, 0)
"""The grid that operators expect where they write float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Numbers in 8 bits. They can stand in for a float32 tensor where only its `shape` is read, or `float`.

    Args:
        values: uint8, with channels last in memory if it has four axes.
        grid: What the values stand for.
    """

    values: Tensor
    grid: Grid

    @property
    def shape(self) -> torch.Size:
        return self.values.shape

    @property
    def device(self) -> torch.device:
        return self.values.device

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def float(self) -> Tensor:
        """Returns the numbers as float32."""
        return self.values.float().sub_(self.grid.zero).mul_(self.grid.scale)


def grid_of(low: float, high: float) -> Grid:
    """Returns the grid that holds 0 exactly and spans `low` to `high`, each of which may be 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-12) / MOST
    return Grid(scale, round(-low / scale))


def encode(values: Tensor, grid: Grid) -> Codes:
    """Returns the nearest codes of float32 `values`, with channels last if there are four axes."""
    if values.dim() == 4:
        values = values.contiguous(memory_format=torch.channels_last)
    codes = torch.empty_like(values, dtype=torch.uint8)
    flat = values.permute(0, 2, 3, 1).flatten() if values.dim() == 4 else values.flatten()
    written = codes.permute(0, 2, 3, 1).view(-1) if values.dim() == 4 else codes.view(-1)
    half = torch.tensor(grid.zero + 0.5)  # conversion to an integer cuts, so this rounds
    for some, out in zip(torch.split(flat, AT_ONCE), torch.split(written, AT_ONCE), strict=True):
        out.copy_(torch.add(half, some, alpha=1 / grid.scale).clamp_(0, MOST))
    return Codes(codes, grid)


@functools.cache
def able() -> bool:
    """Whether this processor and this torch can run 8-bit layers. Tries the operators once."""
    having: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if not any(having.get(name) for name in FEATURES):
        return False
    try:
        with torch.inference_mode():
            layer = nn.Conv2d(4, 4, 3)
            point = nn.Conv2d(4, 4, 1)
            codes = Codes(torch.zeros(1, 4, 4, 4, dtype=torch.uint8), Grid(0.1, 3))
            for each in (layer, point):
                found = convolution(each, codes.grid, Grid(0.1, 0), True)(codes)
                convolution(each, codes.grid, Grid(0.1, 0), True)(codes, found)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        logger.warning("This torch has no operators for 8-bit layers: %s", str(error).splitlines()[0])
        return False
    return True


class EightLinear(nn.Module):
    """Gives about the same as a linear layer, with 8-bit weights.

    Args:
        weight: (outputs, inputs) float32.
        bias: (outputs,) float32.
        source: The grid that float32 inputs are encoded on. Codes bring their own grid.
        target: The grid of the result. None: the result is float32.
        rectify: Whether a ReLU follows.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, source: Grid, target: Grid | None, rectify: bool
    ) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.rectify = "relu" if rectify else "none"
        weight, self.scales, self.zeros, self.bias = _eight_bit_weight(weight, bias)
        self.weight = torch.ops.onednn.qlinear_prepack(weight, None)

    def forward(self, rows: Tensor | Codes, more: Codes | None = None) -> Any:
        """Turns (n, inputs) into (n, outputs). Adds `more` first; its memory may become the result's."""
        codes = rows if isinstance(rows, Codes) else encode(rows, self.source)
        read = codes.values, *codes.grid, self.weight, self.scales, self.zeros
        written = *(self.target or PLAIN), torch.float32 if self.target is None else torch.uint8
        if more is None:
            found = torch.ops.onednn.qlinear_pointwise(*read, self.bias, *written, self.rectify, [], "")
        else:
            found = torch.ops.onednn.qlinear_pointwise.binary(
                *read, more.values, self.bias, *written, *more.grid, "sum", 1.0, self.rectify, [], ""
            )
        return found if self.target is None else Codes(found, self.target)


class EightPoint(nn.Module):
    """Gives about the same as a 1x1 convolution, as a linear layer.

    OneDNN chooses the order of a 1x1 convolution's weights by the size of the picture. For another size it
    would order them again in each run, which takes ten times as long as the layer itself.
    """

    def __init__(self, own: nn.Conv2d, source: Grid, target: Grid | None, rectify: bool) -> None:
        super().__init__()
        self.rows = EightLinear(own.weight.flatten(1), own.bias, source, target, rectify)
        self.stride = own.stride

    def forward(self, values: Tensor | Codes, more: Codes | None = None) -> Any:
        """Turns (N, C, H, W) into (N, K, H, W). Adds `more` first; its memory may become the result's."""
        codes = values if isinstance(values, Codes) else encode(values, self.rows.source)
        cells = codes.values.permute(0, 2, 3, 1)[:, :: self.stride[0], :: self.stride[1]]
        added = None if more is None else Codes(more.values.permute(0, 2, 3, 1).flatten(0, 2), more.grid)
        found = self.rows(Codes(cells.flatten(0, 2), codes.grid), added)
        values = found.values if isinstance(found, Codes) else found
        values = values.view(*cells.shape[:3], values.shape[1]).permute(0, 3, 1, 2)
        return Codes(values, found.grid) if isinstance(found, Codes) else values


class EightConv2d(nn.Module):
    """Gives about the same as a convolution, with 8-bit weights.

    Args:
        own: A convolution that `_is_known` accepts.
        source, target, rectify: As for `EightLinear`.
    """

    def __init__(self, own: nn.Conv2d, source: Grid, target: Grid | None, rectify: bool) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.rectify = "relu" if rectify else "none"
        self.shape = list(own.stride), list(own.padding), list(own.dilation), own.groups
        weight, self.scales, self.zeros, self.bias = _eight_bit_weight(own.weight, own.bias)
        self.weight = torch.ops.onednn.qconv_prepack(weight, self.scales, *source, *self.shape, None)

    def forward(self, values: Tensor | Codes, more: Codes | None = None) -> Any:
        """Turns (N, C, H, W) into (N, K, H, W). Adds `more` first; its memory may become the result's."""
        codes = values if isinstance(values, Codes) else encode(values, self.source)
        read = codes.values, *codes.grid, self.weight, self.scales, self.zeros
        written = *(self.target or PLAIN), torch.float32 if self.target is None else torch.uint8
        if more is None:
            found = torch.ops.onednn.qconv2d_pointwise(
                *read, self.bias, *self.shape, *written, self.rectify, [], ""
            )
        else:
            found = torch.ops.onednn.qconv2d_pointwise.binary(
                *read, more.values, self.bias, *self.shape, *written, *more.grid,
                "sum", 1.0, None if self.rectify == "none" else self.rectify, [], None,
            )  # fmt: skip
        return found if self.target is None else Codes(found, self.target)


def convolution(own: nn.Conv2d, source: Grid, target: Grid | None, rectify: bool) -> nn.Module:
    """Returns the 8-bit layer for a convolution."""
    point = own.kernel_size == (1, 1) and own.padding == (0, 0) and own.groups == 1
    return (EightPoint if point else EightConv2d)(own, source, target, rectify)


def _eight_bit_weight(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns a weight in int8, the scale and the zero of each output, and the bias."""
    weight = weight.detach().float()
    scales = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / MOST_WEIGHT
    codes = (weight / scales.view(-1, *[1] * (weight.dim() - 1))).round_().to(torch.int8)
    outputs = len(weight)
    bias = torch.zeros(outputs) if bias is None else bias.detach().float().clone()
    return codes.contiguous(), scales, torch.zeros(outputs, dtype=torch.int32), bias


class EightPool(nn.Module):
    """Gives the same as a 3x3 max pooling with stride 2 and padding 1, for codes on any grid.

    The padding counts as the lowest number, and 0 is the lowest code. Torch's own pooling cannot read 8-bit
    pictures of this size.
    """

    def forward(self, codes: Codes) -> Codes:
        rows = codes.values.permute(0, 2, 3, 1)
        down, across = (rows.shape[1] + 1) // 2, (rows.shape[2] + 1) // 2
        rows = functional.pad(rows, (0, 0, 1, 1, 1, 1))
        kept = [rows[:, i : i + 2 * down - 1 : 2] for i in range(3)]
        rows = torch.maximum(torch.maximum(kept[0], kept[1]), kept[2])
        kept = [rows[:, :, i : i + 2 * across - 1 : 2] for i in range(3)]
        return Codes(torch.maximum(torch.maximum(kept[0], kept[1]), kept[2]).permute(0, 3, 1, 2), codes.grid)


class EightFlatten(nn.Module):
    """Flattens the channels and cells of each region, in the order of the memory."""

    def forward(self, values: Tensor | Codes) -> Any:
        if isinstance(values, Codes):
            return Codes(values.values.permute(0, 2, 3, 1).flatten(1), values.grid)
        return values.permute(0, 2, 3, 1).flatten(1)


class EightBlock(nn.Module):
    """Gives about the same as a residual block whose batch norms are folded.

    Args:
        convolutions: The 8-bit layers of the longer branch.
        downsample: The 8-bit layer of the shorter branch, if it has one.
        owned: Whether nobody else reads the input. Then the sum may be written over it.
    """

    def __init__(self, convolutions: Sequence[nn.Module], downsample: nn.Module | None, owned: bool) -> None:
        super().__init__()
        self.convolutions, self.downsample, self.owned = nn.ModuleList(convolutions), downsample, owned

    def forward(self, codes: Codes) -> Any:
        inside = codes
        *first, last = self.convolutions
        for layer in first:
            inside = layer(inside)
        if self.downsample is not None:
            codes = self.downsample(codes)
        elif not self.owned:
            codes = Codes(codes.values.clone(), codes.grid)
        return last(inside, codes)


class EightInverted(nn.Module):
    """Gives about the same as an inverted residual, whose three layers have 8-bit weights.

    It reads and gives float32. The conversions cost little here, because the wide values stay in 8 bits.

    Args:
        expand, depthwise, project: The 8-bit layers.
        stride: Every so many cells are kept, in both directions.
        skip: Whether the input is added to the result.
    """

    def __init__(
        self, expand: nn.Module, depthwise: nn.Module, project: nn.Module, stride: int, skip: bool
    ) -> None:
        super().__init__()
        self.expand, self.depthwise, self.project = expand, depthwise, project
        self.stride, self.skip = stride, skip

    def forward(self, features: Tensor) -> Tensor:
        """Turns (N, C, H, W) float32 into (N, K, h, w) float32."""
        looked: Codes = self.depthwise(self.expand(features))
        if self.stride > 1:
            kept = looked.values[:, :, :: self.stride, :: self.stride]
            looked = Codes(kept.contiguous(memory_format=torch.channels_last), looked.grid)
        changed: Tensor = self.project(looked)
        return features + changed if self.skip else changed


def _inverted(own: InvertedResidual, name: str, ranges: Ranges) -> EightInverted:
    first, wide, last = (grid_of(*ranges[f"{name}.{part}"]) for part in ("expand", "depthwise", "project"))
    return EightInverted(
        convolution(own.expand, first, wide, True),
        convolution(own.depthwise, wide, last, False),
        convolution(own.project, last, None, False),
        own.stride,
        own.skip,
    )


class Chain(nn.Module):
    """Runs 8-bit layers one after the other, and returns what the chosen ones give.

    Args:
        layers: The layers. The first one accepts float32 and codes.
        returned: Names of results by the index of the layer that gives them. None: the last result is
            returned by itself.
    """

    def __init__(self, layers: Sequence[nn.Module], returned: dict[int, str] | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.returned = returned

    def forward(self, values: Any) -> Any:
        results = OrderedDict()
        for i, layer in enumerate(self.layers):
            values = layer(values)
            if self.returned and i in self.returned:
                results[self.returned[i]] = values
        return values if self.returned is None else results


class EightPyramid(nn.Module):
    """Gives about the same as a feature pyramid, as codes.

    Args:
        inner, layer: The 8-bit layers of the levels, the finest level first.
        pool: Whether a level that keeps every second cell follows.
    """

    def __init__(self, inner: Sequence[nn.Module], layer: Sequence[nn.Module], pool: bool) -> None:
        super().__init__()
        self.inner, self.layer, self.pool = nn.ModuleList(inner), nn.ModuleList(layer), pool

    def forward(self, features: Mapping[str, Codes]) -> dict[str, Codes]:
        names, maps = list(features), list(features.values())
        last: Codes | None = None
        results: list[Codes] = []
        for values, inner, layer in reversed(list(zip(maps, self.inner, self.layer, strict=True))):
            if last is not None:
                size = values.shape[2:]
                last = Codes(functional.interpolate(last.values, size=size, mode="nearest"), last.grid)
            last = inner(values, last)
            results.insert(0, layer(last))
        if self.pool:
            names.append("pool")
            coarsest = results[-1].values[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)
            results.append(Codes(coarsest, results[-1].grid))
        return OrderedDict(zip(names, results, strict=True))


class EightBackbone(nn.Module):
    """Gives about the same as a backbone with a feature pyramid.

    Args:
        keeps_codes: Whether the readers of the features understand `Codes`.
    """

    def __init__(self, body: Chain, pyramid: EightPyramid, out_channels: int, keeps_codes: bool) -> None:
        super().__init__()
        self.body, self.pyramid = body, pyramid
        self.out_channels, self.keeps_codes = out_channels, keeps_codes

    def forward(self, images: Tensor) -> dict[str, Any]:
        features = self.pyramid(self.body(images))
        return features if self.keeps_codes else decoded(features)


class EightUpsample(nn.Module):
    """Gives about the same as a transposed 2x2 convolution with stride 2 and a ReLU behind it.

    Args:
        own: The transposed convolution.
        source: The grid that its input is encoded on.
    """

    def __init__(self, own: nn.ConvTranspose2d, source: Grid) -> None:
        super().__init__()
        weight = own.weight.permute(2, 3, 1, 0).flatten(0, 2)
        self.rows = EightLinear(weight, None if own.bias is None else own.bias.repeat(4), source, None, True)

    def forward(self, regions: Tensor) -> Tensor:
        """Turns (n, C, h, w) into (n, h * w * 4, K): the four cells of each cell one after the other."""
        count, _, height, width = regions.shape
        rows: Tensor = self.rows(regions.permute(0, 2, 3, 1).flatten(0, 2))
        return rows.view(count, height * width * 4, rows.shape[1] // 4)


def decoded(features: Mapping[str, Tensor | Codes]) -> dict[str, Tensor]:
    """Returns features with all codes as float32."""
    return OrderedDict(
        (name, each.float() if isinstance(each, Codes) else each) for name, each in features.items()
    )


def supports(network: nn.Module) -> bool:
    """Whether `quantize` would replace the backbone, which takes most of the time, of this network.

    Its batch norms must be folded.
    """
    backbone: Any = getattr(network, "backbone", None)
    return isinstance(network, GeneralizedRCNN) and (_has_pyramid(backbone) or _is_inverted(backbone))


def _has_pyramid(backbone: Any) -> bool:
    """Whether this is a feature pyramid of known layers."""
    return (
        type(backbone) is BackboneWithFPN
        and _getter_layers(backbone.body, "") is not None
        and _is_known_pyramid(backbone.fpn)
    )


def _is_inverted(backbone: Any) -> bool:
    """Whether most stages of this backbone are inverted residuals."""
    stages = [part for part in backbone.modules() if type(part) is InvertedResidual] if backbone else []
    return len(stages) > 1


def quantize(network: GeneralizedRCNN, ranges: Ranges) -> None:
    """Replaces the parts of `network` that consist of known layers by 8-bit ones, in place.

    Args:
        network: A network in float32 and evaluation mode, whose batch norms are folded
            (`acceleration.fold_batch_norms`).
        ranges: As `calibration.calibrate` gives them for this network.

    Raises:
        KeyError: The ranges of a layer are missing. The network is as it was.
    """
    rpn, heads = network.rpn, network.roi_heads
    changes: list[tuple[nn.Module, str, nn.Module]] = []
    keeps_codes = False
    if type(rpn) is RegionProposalNetwork and type(rpn.head) is RPNHead:
        chain = _chain(rpn.head.conv, "rpn.head.conv", ranges)
        if chain is not None:
            changes.append((rpn.head, "conv", chain))
            keeps_codes = type(heads) is RoIHeads and type(heads.mask_predictor) is MaskRCNNPredictor
    if _has_pyramid(network.backbone):
        changes.append((network, "backbone", _backbone(network.backbone, ranges, keeps_codes)))
    if type(heads) is RoIHeads:
        down, across = heads.box_roi_pool.output_size
        for name, cells in (("box_head", down * across), ("mask_head", 1)):
            chain = _chain(getattr(heads, name), f"roi_heads.{name}", ranges, cells)
            if chain is not None:
                changes.append((heads, name, chain))
        if type(heads.mask_predictor) is MaskRCNNPredictor:
            upsample = heads.mask_predictor.conv5_mask
            if upsample.kernel_size == upsample.stride == (2, 2):
                source = grid_of(*ranges["roi_heads.mask_predictor.conv5_mask"])
                changes.append((heads.mask_predictor, "conv5_mask", EightUpsample(upsample, source)))
    for name, block in network.named_modules():
        if type(block) is InvertedResidual:
            above, _, own = name.rpartition(".")
            changes.append((network.get_submodule(above), own, _inverted(block, name, ranges)))
    for parent, name, part in changes:
        setattr(parent, name, part)


class _Layer(NamedTuple):
    """A layer as it is found in a network."""

    own: nn.Module
    name: str
    rectify: bool = False
    cells: int = 1
    """Cells of a region that a linear layer reads, whose inputs come channel by channel."""


def _backbone(backbone: BackboneWithFPN, ranges: Ranges, keeps_codes: bool) -> EightBackbone:
    found = _getter_layers(backbone.body, "backbone.body")
    assert found is not None
    layers, returned = found
    fpn, name = backbone.fpn, "backbone.fpn"
    count = len(fpn.inner_blocks)
    inner, layer = [], []
    for i in range(count):
        source = grid_of(*ranges[f"{name}.inner_blocks.{i}.0"])
        between = grid_of(*ranges[f"{name}.layer_blocks.{i}.0"])
        target = grid_of(*ranges[f"{name}.layer_blocks.{i}.0{OUTPUT}"])
        inner.append(convolution(fpn.inner_blocks[i][0], source, between, False))
        layer.append(convolution(fpn.layer_blocks[i][0], between, target, False))
    last = grid_of(*ranges[f"{name}.inner_blocks.{count - 1}.0"])
    body = Chain(_built(layers, ranges, last, returned), returned)
    pyramid = EightPyramid(inner, layer, fpn.extra_blocks is not None)
    return EightBackbone(body, pyramid, backbone.out_channels, keeps_codes)


def _is_known_pyramid(pyramid: Any) -> bool:
    return (
        type(pyramid) is FeaturePyramidNetwork
        and (pyramid.extra_blocks is None or type(pyramid.extra_blocks) is LastLevelMaxPool)
        and all(
            _is_known(block[0]) and all(type(part) is nn.Identity for part in list(block)[1:])
            for block in (*pyramid.inner_blocks, *pyramid.layer_blocks)
        )
    )


def _is_known(module: Any) -> bool:
    """Whether `module` is a convolution that torch's operator can compute."""
    return (
        type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    )


def _getter_layers(body: Any, name: str) -> tuple[list[_Layer], dict[int, str]] | None:
    """Returns the layers of a body, and which of them give features. None if a part is unknown."""
    if type(body) is not IntermediateLayerGetter:
        return None
    modules: list[tuple[str, nn.Module]] = []
    ends: dict[str, int] = {}
    for child, part in body.named_children():
        leaves = _leaves(part, f"{name}.{child}")
        if leaves is None:
            return None
        modules += leaves
        ends[child] = len(modules)
    layers = _joined(modules)
    if layers is None:
        return None
    # A ReLU is no layer of its own, so the result of a child ends with the layer that holds its last module.
    before = [sum(type(part) is not nn.ReLU for _, part in modules[:end]) for end in ends.values()]
    lengths = dict(zip(ends, before, strict=True))
    returned = {lengths[child] - 1: str(new) for child, new in body.return_layers.items()}
    cut = {ends[child] for child in body.return_layers if ends[child] < len(modules)}
    if len(layers) - 1 not in returned or any(type(modules[end][1]) is nn.ReLU for end in cut):
        return None
    return layers, returned


def _chain(module: nn.Module, name: str, ranges: Ranges, cells: int = 1) -> Chain | None:
    """Returns the 8-bit layers for `module`, which give float32. None if a part of it is unknown."""
    leaves = _leaves(module, name)
    layers = None if leaves is None else _joined(leaves, cells)
    if not layers or type(layers[-1].own) not in (nn.Conv2d, nn.Linear):
        return None
    return Chain(_built(layers, ranges, None))


def _leaves(module: Any, name: str) -> list[tuple[str, nn.Module]] | None:
    """Returns the parts that `module` runs one after the other. None if one of them is unknown."""
    kind = type(module)
    if kind is TwoMLPHead:
        return [
            (name, nn.Flatten()), (f"{name}.fc6", module.fc6), (name, nn.ReLU()),
            (f"{name}.fc7", module.fc7), (name, nn.ReLU()),
        ]  # fmt: skip
    if kind in (nn.Sequential, Conv2dNormActivation, FastRCNNConvFCHead, MaskRCNNHeads):
        inside = [_leaves(part, f"{name}.{child}") for child, part in module.named_children()]
        return None if None in inside else [leaf for leaves in inside if leaves for leaf in leaves]
    if kind is nn.Identity:
        return []
    known = (
        kind in (nn.ReLU, nn.Linear)
        or _is_known(module)
        or _is_known_block(module)
        or (kind is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1))
        or (
            kind is nn.MaxPool2d
            and (module.kernel_size, module.stride, module.padding, module.dilation) == (3, 2, 1, 1)
            and not module.ceil_mode
        )
    )
    return [(name, module)] if known else None


def _is_known_block(module: Any) -> bool:
    if type(module) not in (Bottleneck, BasicBlock) or type(module.relu) is not nn.ReLU:
        return False
    below = module.downsample
    count = 3 if type(module) is Bottleneck else 2
    return all(
        _is_known(getattr(module, f"conv{i}")) and type(getattr(module, f"bn{i}")) is nn.Identity
        for i in range(1, count + 1)
    ) and (
        below is None
        or (type(below) is nn.Sequential and _is_known(below[0]) and type(below[1]) is nn.Identity)
    )


def _joined(modules: list[tuple[str, nn.Module]], cells: int = 1) -> list[_Layer] | None:
    """Joins each ReLU to the layer before it. None if this cannot be done, or the first layer needs codes."""
    layers: list[_Layer] = []
    for name, module in modules:
        if type(module) is nn.ReLU:
            if not layers or type(layers[-1].own) not in (nn.Conv2d, nn.Linear):
                return None
            layers[-1] = layers[-1]._replace(rectify=True)
        else:
            flat = layers and type(layers[-1].own) is nn.Flatten
            layers.append(_Layer(module, name, cells=cells if flat else 1))
    starts = [layer for layer in layers if type(layer.own) is not nn.Flatten]
    if not starts or type(starts[0].own) not in (nn.Conv2d, nn.Linear):
        return None
    return layers


def _built(
    layers: list[_Layer], ranges: Ranges, target: Grid | None, returned: Mapping[int, str] = {}
) -> list[nn.Module]:
    """Returns the 8-bit layers. Each one writes on the grid that the next one reads, the last on `target`."""
    built: list[nn.Module] = []
    for i in reversed(range(len(layers))):
        own, name, rectify, cells = layers[i]
        if isinstance(own, nn.Conv2d):
            source = grid_of(*ranges[name])
            built.append(convolution(own, source, target, rectify))
        elif isinstance(own, nn.Linear):
            source = grid_of(*ranges[name])
            weight = own.weight.view(own.out_features, -1, cells).transpose(1, 2).flatten(1)
            built.append(EightLinear(weight, own.bias, source, target, rectify))
        elif isinstance(own, Bottleneck | BasicBlock):
            assert target is not None
            owned = i > 0 and i - 1 not in returned and isinstance(layers[i - 1].own, Bottleneck | BasicBlock)
            built.append(_block(own, name, ranges, target, owned))
            source = grid_of(*ranges[f"{name}.conv1"])
        else:
            built.append(EightPool() if isinstance(own, nn.MaxPool2d) else EightFlatten())
            continue
        target = source
    return built[::-1]


def _block(block: Any, name: str, ranges: Ranges, target: Grid, owned: bool) -> EightBlock:
    names = [child for child, _ in block.named_children() if child.startswith("conv")]
    grids = [*(grid_of(*ranges[f"{name}.{child}"]) for child in names), target]
    convolutions = [
        convolution(getattr(block, child), grids[i], grids[i + 1], True) for i, child in enumerate(names)
    ]
    below = None
    if block.downsample is not None:
        written = grid_of(*ranges[f"{name}.downsample.0{OUTPUT}"])
        below = convolution(block.downsample[0], grids[0], written, False)
    return EightBlock(convolutions, below, owned)
