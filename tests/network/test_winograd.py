from __future__ import annotations

import pytest
import torch
from torch import nn

from network.winograd import LEAST_CHANNELS, WinogradConv2d


def convolution(outputs: int = LEAST_CHANNELS, **options: object) -> nn.Conv2d:
    torch.manual_seed(0)
    options = {"kernel_size": 3, "padding": 1} | options
    return nn.Conv2d(LEAST_CHANNELS, outputs, **options).requires_grad_(False)  # type: ignore[arg-type]


def images(*shape: int) -> torch.Tensor:
    return torch.randn(
        shape[0], LEAST_CHANNELS, *shape[1:], generator=torch.Generator().manual_seed(1)
    ).relu()


@pytest.mark.parametrize(
    "shape", [(1, 50, 68), (1, 1, 1), (1, 4, 4), (1, 5, 3), (3, 7, 9), (41, 14, 14), (1, 3, 700)], ids=str
)
def test_it_is_as_exact_as_the_librarys_own_convolution(shape: tuple[int, ...]) -> None:
    direct, x = convolution(), images(*shape)
    truth = convolution().double()(x.double())
    allowed = 2 * (direct(x) - truth).abs().max() + 1e-5 * truth.std()
    assert (WinogradConv2d(direct)(x) - truth).abs().max() <= allowed


@pytest.mark.parametrize("options", [{"bias": False}, {"outputs": LEAST_CHANNELS + 3}], ids=str)
def test_bias_and_channels_are_those_of_the_convolution(options: dict[str, int]) -> None:
    direct, x = convolution(**options), images(2, 9, 6)
    torch.testing.assert_close(WinogradConv2d(direct)(x), direct(x), atol=1e-5, rtol=1e-5)


def test_the_order_in_memory_of_the_input_does_not_matter() -> None:
    fast, x = WinogradConv2d(convolution()), images(2, 9, 6)
    found = fast(x)
    assert torch.equal(fast(x.to(memory_format=torch.channels_last)), found)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_no_images_give_no_images() -> None:
    assert WinogradConv2d(convolution())(images(0, 14, 14)).shape == (0, LEAST_CHANNELS, 14, 14)


class OwnConvolution(nn.Conv2d):
    """A subclass, whose `forward` could compute anything."""


@pytest.mark.parametrize(
    "module",
    [
        convolution(kernel_size=1, padding=0),
        convolution(stride=2),
        convolution(dilation=2, padding=2),
        convolution(padding=0),
        convolution(padding="same"),
        convolution(groups=2),
        convolution(padding_mode="reflect"),
        nn.Conv2d(LEAST_CHANNELS - 1, LEAST_CHANNELS, 3, padding=1),
        OwnConvolution(LEAST_CHANNELS, LEAST_CHANNELS, 3, padding=1),
        nn.ReLU(),
    ],
    ids=str,
)
def test_what_it_does_not_compute_is_not_replaced(module: nn.Module) -> None:
    assert not WinogradConv2d.replaces(module)
    assert WinogradConv2d.replaces(convolution())
