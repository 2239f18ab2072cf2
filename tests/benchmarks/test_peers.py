"""Tests that the other runtimes of the benchmarks find the same instances as torchvision.

`pytest -m slow` runs these tests. They need the packages of `benchmarks/requirements.txt`, and are skipped
without them.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import box_iou

from network.architectures import ARCHITECTURES
from network.weights import find_weights

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "scenes" / "scene-3.png"
SIZE_HW = (192, 256)


@pytest.fixture
def peers() -> ModuleType:
    for package in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    from benchmarks import peers  # not at the top: the module imports all three packages

    return peers


@pytest.fixture
def network() -> GeneralizedRCNN:
    """The `scenes` network with torchvision's own layers and the trained weights."""
    architecture = ARCHITECTURES["scenes"]
    network = architecture.build().eval()
    network.load_state_dict(find_weights(architecture, None).state_dict)
    return network


@pytest.fixture
def pixels() -> NDArray[np.float32]:
    picture = Image.open(EXAMPLE).convert("RGB").resize(SIZE_HW[::-1])
    rows = np.asarray(picture, np.float32) / np.float32(255)
    return np.ascontiguousarray(rows.transpose(2, 0, 1), np.float32)


@pytest.fixture
def eager(network: GeneralizedRCNN, pixels: NDArray[np.float32]) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        found: dict[str, torch.Tensor] = network([torch.from_numpy(pixels)])[0]
    assert len(found["boxes"]) > 20
    return found


@pytest.mark.parametrize("maker", ["onnx_runtime", "openvino_float32"])
def test_in_float32_all_is_as_torchvision_gives_it(
    maker: str,
    peers: ModuleType,
    network: GeneralizedRCNN,
    pixels: NDArray[np.float32],
    eager: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    peer = getattr(peers, maker)(network, SIZE_HW, tmp_path)
    assert peer(pixels) == len(eager["boxes"])
    found = peer.find(pixels)
    np.testing.assert_allclose(found.boxes, eager["boxes"], rtol=0, atol=0.5)
    np.testing.assert_array_equal(found.labels, eager["labels"])
    np.testing.assert_allclose(found.scores, eager["scores"], rtol=0, atol=1e-3)
    masks = paste_masks_in_image(torch.tensor(found.masks), torch.tensor(found.boxes), SIZE_HW)
    assert ((masks > 0.5) != (eager["masks"] > 0.5)).float().mean() < 1e-4


def test_in_bfloat16_all_that_is_sure_is_found(
    peers: ModuleType,
    network: GeneralizedRCNN,
    pixels: NDArray[np.float32],
    eager: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    found = peers.openvino_bfloat16(network, SIZE_HW, tmp_path).find(pixels)
    sure = eager["scores"] > 0.5
    assert sure.sum() > 5
    same = eager["labels"][sure][:, None] == torch.tensor(found.labels)
    overlaps = box_iou(eager["boxes"][sure], torch.tensor(found.boxes)) * same
    assert overlaps.amax(1).min() > 0.9


@pytest.mark.parametrize(("maker", "package"), [("onnx_runtime_int8", "onnx"), ("openvino_int8", "nncf")])
def test_in_int8_most_of_what_is_sure_is_found(
    maker: str,
    package: str,
    peers: ModuleType,
    network: GeneralizedRCNN,
    pixels: NDArray[np.float32],
    eager: dict[str, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(package)
    scene = np.asarray(Image.open(EXAMPLE).convert("RGB").resize(SIZE_HW[::-1]))
    monkeypatch.setattr(peers, "calibration_pictures", lambda size_hw: [scene])
    peer = getattr(peers, maker)(network, SIZE_HW, tmp_path)
    found = peer.find(pixels)
    sure = eager["scores"] > 0.5
    same = eager["labels"][sure][:, None] == torch.tensor(found.labels)
    overlaps = box_iou(eager["boxes"][sure], torch.tensor(found.boxes)) * same
    assert (overlaps.amax(1) > 0.8).float().mean() > 0.8
    again = getattr(peers, maker)(network, SIZE_HW, tmp_path)  # from the file that the first one has written
    np.testing.assert_array_equal(again.find(pixels).scores, found.scores)
