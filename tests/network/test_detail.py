from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inference import ModelError, SegmentationModel, detail_of, load, segment
from network.detail import DETAILS, at_detail, has_details
from tools.random_weights import random_picture

LOWER = [name for name in DETAILS if name != "full"]


@pytest.fixture(scope="module", params=["v1_file", pytest.param("v2_file", marks=pytest.mark.slow)])
def model(request: pytest.FixtureRequest) -> SegmentationModel:
    file: Path = request.getfixturevalue(request.param)
    return load("auto", weights=file, device="cpu")


def test_full_is_torchvisions_own(model: SegmentationModel) -> None:
    assert at_detail(model.network, "full") is model.network
    assert DETAILS["full"].side == model.network.transform.min_size[0]
    assert next(iter(DETAILS)) == "full"


@pytest.mark.parametrize("detail", LOWER)
def test_a_lower_detail_shares_the_weights_and_changes_nothing_for_others(
    detail: str, model: SegmentationModel
) -> None:
    before = repr(model.network), dict(model.network.rpn._post_nms_top_n)
    lower = at_detail(model.network, detail)
    mine = {name: value.data_ptr() for name, value in model.network.state_dict().items()}
    assert {name: value.data_ptr() for name, value in lower.state_dict().items()} == mine
    assert lower.transform.min_size == (DETAILS[detail].side,)
    share = (DETAILS[detail].side / 800) ** 2
    assert lower.rpn._post_nms_top_n["testing"] == lower.rpn._pre_nms_top_n["testing"] == round(1000 * share)
    assert (repr(model.network), dict(model.network.rpn._post_nms_top_n)) == before


def test_a_lower_detail_sees_a_smaller_picture_and_answers_in_the_photos_pixels(
    model: SegmentationModel,
) -> None:
    seen = []
    hook = model.network.backbone.register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0].shape))
    image = random_picture(90, 120)
    found = {detail: segment(model, image, detail) for detail in DETAILS}
    hook.remove()
    # Multiples of 32. A picture as small as this has no parts to look at more closely.
    assert [min(shape[2:]) for shape in seen] == [800, 576, 416, 800]
    for detail, one in found.items():
        assert one.image_size == (90, 120) and len(one)
        assert one.mask_probs.shape[1:] == (2 * DETAILS[detail].mask_cells,) * 2
        assert one.boxes[:, 2].max() > 100
    again = segment(model, image)
    np.testing.assert_array_equal(again.boxes, found["full"].boxes)


def test_a_small_network_has_one_detail(scenes_model: SegmentationModel) -> None:
    assert not has_details(scenes_model.network)
    assert at_detail(scenes_model.network, "fast") is scenes_model.network
    assert detail_of(scenes_model, "fast") == "full"


def test_an_unknown_detail_is_refused(scenes_model: SegmentationModel) -> None:
    with pytest.raises(ModelError, match="full, balanced, fast"):
        segment(scenes_model, np.zeros((9, 9, 3), np.uint8), "best")


def test_it_accepts_a_network_of_other_parts() -> None:
    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transform, self.rpn = torch.nn.Module(), torch.nn.Module()
            self.transform.min_size = (800,)  # type: ignore[assignment]

    lower = at_detail(Bare(), "fast")  # type: ignore[arg-type]
    assert lower.transform.min_size == (400,)
