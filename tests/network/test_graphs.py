from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

import inference
from detections import Detections
from inference import SegmentationModel, segment, segment_many
from network import graphs
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES
from network.graphs import Graphs, Step
from tools.random_weights import random_network, random_picture

CPU = torch.device("cpu")
SIZES = [(240, 320), (320, 240), (240, 320), (200, 320)]


class Recorder:
    """Records as a graph does: the steps run again with the same tensors, which hold other values by then."""

    def __init__(self) -> None:
        self.recorded = self.ran = 0

    def __call__(self, step: Step, pool: Any) -> Step:
        self.recorded += 1
        answer = step().clone()

        def run() -> Tensor:
            self.ran += 1
            return answer.copy_(step())

        return run


def model_with(record: graphs.Record | None) -> SegmentationModel:
    network = random_network(ARCHITECTURES["scenes"].build).requires_grad_(False)
    accelerate(network, CPU)
    kept = Graphs(network, record) if record else None
    labels = ARCHITECTURES["scenes"].label_ids
    return SegmentationModel(network, "scenes", labels, CPU, "float32", "random", "", kept)


def assert_same(found: Detections, expected: Detections) -> None:
    assert len(found) == len(expected) > 5 and found.image_size == expected.image_size
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)
    np.testing.assert_allclose(found.mask_probs, expected.mask_probs, atol=1e-3)


def test_a_graph_finds_what_the_stages_find_and_is_recorded_once_for_each_size() -> None:
    recorder = Recorder()
    fast, plain = model_with(recorder), model_with(None)
    answers = [segment(fast, random_picture(*size, seed=i)) for i, size in enumerate(SIZES)]
    for i, (size, found) in enumerate(zip(SIZES, answers, strict=True)):
        assert_same(found, segment(plain, random_picture(*size, seed=i)))
    assert fast.graphs is not None and len(fast.graphs) == recorder.recorded == 3


def test_the_graphs_used_least_lately_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 2)
    recorder = Recorder()
    kept = model_with(recorder).graphs
    assert kept is not None
    for side, recorded in [(128, 1), (160, 2), (128, 2), (192, 3), (128, 3), (160, 4)]:
        with torch.inference_mode():
            kept.find(torch.zeros(1, 3, side, side), [(side, side)])
        assert recorder.recorded == recorded and len(kept) <= 2


def test_a_size_that_cannot_be_recorded_goes_stage_by_stage_and_is_not_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried = []

    def refuse(step: Step, pool: Any) -> Step:
        tried.append(step)
        raise RuntimeError("operation not permitted when stream is capturing")

    fast, plain = model_with(refuse), model_with(None)
    with caplog.at_level(logging.WARNING):
        for seed in (1, 2):
            picture = random_picture(*SIZES[0], seed=seed)
            assert_same(segment(fast, picture), segment(plain, picture))
    assert len(tried) == 1 and len(caplog.records) == 1
    assert "they take longer" in caplog.text


def test_a_photo_that_is_not_certain_goes_stage_by_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, plain = model_with(Recorder()), model_with(None)
    picture = random_picture(*SIZES[0], seed=3)
    monkeypatch.setattr("network.fixed.REGION_ROUNDS", 1)
    asked = []
    stages = inference._stages
    monkeypatch.setattr(inference, "_stages", lambda *some: asked.append(some) or stages(*some))
    found = segment(fast, picture)
    assert len(asked) == 1
    assert_same(found, segment(plain, picture))


def test_a_strip_goes_stage_by_stage() -> None:
    recorder = Recorder()
    assert segment(model_with(recorder), random_picture(35, 1024)).image_size == (35, 1024)
    assert recorder.recorded == 0


def test_everything_that_a_graph_reads_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded graph reads addresses that Python does not know of. Freed tables once ended the process."""
    read: list[weakref.ref[Tensor]] = []
    layout = graphs.layout

    def noted(network: GeneralizedRCNN, images: Tensor) -> Any:
        made = layout(network, images)
        read.append(weakref.ref(made.anchors))
        return made

    def record(step: Step, pool: Any) -> Step:
        answer = step()
        return lambda: answer  # as a graph: it does not keep the step

    monkeypatch.setattr(graphs, "layout", noted)
    model = model_with(record)
    segment(model, random_picture(*SIZES[0]))
    gc.collect()
    assert len(read) == 1 and read[0]() is not None


@pytest.mark.parametrize("record", [None, Recorder()], ids=["stages", "graphs"])
def test_many_are_segmented_as_one_by_one(record: Recorder | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "BATCH", 2)
    model = model_with(record)
    pictures = [random_picture(*SIZES[i % 4], seed=i) for i in range(9)]
    for found, picture in zip(segment_many(model, pictures), pictures, strict=True):
        assert_same(found, segment(model, picture))
    assert segment_many(model, []) == []
    if record:
        sizes = {key[0] for key in model.graphs._graphs}  # type: ignore[union-attr]
        assert sizes == {1, 2}


def test_one_bad_image_among_many_is_refused_before_any_runs() -> None:
    recorder = Recorder()
    with pytest.raises(ValueError, match="expected"):
        segment_many(model_with(recorder), [random_picture(200, 200), np.zeros((4, 4), np.uint8)])
    assert recorder.recorded == 0
