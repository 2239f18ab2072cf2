"""8-bit layers against the same layers in float32, and what happens where they cannot be had."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import BasicBlock, Bottleneck, resnet18

from network import eight_bit
from network.acceleration import OwnMaskHeads, accelerate, fold_batch_norms
from network.architectures import ARCHITECTURES, InvertedResidual
from network.calibration import best_range, calibrate
from network.eight_bit import (
    Codes,
    EightBackbone,
    EightInverted,
    EightLinear,
    EightPool,
    EightUpsample,
    Grid,
    able,
    convolution,
    encode,
    grid_of,
    quantize,
    supports,
)
from tools.random_weights import random_network, random_picture

CPU = torch.device("cpu")
needs_int8 = pytest.mark.skipif(not able(), reason="this processor does not calculate in int8")


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def seeded(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def on_grid(weight: Tensor) -> Tensor:
    """Returns a weight that 8 bits hold exactly."""
    codes, scales, *_ = eight_bit._eight_bit_weight(weight, None)
    return codes * scales.view(-1, *[1] * (weight.dim() - 1))


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 3.1), (-1.7, 2.2), (-4.0, 0.0), (0.0, 0.0), (-0.001, 1000.0)]
)
def test_a_grid_holds_nought_exactly_and_its_ends_almost(low: float, high: float) -> None:
    scale, zero = grid_of(low, high)
    assert scale > 0 and 0 <= zero <= 255
    numbers = torch.tensor([low, 0.0, high])
    back = encode(numbers, Grid(scale, zero)).float()
    assert back[1] == 0
    torch.testing.assert_close(back, numbers, atol=scale / 2 * 1.001, rtol=0)


def test_numbers_become_the_nearest_codes_and_those_outside_the_nearest_end() -> None:
    codes = encode(torch.tensor([-9.0, -0.26, -0.24, 0.74, 0.76, 1000]), Grid(0.5, 2))
    assert codes.values.tolist() == [0, 1, 2, 3, 4, 255]


def test_codes_say_what_a_reader_of_float32_features_asks() -> None:
    picture = seeded((2, 3, 5, 4))
    codes = encode(picture, grid_of(-4, 4))
    assert codes.shape == picture.shape and codes.dtype == torch.float32 and codes.device == CPU
    assert codes.values.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(codes.float(), picture.clamp(-4, 4), atol=0.016, rtol=0)
    again = encode(codes.float(), codes.grid)
    assert torch.equal(again.values, codes.values)


@needs_int8
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(32, 48, 3, padding=1),
        nn.Conv2d(32, 48, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(32, 48, 1),
        nn.Conv2d(32, 48, 1, stride=2),
        nn.Conv2d(32, 32, 3, padding=1, groups=4),
        nn.Conv2d(3, 16, 7, stride=2, padding=3),
    ],
    ids=str,
)
def test_a_convolution_is_that_of_float32_up_to_one_step_of_the_result(
    layer: nn.Conv2d, rectify: bool, added: bool
) -> None:
    layer.weight.data = on_grid(seeded(tuple(layer.weight.shape)))
    source, target = grid_of(-3.2, 2.9), grid_of(0 if rectify else -70, 90)
    read = encode(seeded((2, layer.in_channels, 13, 10), 1), source)
    expected = layer(read.float())
    more = encode(seeded(tuple(expected.shape), 2) * 9, grid_of(-30, 40)) if added else None
    expected = expected + more.float() if more else expected
    expected = expected.relu() if rectify else expected
    found = convolution(layer, source, target, rectify)(read, more)
    assert found.grid == target
    ends = (0 - target.zero) * target.scale, (255 - target.zero) * target.scale
    difference = (found.float() - expected.clamp(*ends)).abs().max()
    assert difference <= 0.51 * target.scale
    if not added:
        plain = convolution(layer, source, None, rectify)
        torch.testing.assert_close(plain(read), expected, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(plain(read.float()), expected, atol=1e-3, rtol=1e-4)


@needs_int8
def test_codes_bring_their_own_grid() -> None:
    layer = nn.Conv2d(16, 16, 3, padding=1)
    layer.weight.data = on_grid(seeded((16, 16, 3, 3)))
    own = convolution(layer, grid_of(-1, 1), None, False)
    for grid in (grid_of(0, 2), grid_of(-5, 1)):
        read = encode(seeded((1, 16, 9, 9)), grid)
        torch.testing.assert_close(own(read), layer(read.float()), atol=1e-3, rtol=1e-4)


@needs_int8
def test_a_linear_layer_and_an_upsampling_are_those_of_float32() -> None:
    rows = encode(seeded((7, 40)), grid_of(-3, 3))
    weight, bias = on_grid(seeded((24, 40))), seeded((24,), 3)
    found = EightLinear(weight, bias, rows.grid, None, True)(rows)
    expected = nn.functional.linear(rows.float(), weight, bias).relu()
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)

    layer = nn.ConvTranspose2d(16, 8, 2, 2)
    regions = encode(seeded((3, 16, 5, 4)), grid_of(-3, 3))
    cells = EightUpsample(layer, regions.grid)(regions.float())
    quarters = cells.view(3, 5, 4, 2, 2, 8).permute(0, 5, 1, 3, 2, 4).reshape(3, 8, 10, 8)
    torch.testing.assert_close(quarters, layer(regions.float()).relu(), atol=0.05, rtol=0.02)


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (1, 2), (16, 5)])
def test_pooling_is_that_of_torch(size: tuple[int, int]) -> None:
    codes = encode(seeded((2, 5, *size)), grid_of(-3, 3))
    expected = nn.functional.max_pool2d(codes.float(), 3, 2, 1)
    assert torch.equal(EightPool()(codes).float(), expected)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@needs_int8
@pytest.mark.parametrize("name", ["resnet50_fpn", "resnet50_fpn_v2", "scenes"])
def test_each_part_of_the_networks_is_replaced_and_near_float32(name: str) -> None:
    network = random_network(ARCHITECTURES[name].build).requires_grad_(False)
    network.transform.min_size, network.transform.max_size = (160,), 256
    network.roi_heads.detections_per_img = 5
    network.rpn._post_nms_top_n = {"training": 50, "testing": 50}
    picture = torch.tensor(random_picture(160, 224)).permute(2, 0, 1) / 255
    batch, _ = network.transform([picture])
    ranges = calibrate(network, [random_picture(160, 224, seed=seed) for seed in range(2)])
    assert supports(network)
    expected = network.backbone(batch.tensors)
    hidden = network.rpn.head.conv(expected["0"])
    channels = expected["0"].shape[1]
    pooled = seeded((6, channels, 7, 7), 4) * expected["0"].std()
    insides = seeded((6, channels, 14, 14), 5) * expected["0"].std()
    boxes, masks = network.roi_heads.box_head(pooled), network.roi_heads.mask_head(insides)

    accelerate(network, CPU, torch.float32, ranges)
    assert isinstance(network.backbone, EightBackbone) and network.backbone.keeps_codes
    assert isinstance(network.roi_heads, OwnMaskHeads)
    assert isinstance(network.roi_heads.heads.mask_predictor.conv5_mask, EightUpsample)
    found = network.backbone(batch.tensors)
    assert list(found) == list(expected) and all(isinstance(level, Codes) for level in found.values())
    assert max(relative(found[level].float(), expected[level]) for level in expected) < 0.35
    assert relative(network.rpn.head.conv(expected["0"]), hidden) < 0.05
    assert relative(network.roi_heads.heads.box_head(pooled), boxes) < 0.1
    assert relative(network.roi_heads.heads.mask_head(insides), masks) < 0.1
    convolutions = [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    assert convolutions == ["roi_heads.heads.mask_predictor.mask_fcn_logits"]  # a last layer


def getter(layers: OrderedDict[str, nn.Module], returned: dict[str, str]) -> IntermediateLayerGetter:
    return IntermediateLayerGetter(nn.Sequential(layers), returned)


@needs_int8
@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
def test_a_returned_map_is_not_overwritten_by_the_sum_of_a_later_block(kind: type[nn.Module]) -> None:
    channels = 8 * getattr(kind, "expansion", 1)
    stem = nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU())
    layers = OrderedDict(stem=stem, first=nn.Sequential(kind(channels, 8), kind(channels, 8)))
    body = getter(OrderedDict(layers, second=nn.Sequential(kind(channels, 8))), {"first": "0", "second": "1"})
    body.eval().requires_grad_(False)
    fold_batch_norms(body)
    found = eight_bit._getter_layers(body, "body")
    assert found is not None and found[1] == {2: "0", 3: "1"}
    picture = seeded((1, 3, 12, 12))
    expected = body(picture)
    every = {f"body.{name}": (-6.0, 6.0) for name, _ in body.named_modules()}
    every["body.stem.0"] = (-4.0, 4.0)
    chain = eight_bit.Chain(eight_bit._built(found[0], every, grid_of(-6, 6), found[1]), found[1])
    results = chain(picture)
    assert list(results) == ["0", "1"]
    for name, codes in results.items():
        assert relative(codes.float(), expected[name]) < 0.1


@pytest.mark.parametrize(
    "changed",
    [
        OrderedDict(stem=nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU())),
        OrderedDict(stem=nn.Sequential(nn.Conv2d(3, 8, 3, padding="same"), nn.ReLU())),
        OrderedDict(stem=nn.Sequential(nn.Conv2d(3, 8, 3, padding_mode="reflect"), nn.ReLU())),
        OrderedDict(stem=nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2))),
        OrderedDict(stem=nn.Sequential(nn.ReLU(), nn.Conv2d(3, 8, 3))),
        OrderedDict(stem=nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))),
    ],
    ids=str,
)
def test_a_body_with_an_unknown_part_is_left_alone(changed: OrderedDict[str, nn.Module]) -> None:
    assert eight_bit._getter_layers(getter(changed, {"stem": "0"}), "body") is None


def test_a_map_that_is_read_before_its_relu_is_left_alone() -> None:
    layers = OrderedDict(one=nn.Conv2d(3, 8, 3), two=nn.ReLU(), three=nn.Conv2d(8, 8, 3))
    assert eight_bit._getter_layers(getter(layers, {"one": "0", "three": "1"}), "body") is None
    assert eight_bit._getter_layers(getter(layers, {"two": "0", "three": "1"}), "body") is not None
    assert eight_bit._getter_layers(resnet18(), "body") is None


@needs_int8
def test_a_network_of_unknown_parts_stays_as_it_is_and_heads_that_read_floats_get_floats() -> None:
    unknown = random_network(ARCHITECTURES["starter"].build).requires_grad_(False)
    unknown.backbone = nn.Sequential(nn.Conv2d(3, 8, 3))
    assert not supports(unknown)

    network = random_network(ARCHITECTURES["scenes"].build).requires_grad_(False)
    ranges = calibrate(network, [random_picture(200, 200)])

    class OwnPredictor(nn.Module):
        conv5_mask = None

    network.roi_heads.mask_predictor = OwnPredictor()
    quantize(network, ranges)
    assert not network.backbone.keeps_codes
    features = network.backbone(torch.zeros(1, 3, 64, 64))
    assert all(isinstance(level, Tensor) for level in features.values())


@needs_int8
def test_a_missing_range_is_an_error_before_anything_is_changed() -> None:
    network = random_network(ARCHITECTURES["scenes"].build).requires_grad_(False)
    ranges = calibrate(network, [random_picture(200, 200)])
    del ranges["roi_heads.mask_head.0.0"]
    before = list(network.modules())
    with pytest.raises(KeyError):
        quantize(network, ranges)
    assert list(network.modules()) == before


def test_the_best_range_cuts_off_rare_numbers_far_away_but_nothing_of_even_ones() -> None:
    even = torch.linspace(-1, 1, 1_000_000)
    rare = torch.cat([even, torch.tensor([-2.0, 2.0])])
    low, high = best_range(rare)
    assert -1.1 < low < -0.9 and 0.9 < high < 1.1

    def error(low: float, high: float) -> float:
        return float((encode(rare, grid_of(low, high)).float() - rare).square().mean())

    assert error(low, high) < 0.5 * error(-2, 2)
    low, high = best_range(even)
    assert -1 <= low < -0.95 and 0.95 < high <= 1
    assert best_range(rare.abs())[0] == 0


def test_without_the_instructions_or_the_operators_nothing_is_promised(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        able.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
        assert not able()
        able.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True}, raising=False)

        def missing(*arguments: object) -> None:
            raise AttributeError("'_OpNamespace' 'onednn' object has no attribute 'qconv_prepack'")

        monkeypatch.setattr(eight_bit, "convolution", missing)
        assert not able()
        assert "no operators for 8-bit layers" in caplog.text
        able.cache_clear()
        monkeypatch.delattr(torch.cpu, "get_capabilities")
        assert not able()
    finally:
        able.cache_clear()


@needs_int8
def test_no_region_gives_nothing() -> None:
    layer = nn.Conv2d(8, 8, 3, padding=1)
    point = nn.Conv2d(8, 8, 1)
    regions = torch.zeros(0, 8, 14, 14)
    grid = grid_of(-1, 1)
    assert convolution(layer, grid, None, True)(regions).shape == (0, 8, 14, 14)
    assert convolution(point, grid, None, True)(regions).shape == (0, 8, 14, 14)
    assert EightUpsample(nn.ConvTranspose2d(8, 6, 2, 2), grid)(regions).shape == (0, 784, 6)


@needs_int8
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("outputs", [16, 24])
def test_an_inverted_residual_is_that_of_float32_up_to_a_few_steps(stride: int, outputs: int) -> None:
    block = InvertedResidual(16, 48, outputs, stride).requires_grad_(False).eval()
    features = seeded((2, 16, 9, 12)).contiguous(memory_format=torch.channels_last)
    wide = torch.relu(block.expand(features))
    last = block.depthwise(wide)
    values = {"expand": features, "depthwise": wide, "project": last}
    ranges = {f"block.{name}": (float(some.min()), float(some.max())) for name, some in values.items()}
    fast = eight_bit._inverted(block, "block", ranges)
    expected = block(features)
    assert fast(features).shape == expected.shape
    assert relative(fast(features), expected) < 0.03
    assert fast(features[:0]).shape == expected[:0].shape


@needs_int8
def test_the_starters_blocks_are_replaced_and_its_instances_stay() -> None:
    network = random_network(ARCHITECTURES["starter"].build).requires_grad_(False)
    assert supports(network)
    blocks = sum(type(part) is InvertedResidual for part in network.modules())
    accelerate(network, CPU, torch.float32, calibrate(network, [random_picture(320, 320)]))
    assert sum(type(part) is EightInverted for part in network.modules()) == blocks > 20
    assert not any(type(part) is InvertedResidual for part in network.modules())
