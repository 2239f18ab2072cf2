from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from network import kernels

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(kernels.triton is None, reason="Triton is not installed")
@pytest.mark.parametrize("case", ["suppress", "roi_align", "finish_"])
def test_kernels_give_in_the_interpreter_what_torch_gives(case: str) -> None:
    # Triton decides when it is imported whether it interprets, so this needs a process of its own.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.network.kernels_child", case],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [case, "agrees"]


def test_without_a_graphics_processor_they_do_not_run() -> None:
    assert not kernels.work(torch.device("cpu"))


def test_a_device_on_which_they_fail_is_tried_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device = torch.device("cuda", 93)
    monkeypatch.setattr(kernels, "triton", object())
    kernels._tried.cache_clear()
    assert not kernels.work(device) and not kernels.work(device)
    assert len(caplog.records) == 1 and "photos take longer" in caplog.text
    monkeypatch.setattr(kernels, "ALLOWED", False)
    assert not kernels.work(device)
    kernels._tried.cache_clear()
