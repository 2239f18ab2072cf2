"""Winograd: computes 3x3 convolutions with a quarter of the multiplications, and just as exactly.

The image is cut into overlapping tiles of 6x6 pixels. Each of them gives a tile of 4x4 pixels of the output.
The tiles are first written in the basis of six points. There, the convolution of a tile takes 36 products
instead of 144. Over all channels and tiles these products are 36 matrix products.

The algorithm is that of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016). The paper
uses the points 0, ±1, ±2 and ∞. We use 0, ±√½, ±√2 and ∞, because then the rounding error is as small as that
of a direct convolution in float32 (`tests/network/test_winograd.py` compares both with float64).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

TILE = 4
"""The side of an output tile in pixels. An input tile is two pixels wider."""
TILES_AT_ONCE = 140
"""Tiles computed together: few enough for the values between two steps to stay in the processor's caches.

At 256 channels these values take 5 MB for each step.
"""
LEAST_CHANNELS = 256
"""With fewer channels, transforming the tiles takes as much time as the products save."""
ROOT = math.sqrt(0.5)
KERNEL_TO_POINTS = (
    (1, 0, 0),
    (-2 / 3, -2 / 3 * ROOT, -1 / 3),
    (-2 / 3, 2 / 3 * ROOT, -1 / 3),
    (1 / 6, 1 / 3 * ROOT, 1 / 3),
    (1 / 6, -1 / 3 * ROOT, 1 / 3),
    (0, 0, 1),
)
"""The matrix G of the paper: gives the values of a kernel's polynomial at the points 0, √½, -√½, √2, -√2 and
∞, each divided by the product of the differences between this point and the others."""


class WinogradConv2d(nn.Module):
    """Gives the same as `convolution`, but faster, on a CPU in float32. It cannot be trained.

    Args:
        convolution: A convolution that `replaces` accepts.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        points = torch.tensor(KERNEL_TO_POINTS, dtype=torch.float64)
        weight = torch.einsum("ai,bj,ocij->abco", points, points, convolution.weight.detach().double())
        self.weight = nn.Parameter(weight.flatten(0, 1).float().contiguous(), requires_grad=False)
        bias = convolution.bias
        self.bias = nn.Parameter(
            torch.zeros(convolution.out_channels) if bias is None else bias.detach(), requires_grad=False
        )

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Whether this class can compute `module`, and computes it faster."""
        return (
            type(module) is nn.Conv2d
            and module.kernel_size == (3, 3)
            and module.stride == module.dilation == module.padding == (1, 1)
            and module.padding_mode == "zeros"
            and module.groups == 1
            and min(module.in_channels, module.out_channels) >= LEAST_CHANNELS
        )

    def forward(self, images: Tensor) -> Tensor:
        """Turns (N, C, H, W) float32 into (N, K, H, W) float32 in channels-last order."""
        rows = images.permute(0, 2, 3, 1)
        count, height, width, _ = rows.shape
        output = images.new_empty(count, height, width, len(self.bias))
        down, across = math.ceil(height / TILE), math.ceil(width / TILE)
        step = TILE * max(1, TILES_AT_ONCE // across)
        some = max(1, TILES_AT_ONCE // (down * across))
        for first in range(0, count, some):
            part = slice(first, first + some)
            for top in range(0, height, step):
                bottom = min(top + step, height)
                output[part, top:bottom] = self._strip(rows[part], top, bottom)
        return output.permute(0, 3, 1, 2)

    def _strip(self, images: Tensor, top: int, bottom: int) -> Tensor:
        """Computes the rows `top` to `bottom` (exclusive) of the output for (n, H, W, C) images."""
        count, height, width, channels = images.shape
        down, across = math.ceil((bottom - top) / TILE), math.ceil(width / TILE)
        first, last = max(top - 1, 0), min(bottom + 1, height)
        above, below = first - (top - 1), top + TILE * down + 1 - last
        right = TILE * across + 1 - width
        padded = functional.pad(images[:, first:last], (0, 0, 1, right, above, below))

        half = images.new_empty(TILE + 2, count, down, padded.shape[2], channels)
        tiles = images.new_empty(TILE + 2, TILE + 2, count, down, across, channels)
        _to_points([padded[:, i : i + TILE * down - 3 : TILE] for i in range(TILE + 2)], half.unbind(0))
        _to_points([half[..., i : i + TILE * across - 3 : TILE, :] for i in range(TILE + 2)], tiles.unbind(1))

        products = torch.bmm(tiles.view((TILE + 2) ** 2, -1, channels), self.weight)

        products = products.view(*tiles.shape[:-1], -1)
        half = images.new_empty(TILE, *products.shape[1:])
        output = images.new_empty(count, down, TILE, across, TILE, products.shape[-1])
        _from_points(products.unbind(0), half.unbind(0))
        _from_points(half.unbind(1), output.permute(4, 2, 0, 1, 3, 5).unbind(0))
        output += self.bias
        return output.view(count, TILE * down, TILE * across, -1)[:, : bottom - top, :width]


def _to_points(rows: Sequence[Tensor], points: Sequence[Tensor]) -> None:
    """Writes the six `rows` of the tiles, transformed to the basis of the points, to `points`.

    This is the multiplication by the transposed matrix B of the paper.
    """
    even, odd = torch.sub(rows[4], rows[2], alpha=2), torch.sub(rows[3], rows[1], alpha=2)
    torch.add(even, odd, alpha=ROOT, out=points[1])
    torch.sub(even, odd, alpha=ROOT, out=points[2])
    torch.sub(rows[4], rows[2], alpha=0.5, out=even)
    torch.sub(rows[3], rows[1], alpha=0.5, out=odd)
    torch.add(even, odd, alpha=2 * ROOT, out=points[3])
    torch.sub(even, odd, alpha=2 * ROOT, out=points[4])
    torch.sub(rows[4], rows[2], alpha=2.5, out=even)
    torch.add(even, rows[0], out=points[0])
    torch.sub(rows[5], rows[3], alpha=2.5, out=odd)
    torch.add(odd, rows[1], out=points[5])


def _from_points(points: Sequence[Tensor], rows: Sequence[Tensor]) -> None:
    """Computes the four `rows` of output from the values at the six `points`.

    This is the multiplication by the transposed matrix A of the paper.
    """
    near, far = points[1] + points[2], points[3] + points[4]
    torch.add(near, far, alpha=4, out=rows[2]).mul_(0.5)
    torch.add(near.add_(far), points[0], out=rows[0])
    torch.sub(points[1], points[2], out=near)
    torch.sub(points[3], points[4], out=far)
    torch.add(near, far, alpha=2, out=rows[1]).mul_(ROOT)
    torch.add(points[5], near.add_(far, alpha=8), alpha=ROOT / 2, out=rows[3])
