from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d

from inference import SegmentationModel, segment
from network.acceleration import (
    Float32,
    OwnMaskHeads,
    Rectified,
    RectifiedBottleneck,
    accelerate,
    fold_batch_norms,
)
from network.architectures import ARCHITECTURES
from network.roi_align import RowRoIAlign
from network.weights import find_weights
from network.winograd import WinogradConv2d
from photo.images import read_image
from tests.truth import SCENE
from tools.random_weights import random_network, random_picture

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def kinds(network: nn.Module) -> set[type[nn.Module]]:
    return {type(module) for module in network.modules()}


@pytest.fixture(scope="module")
def v1(v1_file: Path) -> MaskRCNN:
    network = ARCHITECTURES["resnet50_fpn"].build().eval().requires_grad_(False)
    network.load_state_dict(torch.load(v1_file, weights_only=True))
    network.transform.min_size = (192,)
    return network


def accelerated(
    network: MaskRCNN, device: torch.device = CPU, precision: torch.dtype = torch.float32
) -> MaskRCNN:
    changed = copy.deepcopy(network)
    accelerate(changed, device, precision)
    return changed


def features(network: MaskRCNN, precision: torch.dtype = torch.float32) -> list[Tensor]:
    picture = torch.tensor(random_picture(192, 256, seed=7)).permute(2, 0, 1) / 255
    with torch.inference_mode():
        images, _ = network.transform([picture])
        maps = network.backbone(images.tensors.to(precision))
        objectness, deltas = network.rpn.head(list(maps.values()))
    return [*maps.values(), *objectness, *deltas]


def test_rounding_errors_are_of_the_size_of_torchvisions_own(v1: MaskRCNN) -> None:
    truth = features(copy.deepcopy(v1).double(), torch.float64)
    errors = [
        [((found - true).abs().max() / true.std()).item() for found, true in zip(maps, truth, strict=True)]
        for maps in (features(v1), features(accelerated(v1)))
    ]
    assert max(errors[1]) <= 2 * max(errors[0]) < 1e-4


@pytest.mark.parametrize("name", ["resnet50_fpn", "resnet50_fpn_v2"])
def test_only_the_order_in_memory_costs_exactness(name: str) -> None:
    network = random_network(ARCHITECTURES[name].build, seed=1).requires_grad_(False)
    network.transform.min_size = (192,)
    truth = features(copy.deepcopy(network).double(), torch.float64)

    def error(other: MaskRCNN) -> float:
        found = zip(features(other), truth, strict=True)
        return float(
            np.mean([((ours - true).square().mean().sqrt() / true.std()).item() for ours, true in found])
        )

    channels_last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    assert error(accelerated(network)) <= 1.1 * error(channels_last)


@pytest.mark.parametrize("name", ["resnet50_fpn", "resnet50_fpn_v2"])
def test_torchvisions_networks_are_changed_throughout(name: str) -> None:
    network = ARCHITECTURES[name].build().eval()
    accelerate(network, CPU)
    assert not {nn.BatchNorm2d, FrozenBatchNorm2d} & kinds(network)
    assert {WinogradConv2d, RowRoIAlign, OwnMaskHeads} <= kinds(network)
    wide = [
        m
        for m in network.modules()
        if type(m) is nn.Conv2d and m.kernel_size == (3, 3) and m.in_channels > 255
    ]
    assert all(convolution.stride == (2, 2) for convolution in wide)


def test_what_is_for_the_cpu_only_stays_away_from_graphics_processors(v1: MaskRCNN) -> None:
    changed = accelerated(v1, CUDA, torch.float16)
    assert not {WinogradConv2d, RowRoIAlign, FrozenBatchNorm2d} & kinds(changed)
    body = changed.backbone.body.conv1.convolution.weight
    assert body.dtype == torch.float16 and body.is_contiguous(memory_format=torch.channels_last)
    assert changed.rpn.head.weight.dtype == torch.float32
    assert isinstance(changed.roi_heads.heads.box_predictor.cls_score, Float32)


@pytest.mark.parametrize("block", [
    Conv2dNormActivation(3, 4, 3),
    nn.Sequential(nn.Conv2d(3, 4, 1), FrozenBatchNorm2d(4), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)),
    BasicBlock(3, 3),
], ids=["convolution with norm", "sequence", "residual block"])  # fmt: skip
def test_folded_batch_norms_give_the_same(block: nn.Module) -> None:
    torch.manual_seed(0)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d):
            for values in (module.running_mean, module.running_var, module.weight, module.bias):
                nn.init.uniform_(values, 0.5, 2)
    block.eval().requires_grad_(False)
    x = torch.randn(2, 3, 9, 9)
    expected = block(x)
    fold_batch_norms(block)
    assert not {nn.BatchNorm2d, FrozenBatchNorm2d} & kinds(block)
    torch.testing.assert_close(block(x), expected)


def test_a_batch_norm_that_follows_no_convolution_stays() -> None:
    activated = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)).eval()

    class Unknown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    for block in (activated, Unknown().eval()):
        fold_batch_norms(block)
        assert nn.BatchNorm2d in kinds(block)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_masks_are_those_of_each_instances_own_label(v1: MaskRCNN, count: int) -> None:
    heads = copy.deepcopy(v1.roi_heads)
    heads.detections_per_img = count
    maps = OrderedDict((str(i), torch.randn(1, 256, 64 >> i, 64 >> i)) for i in range(4))
    corners = torch.rand(300, 2) * 120
    arguments = maps, [torch.cat([corners, corners + 20 + torch.rand(300, 2) * 100], 1)], [(256, 256)]
    with torch.inference_mode():
        (expected,), _ = heads(*arguments)
        (found,), losses = OwnMaskHeads(heads)(*arguments)
    assert losses == {} and found.keys() == expected.keys() and len(found["labels"]) == count
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values)


class OwnProposals(nn.Module):
    """A stage that proposes the whole picture as the only region. It has no head."""

    def forward(
        self, images: ImageList, features: dict[str, Tensor]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        height, width = images.image_sizes[0]
        return [torch.tensor([[0.0, 0.0, width, height]])], {}


def test_stages_that_are_not_torchvisions_own_stay(v1: MaskRCNN) -> None:
    network = copy.deepcopy(v1)
    network.rpn = OwnProposals()
    accelerate(network, CPU)
    assert type(network.rpn) is OwnProposals
    model = SegmentationModel(network, "", tuple(range(91)), CPU, "float32", "", "")
    assert segment(model, random_picture(64, 80)).image_size == (64, 80)


class OwnPredictor(MaskRCNNPredictor):
    """A subclass, whose `forward` could compute anything."""


def test_heads_that_are_not_torchvisions_own_stay(v1: MaskRCNN) -> None:
    network = copy.deepcopy(v1)
    network.roi_heads.mask_predictor = OwnPredictor(256, 256, 91)
    accelerate(network, CPU)
    assert OwnMaskHeads not in kinds(network)


def test_an_accelerated_network_can_be_called_as_torchvisions_own(v1: MaskRCNN) -> None:
    with torch.inference_mode():
        found = accelerated(v1)([torch.rand(3, 64, 80)])[0]
    assert found["masks"].shape == (len(found["scores"]), 1, 64, 80)


def test_in_bfloat16_instances_with_high_scores_stay_the_same(scenes_model: SegmentationModel) -> None:
    network = ARCHITECTURES["scenes"].build().eval().requires_grad_(False)
    network.load_state_dict(find_weights(ARCHITECTURES["scenes"], None).state_dict)
    accelerate(network, CPU, torch.bfloat16)
    assert network.backbone.body.stem[0].weight.dtype == torch.bfloat16
    assert network.roi_heads.heads.box_predictor.cls_score.module.weight.dtype == torch.float32
    half = SegmentationModel(network, "scenes", scenes_model.label_ids, CPU, "bfloat16", "", "")
    image = read_image(SCENE)
    found, exact = segment(half, image), segment(scenes_model, image)
    sure = exact.select(exact.scores > 0.6)
    assert len(sure) > 5
    same = found.select(np.arange(len(sure)))
    np.testing.assert_array_equal(same.class_ids, sure.class_ids)
    np.testing.assert_allclose(same.scores, sure.scores, atol=0.02)
    np.testing.assert_allclose(same.boxes, sure.boxes, atol=2)
    assert not np.array_equal(same.scores, sure.scores)


@pytest.mark.parametrize("name", ["resnet50_fpn", "resnet50_fpn_v2", "starter"])
def test_what_is_for_graphics_processors_gives_the_same(name: str) -> None:
    network = random_network(ARCHITECTURES[name].build).requires_grad_(False)
    network.transform.min_size = (192,)
    pictures = [torch.tensor(random_picture(192, 256, seed)).permute(2, 0, 1) / 255 for seed in (1, 2)]
    changed = accelerated(network, CUDA)
    assert Rectified in kinds(changed) and nn.BatchNorm2d not in kinds(changed)
    assert (RectifiedBottleneck in kinds(changed)) == (name != "starter")
    with torch.inference_mode():
        images, _ = network.transform(pictures)
        expected, maps = network.backbone(images.tensors), changed.backbone(images.tensors)
        assert maps.keys() == expected.keys()
        for level, values in expected.items():
            torch.testing.assert_close(maps[level], values, atol=1e-3, rtol=1e-3)
        heads, others = network.roi_heads, changed.roi_heads.heads
        regions = torch.randn(5, maps["0"].shape[1], *heads.box_roi_pool.output_size)
        regions = regions.to(memory_format=torch.channels_last)
        torch.testing.assert_close(others.box_head(regions), heads.box_head(regions), atol=1e-3, rtol=1e-3)
        insides = heads.mask_head(
            torch.randn(5, maps["0"].shape[1], *[heads.mask_roi_pool.output_size[0]] * 2)
        )
        labels = torch.tensor([1, 2, 3, 2, 1])
        masks = changed.roi_heads.masks(insides, labels)
        torch.testing.assert_close(changed.roi_heads.masks_by_product(insides, labels), masks)
