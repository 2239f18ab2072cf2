from __future__ import annotations

import pytest
import torch

from inference import ModelError, load
from network.precision import PRECISIONS, arithmetic, best_precision, exact, has_tf32

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def flags() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def with_card(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((6, 1), "float32"), ((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "tf32"), ((9, 0), "tf32")],
)
def test_the_best_precision_depends_on_the_card(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_card(monkeypatch, capability)
    assert best_precision(CUDA) == precision
    assert has_tf32(CUDA) == (precision == "tf32")


@pytest.mark.parametrize("device", ["cpu", "mps", "meta"])
def test_everything_else_stays_with_float32(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_card(monkeypatch, (9, 0))
    assert best_precision(torch.device(device)) == "float32" and not has_tf32(torch.device(device))


def test_tf32_is_allowed_only_where_it_is_named_and_settings_come_back() -> None:
    before = flags()
    for name in PRECISIONS:
        with arithmetic(CPU, name):
            assert flags() == ((name == "tf32"),) * 2
            assert torch.is_autocast_enabled("cpu") == (PRECISIONS[name] != torch.float32)
            with exact(CPU):
                assert flags() == (False, False) and not torch.is_autocast_enabled("cpu")
            assert flags() == ((name == "tf32"),) * 2
    assert flags() == before
    with pytest.raises(ZeroDivisionError), arithmetic(CPU, "tf32"):
        _ = 1 / 0
    assert flags() == before


def test_a_device_without_tf32_is_refused_or_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ModelError, match="cpu does not calculate in tf32"):
        load("scenes", device="cpu", precision="tf32")
    monkeypatch.setenv("SEGMENTATION_PRECISION", "tf32")
    assert load("scenes", device="cpu").precision == "float32"
    assert "does not calculate in tf32" in caplog.text
