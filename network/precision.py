"""Precision: the arithmetics that a network can run in, and which of them is best on a device.

"float32" means float32 everywhere. "tf32" means that graphics processors multiply float32 numbers rounded to
10 bits behind the point, and add in float32. "float16" and "bfloat16" store weights and features in these
types. "int8" means that known parts multiply 8-bit integers (`network.eight_bit`), and the rest is float32.
In all of them the last layers, whose results are compared with thresholds, stay in true float32.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#tensorfloat-32-tf32-on-ampere-and-later-devices.
By default torch runs convolutions in TF32 and matrix products in float32. `arithmetic` decides both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,
}
"""The type of torch's floating-point arithmetic, for each precision's name. Answers give the name."""
FIRST_WITH_TF32, FIRST_WITH_FLOAT16 = (8, 0), (7, 0)
"""The compute capabilities from which graphics processors have matrix units for these types."""


def has_tf32(device: torch.device) -> bool:
    """Whether `device` multiplies in TF32."""
    return _capability(device) >= FIRST_WITH_TF32


def best_precision(device: torch.device) -> str:
    """Returns the fastest precision that keeps scores within 0.005 and boxes within 1 px of float32.

    bfloat16 is never the answer, because it moves them further (`docs/performance.md`).
    """
    capability = _capability(device)
    if capability >= FIRST_WITH_TF32:
        return "tf32"
    return "float16" if capability >= FIRST_WITH_FLOAT16 else "float32"


@contextmanager
def arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    """Runs what is inside in `precision`, a key of `PRECISIONS`, and puts torch's settings back afterwards.

    The settings belong to the whole process, so one thread at a time may compute on a graphics processor.
    """
    lower = PRECISIONS[precision] != torch.float32
    with _tf32(precision == "tf32"):
        if lower:
            # Weights are stored in the lower type already, so autocast has nothing to remember. In a CUDA
            # graph it must not.
            with torch.autocast(device.type, PRECISIONS[precision], cache_enabled=False):
                yield
        else:
            yield


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Runs what is inside in true float32, if its inputs are float32."""
    with _tf32(False), torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    # The older of torch's two interfaces: 2.8 has only this one, and they must not be mixed.
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def _capability(device: torch.device) -> tuple[int, int]:
    """The compute capability of a graphics processor; (0, 0) for everything else."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return (0, 0)
    return torch.cuda.get_device_capability(device)
