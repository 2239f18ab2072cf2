"""RoIAlign on the CPU, as sums of rows: torchvision's `MultiScaleRoIAlign`, on all cores and in vectors.

He et al., "Mask R-CNN" (2017), section 3: each bin of a region is the mean of a few samples of the feature
map, each of which is interpolated between four cells. So a bin is a weighted sum of cells, and all bins
together are what `torch.nn.functional.embedding_bag` computes, with the cells of the map as its table.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper


class RowRoIAlign(nn.Module):
    """What `pooler` gives, faster on a CPU.

    Args:
        pooler: One that `replaces` accepts.
    """

    def __init__(self, pooler: MultiScaleRoIAlign) -> None:
        super().__init__()
        self.pooler = pooler

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Whether `module` takes the same number of samples in each bin, as torchvision's networks do."""
        return isinstance(module, MultiScaleRoIAlign) and int(module.sampling_ratio) > 0

    def forward(
        self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """The features of all images' regions, (regions, C, bins, bins) float32, in channels-last order.

        Args:
            features: (N, C, H, W) for each level; those that are not the pooler's are left out.
            boxes: (regions, 4) for each image: x1, y1, x2, y2 in pixels of the image.
            image_shapes: Height and width of each image.
        """
        pooler = self.pooler
        levels = [feature for name, feature in features.items() if name in pooler.featmap_names]
        tallest = max(height for height, _ in image_shapes)
        exponents = [round(math.log2(level.shape[2] / tallest)) for level in levels]
        level_of = LevelMapper(-exponents[0], -exponents[-1], pooler.canonical_scale, pooler.canonical_level)(
            boxes
        )
        regions = torch.cat(boxes)
        image_of = torch.cat([torch.full((len(some),), i, dtype=torch.int32) for i, some in enumerate(boxes)])
        down, across = pooler.output_size
        pooled = regions.new_empty(len(regions), down * across, levels[0].shape[1])
        for i, (level, exponent) in enumerate(zip(levels, exponents, strict=True)):
            here = torch.where(level_of == i)[0]
            cells, shares = _cells(
                regions[here] * 2.0**exponent,
                image_of[here],
                (level.shape[2], level.shape[3]),
                (down, across),
                pooler.sampling_ratio,
            )
            table = level.permute(0, 2, 3, 1).flatten(0, 2).float()
            sums = functional.embedding_bag(cells, table, mode="sum", per_sample_weights=shares)
            pooled[here] = sums.view(len(here), *pooled.shape[1:])
        return pooled.view(len(regions), down, across, pooled.shape[2]).permute(0, 3, 1, 2)


def _cells(
    regions: Tensor, image_of: Tensor, size_hw: tuple[int, int], bins_hw: tuple[int, int], samples: int
) -> tuple[Tensor, Tensor]:
    """The cells of each bin, and the share of each in it: (bins of all regions, cells), int32 and float32.

    Args:
        regions: (regions, 4) in cells of a map of `size_hw`.
        image_of: (regions,) int32, the image that each lies in.
        samples: In each bin along each axis.
    """
    height, width = size_hw
    rows, row_shares = cells_along(regions[:, 1], regions[:, 3], bins_hw[0], samples, height)
    columns, column_shares = cells_along(regions[:, 0], regions[:, 2], bins_hw[1], samples, width)
    rows = rows * width + (image_of * (height * width))[:, None, None]
    cells = rows[:, :, None, :, None] + columns[:, None, :, None, :]
    shares = row_shares[:, :, None, :, None] * column_shares[:, None, :, None, :]
    return cells.flatten(3).flatten(0, 2), shares.flatten(3).flatten(0, 2)


def cells_along(start: Tensor, end: Tensor, bins: int, samples: int, size: int) -> tuple[Tensor, Tensor]:
    """`_cells` along one axis, (regions, bins, 2 * samples), computed as in torchvision's kernel."""
    bin_size = ((end - start).clamp(min=1) / bins)[:, None, None]
    offsets = (torch.arange(samples, dtype=torch.float32) + 0.5) * bin_size / samples
    at = start[:, None, None] + torch.arange(bins)[:, None] * bin_size + offsets
    inside = (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    low = at.to(torch.int32)
    high = (low + 1).clamp(max=size - 1)
    share = at - low
    shares = torch.stack([(1 - share) * inside, share * inside], -1) / samples
    return torch.stack([low, high], -1).flatten(2), shares.flatten(2)
