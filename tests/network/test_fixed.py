from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN
from torchvision.ops import nms

from network import fixed
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES
from network.fixed import (
    Proposals,
    detections,
    find,
    overlaps,
    padded_size,
    proposals,
    supports,
    suppress,
    unpack,
)
from tools.random_weights import random_network, random_picture

CPU = torch.device("cpu")


def boxes_of(count: int, seed: int, side: float = 60.0, reach: float = 200.0) -> Tensor:
    torch.manual_seed(seed)
    corners = torch.rand(count, 2) * reach
    return torch.cat([corners, corners + 1 + torch.rand(count, 2) * side], 1)


def kept_by(boxes: Tensor, threshold: float, rounds: int) -> tuple[Tensor, bool]:
    """Boxes in falling order of their scores. Returns the kept ones' places, and whether that is certain."""
    valid = torch.ones(1, len(boxes), dtype=torch.bool)
    kept, settled = suppress(overlaps(boxes[None], threshold), valid, rounds)
    return torch.where(kept[0])[0], bool(settled.all())


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("count", [1, 2, 50, 400])
@pytest.mark.parametrize("seed", range(4))
def test_suppression_gives_what_the_greedy_algorithm_gives(threshold: float, count: int, seed: int) -> None:
    boxes = boxes_of(count, seed)
    kept, settled = kept_by(boxes, threshold, 30)
    assert settled
    falling = torch.linspace(1, 0, count)
    assert kept.tolist() == nms(boxes, falling, threshold).tolist()


def staircase(length: int) -> Tensor:
    """Boxes that each overlap only their neighbours by more than a half: every second one stays."""
    left = torch.arange(length) * 3.0
    return torch.stack([left, torch.zeros(length), left + 10, torch.full((length,), 10.0)], 1)


def test_a_chain_longer_than_the_rounds_is_said_to_be_uncertain() -> None:
    boxes = staircase(60)
    expected = nms(boxes, torch.linspace(1, 0, 60), 0.5).tolist()
    assert expected == list(range(0, 60, 2))
    kept, settled = kept_by(boxes, 0.5, 10)
    assert not settled and kept.tolist() != expected
    kept, settled = kept_by(boxes, 0.5, 61)
    assert settled and kept.tolist() == expected


@pytest.mark.parametrize("rounds", range(1, 25))
def test_what_is_settled_up_to_the_first_that_is_not_is_final(rounds: int) -> None:
    boxes = torch.cat([boxes_of(80, rounds), staircase(40)])
    boxes = boxes[torch.randperm(len(boxes))]
    removes, valid = overlaps(boxes[None], 0.5), torch.rand(1, len(boxes)) > 0.1
    truth, all_settled = suppress(removes, valid, 200)
    assert all_settled.all()
    kept, settled = suppress(removes, valid, rounds)
    final = settled.long().cumprod(1).bool()
    assert torch.equal(kept[final], truth[final])


def test_places_that_hold_nothing_neither_stay_nor_remove() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 0, 0]]])
    kept, _ = suppress(overlaps(boxes, 0.5), torch.tensor([[False, True, False]]), 3)
    assert kept.tolist() == [[False, True, False]]


@pytest.fixture(scope="module")
def scenes() -> MaskRCNN:
    return random_network(ARCHITECTURES["scenes"].build).requires_grad_(False)


@pytest.fixture(scope="module")
def fast(scenes: MaskRCNN) -> MaskRCNN:
    network = copy.deepcopy(scenes)
    accelerate(network, CPU)
    return network


def exact_batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Does what `batched_nms` promises: it neither rounds boxes nor changes the order of equal scores.

    Torchvision shifts the boxes of each group, which rounds them, or sorts in an order that is not stable.
    """
    kept = torch.zeros(len(boxes), dtype=torch.bool)
    for group in groups.unique():
        here = torch.where(groups == group)[0]
        kept[here[nms(boxes[here], scores[here], threshold)]] = True
    places = torch.where(kept)[0]
    return places[scores[places].sort(descending=True, stable=True)[1]]


LEVELS = ((24, 30), (12, 15), (6, 8), (3, 4))


def rpn_case(kind: str, images: int = 2) -> tuple[list[Tensor], list[Tensor], Tensor]:
    torch.manual_seed(7)
    objectness = [torch.randn(images, 6, h, w) for h, w in LEVELS]
    deltas = [torch.randn(images, 24, h, w) * 0.3 for h, w in LEVELS]
    if kind == "ties":
        objectness = [values.round() for values in objectness]
    if kind == "certain":  # the sigmoid of all of them is 1
        objectness = [values.abs() + 40 for values in objectness]
    if kind == "tiny":
        deltas = [values - 30 for values in deltas]
    if kind == "equal":
        objectness, deltas = [v * 0 for v in objectness], [v * 0 for v in deltas]
    counts = [6 * h * w for h, w in LEVELS]
    anchors = torch.cat([boxes_of(count, i, 90, 220) for i, count in enumerate(counts)])
    return objectness, deltas, anchors


def expected_proposals(
    rpn: torch.nn.Module, objectness: list[Tensor], deltas: list[Tensor], anchors: Tensor, sizes: list
) -> list[Tensor]:
    from torchvision.models.detection.rpn import concat_box_prediction_layers

    counts = [values[0].numel() for values in objectness]
    images = len(objectness[0])
    logits, codes = concat_box_prediction_layers(list(objectness), list(deltas))
    decoded = rpn.box_coder.decode(codes, [anchors] * images).view(images, -1, 4)
    return rpn.filter_proposals(decoded, logits, sizes, counts)[0]


@pytest.mark.parametrize("kind", ["random", "ties", "certain", "tiny", "equal"])
def test_proposals_are_torchvisions(kind: str, fast: MaskRCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.ops.boxes.batched_nms", exact_batched_nms)
    monkeypatch.setattr(fixed, "REGION_ROUNDS", 60)
    case, sizes = rpn_case(kind), [(190, 240), (170, 233)]
    limits = torch.tensor([[w, h, w, h] for h, w in sizes], dtype=torch.float32)
    found = proposals(fast.rpn, *case, limits)
    assert found.certain.all()
    for boxes, valid, expected in zip(
        found.boxes, found.valid, expected_proposals(fast.rpn, *case, sizes), strict=True
    ):
        assert valid.sum() == len(expected)
        assert torch.equal(boxes[valid], expected)
        assert not boxes[~valid].any()


def heads_case(
    kind: str, network: MaskRCNN, regions: int = 150, images: int = 2
) -> tuple[Tensor, Tensor, Proposals, list[Tensor]]:
    torch.manual_seed(3)
    labels = len(ARCHITECTURES["scenes"].label_ids)
    logits = torch.randn(images * regions, labels) * 2
    codes = torch.randn(images * regions, labels * 4) * 0.5
    if kind == "ties":
        logits = logits.round()
    if kind == "nothing":
        logits[:, 0] = 50
    if kind == "one box":
        codes = codes * 0
    boxes = torch.stack([boxes_of(regions, i, 90, 150) for i in range(images)])
    valid = torch.ones(images, regions, dtype=torch.bool)
    valid[-1, regions // 2 :] = False
    return (
        logits,
        codes,
        Proposals(boxes, valid, valid.any(1)),
        [b[v] for b, v in zip(boxes, valid, strict=True)],
    )


@pytest.mark.parametrize("kind", ["random", "ties", "nothing", "one box"])
def test_detections_are_torchvisions(kind: str, fast: MaskRCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.ops.boxes.batched_nms", exact_batched_nms)
    heads = fast.roi_heads.heads
    logits, codes, regions, lists = heads_case(kind, fast)
    sizes = [(190, 240), (170, 233)]
    limits = torch.tensor([[w, h, w, h] for h, w in sizes], dtype=torch.float32)
    found = detections(heads, logits, codes, regions, limits)
    flat = regions.valid.flatten()
    boxes, scores, labels = heads.postprocess_detections(logits[flat], codes[flat], lists, sizes)
    assert found.certain.all()
    assert (kind == "nothing") == (len(scores[0]) == 0)
    for i in range(2):
        count = int(found.counts[i])
        assert count == len(scores[i])
        assert torch.equal(found.scores[i, :count], scores[i])
        assert torch.equal(found.labels[i, :count], labels[i])
        assert torch.equal(found.boxes[i, :count], boxes[i])
        assert not found.boxes[i, count:].any() and not found.scores[i, count:].any()


def test_too_many_candidates_are_uncertain_unless_enough_are_kept(
    fast: MaskRCNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = fast.roi_heads.heads
    monkeypatch.setattr(fixed, "CANDIDATES", 60)
    limits = torch.tensor([[240.0, 190, 240, 190]])
    logits, codes, regions, _ = heads_case("random", fast, images=1)
    regions = Proposals(regions.boxes, torch.ones_like(regions.valid), regions.certain)
    assert not detections(heads, logits, codes, regions, limits).certain.any()
    monkeypatch.setattr(heads, "detections_per_img", 20)
    few = detections(heads, logits, codes, regions, limits)
    monkeypatch.setattr(fixed, "CANDIDATES", 10_000)
    assert few.certain.all()
    assert torch.equal(few.boxes, detections(heads, logits, codes, regions, limits).boxes)


def test_a_long_chain_of_detections_is_uncertain(fast: MaskRCNN) -> None:
    boxes = staircase(60)[None]
    labels = len(ARCHITECTURES["scenes"].label_ids)
    logits = torch.zeros(60, labels)
    logits[:, 1] = torch.linspace(9, 8, 60)
    regions = Proposals(boxes, torch.ones(1, 60, dtype=torch.bool), torch.tensor([True]))
    found = detections(
        fast.roi_heads.heads, logits, torch.zeros(60, labels * 4), regions, torch.full((1, 4), 500.0)
    )
    assert not found.certain.any()


@pytest.mark.parametrize("size", [(96, 128), (100, 75), (768, 1024), (1024, 683), (333, 1000), (5, 7)])
@pytest.mark.parametrize("name", ["scenes", "starter", "resnet50_fpn"])
def test_the_padded_size_is_the_transforms(size: tuple[int, int], name: str) -> None:
    with torch.device("meta"):
        transform = ARCHITECTURES[name].build().transform
    images, _ = transform([torch.zeros(3, *size)])
    assert tuple(images.tensors.shape[2:]) == padded_size(transform, size)


@pytest.mark.parametrize("name", ["scenes", "starter"])
def test_the_whole_network_finds_the_same(name: str) -> None:
    network = random_network(ARCHITECTURES[name].build).requires_grad_(False)
    accelerate(network, CPU)
    pictures = [torch.tensor(random_picture(230, 300, seed)).permute(2, 0, 1) / 255 for seed in (1, 2)]
    with torch.inference_mode():
        images, _ = network.transform(pictures)
        maps = network.backbone(images.tensors)
        regions, _ = network.rpn(images, maps)
        expected, _ = network.roi_heads(maps, regions, images.image_sizes)
        limits = torch.tensor([[w, h, w, h] for h, w in images.image_sizes], dtype=torch.float32)
        answer = find(network, images.tensors, limits)
    assert answer.dtype == torch.float32
    for rows, theirs in zip(answer, expected, strict=True):
        found = unpack(rows)
        assert found is not None and len(theirs["scores"]) > 5
        for key, values in theirs.items():
            torch.testing.assert_close(found[key], values, atol=1e-3, rtol=1e-4)


def test_what_is_not_certain_is_not_unpacked() -> None:
    rows = torch.zeros(3, 6 + 4)
    assert unpack(rows) is None
    rows[0, 1] = 1
    found = unpack(rows)
    assert found is not None and found["masks"].shape == (0, 1, 2, 2)


def test_only_accelerated_networks_of_torchvisions_stages_are_supported(
    scenes: MaskRCNN, fast: MaskRCNN
) -> None:
    assert supports(fast) and not supports(scenes)
    other = copy.deepcopy(fast)
    other.rpn = torch.nn.Identity()
    assert not supports(other)
