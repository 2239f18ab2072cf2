from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inference import SegmentationModel
from serving.timing import FIRST_GUESS, OTHERS, Seconds
from tests.samples import fake_model


def named(name: str, device: str = "cpu", precision: str = "float32") -> SegmentationModel:
    return replace(fake_model(), name=name, device=torch.device(device), precision=precision)


def test_before_the_first_photo_there_is_a_guess_for_each_model() -> None:
    seconds = Seconds()
    for name, guess in FIRST_GUESS.items():
        assert seconds.expected(named(name), "full") == guess
        assert seconds.expected(named(name, "meta"), "full") == OTHERS  # as on a graphics processor
    assert seconds.expected(named("starter"), "full") == OTHERS


def test_the_first_photo_replaces_the_guess_and_later_ones_move_it() -> None:
    seconds, model = Seconds(), named("resnet50_fpn")
    seconds.note(model, "full", 3)
    assert seconds.expected(model, "full") == 3
    seconds.note(model, "full", 2)
    assert 2 < seconds.expected(model, "full") < 3
    for _ in range(30):
        seconds.note(model, "full", 0.5)
    assert seconds.expected(model, "full") == pytest.approx(0.5, abs=0.01)


def test_each_model_is_timed_by_itself_on_each_device_and_in_each_precision() -> None:
    seconds = Seconds()
    seconds.note(named("resnet50_fpn"), "full", 9)
    for other in (
        named("resnet50_fpn_v2"),
        named("resnet50_fpn", "meta"),
        named("resnet50_fpn", precision="bfloat16"),
    ):
        assert seconds.expected(other, "full") != 9
