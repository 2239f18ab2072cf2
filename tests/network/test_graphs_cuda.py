"""Tests that need a graphics processor. Without one they are skipped.

They need neither Gradio nor the other tests' fixtures:
`pytest --noconftest -n 0 tests/network/test_graphs_cuda.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from detections import Detections
from inference import BATCH, SegmentationModel, load, segment, segment_many
from network import kernels
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES, COCO_LABELS
from network.fixed import overlaps, suppress
from network.graphs import Graphs
from network.precision import PRECISIONS, best_precision
from photo.images import read_image
from tests.network.test_fixed import boxes_of, kept_by
from tools.random_weights import random_network, random_picture

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device here")
CUDA = torch.device("cuda")
SIZES = [(768, 1024), (1024, 683), (480, 640)]
EXAMPLES = ("astronaut", "chelsea", "coffee")


def two(name: str, precision: str) -> tuple[SegmentationModel, SegmentationModel]:
    """Returns the same network as graphs and stage by stage."""
    network = random_network(ARCHITECTURES[name].build).requires_grad_(False)
    network = copy.deepcopy(network)
    accelerate(network, CUDA, PRECISIONS[precision])
    network.to(CUDA)
    facts = network, name, COCO_LABELS, CUDA, precision, "random", ""
    return SegmentationModel(*facts, Graphs(network)), SegmentationModel(*facts)


def assert_same(found: Detections, expected: Detections, score: float, box: float, share: float) -> None:
    """At least `share` of the expected instances are found, each with this score and box."""
    assert abs(len(found) - len(expected)) <= (1 - share) * len(expected)
    same = 0
    for at, value, label in zip(expected.boxes, expected.scores, expected.class_ids, strict=True):
        near = (np.abs(found.boxes - at).max(1) <= box) & (found.class_ids == label)
        same += bool((near & (np.abs(found.scores - value) <= score)).any())
    assert same >= share * len(expected) > 0


@pytest.mark.parametrize("name", ["resnet50_fpn", "resnet50_fpn_v2"])
def test_a_graph_finds_what_the_stages_find(name: str) -> None:
    fast, plain = two(name, "float32")
    for seed, size in enumerate(SIZES * 2):
        picture = random_picture(*size, seed=seed)
        # The stages shift boxes of different categories apart, which rounds them: an instance may differ.
        assert_same(segment(fast, picture), segment(plain, picture), 1e-3, 0.05, 0.97)
    assert fast.graphs is not None and len(fast.graphs) == 2 and not fast.graphs._failed


def test_the_same_picture_gives_the_same_answer_whatever_ran_between() -> None:
    fast, _ = two("resnet50_fpn", "tf32")
    pictures = [random_picture(*size, seed=9) for size in SIZES[:2]]
    first = [segment(fast, picture) for picture in pictures]
    again = [segment(fast, picture) for picture in reversed(pictures)][::-1]
    for before, after in zip(first, again, strict=True):
        assert_same(after, before, 1e-5, 1e-3, 1)


def test_a_batch_finds_what_one_by_one_finds() -> None:
    fast, _ = two("resnet50_fpn", "float32")
    pictures = [random_picture(*SIZES[0], seed=seed) for seed in range(BATCH + 1)]
    for found, picture in zip(segment_many(fast, pictures), pictures, strict=True):
        assert_same(found, segment(fast, picture), 2e-3, 0.1, 0.97)
    assert fast.graphs is not None and len(fast.graphs) == 2


@pytest.fixture(scope="module")
def expected() -> Iterator[list[Detections]]:
    cpu = load("starter", device="cpu", precision="float32")
    yield [segment(cpu, read_image(f"examples/{name}.png")) for name in EXAMPLES]


@pytest.mark.parametrize("precision", ["float32", "tf32", "float16"])
def test_photos_are_seen_as_by_a_cpu(precision: str, expected: list[Detections]) -> None:
    model = load("starter", device="cuda", precision=precision)
    assert model.graphs is not None
    tight = precision == "float32"
    for name, there in zip(EXAMPLES, expected, strict=True):
        sure = there.select(there.scores > 0.1)
        found = segment(model, read_image(f"examples/{name}.png"))
        found = found.select(found.scores > 0.1 - 0.005)
        for at, value, label in zip(sure.boxes, sure.scores, sure.class_ids, strict=True):
            near = np.abs(found.boxes - at).max(1) <= (0.05 if tight else 1)
            near &= (found.class_ids == label) & (np.abs(found.scores - value) <= (1e-3 if tight else 0.005))
            assert near.any(), (name, at, value, label)
    assert not model.graphs._failed


def test_the_precision_that_auto_names_reaches_the_model() -> None:
    assert load("scenes").precision == best_precision(CUDA)


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_the_same_as_on_a_cpu(seed: int) -> None:
    boxes = boxes_of(900, seed)
    expected, settled = kept_by(boxes, 0.5, 40)
    valid = torch.ones(1, len(boxes), dtype=torch.bool, device=CUDA)
    kept, _ = suppress(overlaps(boxes[None].to(CUDA), 0.5), valid, 40)
    assert settled and torch.where(kept[0])[0].tolist() == expected.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_the_kernel_for_suppression_gives_the_same(seed: int) -> None:
    assert kernels.work(CUDA)
    boxes = torch.stack([boxes_of(1000, 10 * seed + i) for i in range(5)])
    valid, labels = torch.rand(5, 1000) > 0.1, torch.randint(0, 3, (5, 1000))
    removes = overlaps(boxes, 0.5)
    for some, matrix in ((None, removes), (labels, removes & (labels[:, :, None] == labels[:, None]))):
        expected, settled = suppress(matrix, valid, 60)
        kept = kernels.suppress(boxes.to(CUDA), valid.to(CUDA), 0.5, None if some is None else some.to(CUDA))
        assert settled.all() and torch.equal(kept.cpu(), expected)


def test_no_step_waits_for_the_host() -> None:
    from network.fixed import find, layout
    from network.precision import arithmetic

    fast, _ = two("resnet50_fpn", "float16")
    images = torch.rand(1, 3, 800, 1088, device=CUDA)
    limits = torch.tensor([[1088.0, 800, 1088, 800]], device=CUDA)
    with torch.inference_mode(), arithmetic(CUDA, "float16"):
        known = layout(fast.network, images)
        find(fast.network, images, limits, known)
        torch.cuda.set_sync_debug_mode("error")
        try:
            find(fast.network, images, limits, known)
        finally:
            torch.cuda.set_sync_debug_mode("default")
