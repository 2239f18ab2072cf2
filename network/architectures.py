"""Architectures: builds the networks that this project can run, and says what their labels mean.

Each builder returns a torchvision `MaskRCNN` with random weights. `network/weights.py` finds the trained
weights, and `inference.py` loads them into the network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.models.detection import (
    MaskRCNN,
    MaskRCNN_ResNet50_FPN_V2_Weights,
    MaskRCNN_ResNet50_FPN_Weights,
    maskrcnn_resnet50_fpn_v2,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d, MultiScaleRoIAlign

COCO_LABELS = tuple(range(91))
"""Torchvision's COCO models use the COCO category ids as labels. Label 0 is the background."""

SCENES_LABELS = (0, 10, 13, 28, 34, 37, 38, 44, 52, 60, 85)
"""The COCO category id of each label of the `scenes` network: background, then traffic light, stop sign,
umbrella, frisbee, sports ball, kite, bottle, banana, donut, clock."""

STARTER_LABELS = tuple(
    label
    for label, name in enumerate(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
    if name != "N/A"
)
"""The COCO category id of each label of the `starter` network: background, then all 80 in rising order."""

TRAINED_EPSILON = 1e-5
"""The epsilon of batch norms that are trained. Torchvision builds them if nothing is trained before."""

STARTER_ANCHORS = (
    (40, 34), (126, 145), (437, 287), (304, 261), (59, 134), (188, 300), (423, 133), (94, 62),
    (97, 238), (38, 73), (13, 18), (293, 115), (205, 190), (171, 80), (268, 420),
)  # fmt: skip
"""The anchors of the `starter` network in each cell of its feature map: (width, height) in pixels of the
working image.

They are the teacher's anchors, rounded to whole pixels, in the teacher's order. So the network can learn the
teacher's answer for each anchor (`training/starter/train.py`).
"""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network: its name, how to build it, and what its labels mean.

    The names and shapes of its tensors are a layout. A file of this layout may know other kinds of object:
    only the sizes of the last layers depend on the number of classes.
    """

    name: str
    title: str
    """The name that a visitor reads."""
    build: Callable[..., GeneralizedRCNN]
    """Builds the network. It takes the number of classes, with the background; by default that of ours."""
    label_ids: tuple[int, ...]
    """The COCO category id of each label that our weights give. Index 0 is the background."""
    published: WeightsEnum | None
    """Torchvision's entry for the trained weights. None if the weights ship with the project."""


def resnet50_fpn(classes: int = len(COCO_LABELS)) -> MaskRCNN:
    """Builds torchvision's `maskrcnn_resnet50_fpn` in the layout of COCO_V1, with random weights.

    Torchvision builds this network with frozen batch norms. For COCO_V1 only, it sets their epsilon to 0,
    because these weights were trained that way (`overwrite_eps` in
    `torchvision/models/detection/mask_rcnn.py`).
    """
    network = MaskRCNN(resnet_fpn_backbone(backbone_name="resnet50", weights=None), num_classes=classes)
    set_epsilon(network, 0.0)
    return network


def set_epsilon(network: nn.Module, epsilon: float) -> None:
    """Sets the epsilon of the network's frozen batch norms. It is not in a state dict."""
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = epsilon


def resnet50_fpn_v2(classes: int = len(COCO_LABELS)) -> MaskRCNN:
    """Builds torchvision's `maskrcnn_resnet50_fpn_v2` in the layout of its COCO_V1, with random weights."""
    network: MaskRCNN = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=classes)
    return network


def scenes(classes: int = len(SCENES_LABELS)) -> MaskRCNN:
    """Builds a small Mask R-CNN for drawn scenes, with random weights.

    `training/scenes/draw.py` draws the scenes, and `training/scenes/train.py` trains the network. The
    backbone has four strided stages of 3x3 convolutions, and a feature pyramid of 64 channels with strides 8,
    16 and 32. The region proposal, box and mask heads are torchvision's, at a quarter of their usual width.
    """
    body = nn.Sequential(
        OrderedDict(
            stem=_convolution(3, 16, stride=2),
            stage1=_stage(16, 32),
            stage2=_stage(32, 64),
            stage3=_stage(64, 128),
            stage4=_stage(128, 192),
        )
    )
    levels = {"stage2": "0", "stage3": "1", "stage4": "2"}
    channels = 64
    backbone = BackboneWithFPN(body, levels, [64, 128, 192], channels)  # adds a fourth level by pooling
    anchors = AnchorGenerator(
        sizes=((16, 24), (40, 64), (96, 144), (200, 260)), aspect_ratios=((0.5, 1.0, 2.0),) * 4
    )
    regions = list(levels.values())
    return MaskRCNN(
        backbone,
        min_size=384,
        max_size=640,
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=400,
        rpn_pre_nms_top_n_test=500,
        rpn_post_nms_top_n_test=200,
        box_roi_pool=MultiScaleRoIAlign(regions, output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(channels * 7 * 7, 256),
        box_predictor=FastRCNNPredictor(256, classes),
        box_batch_size_per_image=128,
        mask_roi_pool=MultiScaleRoIAlign(regions, output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(channels, (64, 64), 1),
        mask_predictor=MaskRCNNPredictor(64, 64, classes),
    )


def starter(classes: int = len(STARTER_LABELS)) -> MaskRCNN:
    """Builds a small Mask R-CNN for photos and all 80 categories, with random weights.

    `training/starter/train.py` trains it. The network has one feature map with stride 16. The backbone and
    the heads consist of inverted residuals. The last layers are torchvision's predictors of regions, boxes
    and masks. `STARTER_LABELS` says what the labels mean. Masks have 24x24 cells.
    """
    backbone = _StarterBackbone()
    channels = backbone.out_channels
    rpn_head = RPNHead(channels, len(STARTER_ANCHORS))
    rpn_head.conv = nn.Sequential(*(InvertedResidual(channels, 768, channels) for _ in range(3)))
    return MaskRCNN(
        backbone,
        min_size=320,
        max_size=640,
        rpn_anchor_generator=_anchors(STARTER_ANCHORS, backbone.stride),
        rpn_head=rpn_head,
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_test=150,
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=6, sampling_ratio=2),
        box_head=_staged(
            (
                InvertedResidual(channels, 512, channels, stride=2),
                InvertedResidual(channels, 768, channels),
                InvertedResidual(channels, 768, channels),
                InvertedResidual(channels, 768, 160),
            ),
            nn.Sequential(nn.Conv2d(160, 320, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        ),
        box_predictor=FastRCNNPredictor(320, classes),
        box_batch_size_per_image=64,
        mask_roi_pool=MultiScaleRoIAlign(["0"], output_size=6, sampling_ratio=2),
        mask_head=_staged(
            (
                InvertedResidual(channels, 768, channels),
                InvertedResidual(channels, 768, channels),
                InvertedResidual(channels, 768, channels),
                InvertedResidual(channels, 768, 160),
            ),
            nn.Sequential(nn.ConvTranspose2d(160, 128, 2, 2), nn.ReLU()),
        ),
        mask_predictor=MaskRCNNPredictor(128, 64, classes),
    )


class InvertedResidual(nn.Module):
    """An inverted residual block (Sandler et al. 2018) without batch norms.

    It widens the channels, runs a 3x3 convolution in each channel, and narrows the channels again. If the
    shape stays the same, the block adds its input to the result (`skip`).
    """

    def __init__(self, inputs: int, inside: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.expand = nn.Conv2d(inputs, inside, 1)
        self.depthwise = nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False)
        self.project = nn.Conv2d(inside, outputs, 1)
        self.stride = stride
        self.skip = inputs == outputs and stride == 1
        nn.init.kaiming_normal_(self.expand.weight)
        nn.init.kaiming_normal_(self.depthwise.weight, nonlinearity="linear")
        nn.init.kaiming_normal_(self.project.weight, nonlinearity="linear")

    def forward(self, features: Tensor) -> Tensor:
        looked = self.depthwise(torch.relu(self.expand(features)))
        # Slicing instead of a strided convolution, whose gradient takes ten times as long on a CPU.
        changed: Tensor = self.project(looked[:, :, :: self.stride, :: self.stride])
        return features + changed if self.skip else changed


class _StarterBackbone(nn.Module):
    """The backbone of the `starter` network: a stem to stride 4, then inverted residuals to stride 16.

    Each of the `stages` can be trained separately: it then receives the teacher's feature map in place of the
    output of the stage before.
    """

    out_channels = 128
    stride = 16

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 256, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1, groups=256, bias=False),
            nn.Conv2d(256, 32, 1),
        )
        for layer in stem[:4]:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        self.stages = nn.Sequential(
            stem,
            InvertedResidual(32, 192, 32),
            InvertedResidual(32, 192, 48, stride=2),
            InvertedResidual(48, 384, 48),
            InvertedResidual(48, 384, 48),
            InvertedResidual(48, 384, 96, stride=2),
            InvertedResidual(96, 768, 96),
            InvertedResidual(96, 768, 96),
            InvertedResidual(96, 768, 96),
            InvertedResidual(96, 768, 128),
            InvertedResidual(128, 1024, 128),
            InvertedResidual(128, 1024, 128),
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Turns (N, 3, H, W) into {"0": (N, out_channels, H / stride, W / stride)}.

        H and W must be multiples of 16.
        """
        return OrderedDict([("0", self.stages(images))])


def _staged(stages: Iterable[nn.Module], last: nn.Module) -> nn.Module:
    """Builds a head: its stages, then the last layer, whose output the predictor reads."""
    return nn.Sequential(OrderedDict(stages=nn.Sequential(*stages), last=last))


def _anchors(shapes: tuple[tuple[int, int], ...], stride: int) -> AnchorGenerator:
    """Returns anchors of the given (width, height) around the centre of each cell of one feature map."""
    generator = AnchorGenerator(sizes=(tuple(width for width, _ in shapes),), aspect_ratios=((1.0,),))
    half = torch.tensor(shapes) / 2
    generator.cell_anchors = [torch.cat((stride / 2 - half, stride / 2 + half), dim=1)]
    return generator


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    layer: nn.Module = Conv2dNormActivation(inputs, outputs, kernel_size=3, stride=stride)
    return layer


def _stage(inputs: int, outputs: int) -> nn.Module:
    """Builds three 3x3 convolutions; the first one halves the resolution."""
    return nn.Sequential(
        _convolution(inputs, outputs, stride=2),
        _convolution(outputs, outputs),
        _convolution(outputs, outputs),
    )


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "resnet50_fpn",
            "Mask R-CNN v1 (80 kinds of object, faster)",
            resnet50_fpn,
            COCO_LABELS,
            MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
        ),
        Architecture(
            "resnet50_fpn_v2",
            "Mask R-CNN v2 (80 kinds of object, more accurate, 2.5 times slower)",
            resnet50_fpn_v2,
            COCO_LABELS,
            MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
        ),
        Architecture(
            "starter", "Starter (80 kinds of object, less accurate, built in)", starter, STARTER_LABELS, None
        ),
        Architecture("scenes", "Drawn scenes (10 kinds of object, built in)", scenes, SCENES_LABELS, None),
    )
}
