"""RoIAlign: computes the same as torchvision's `MultiScaleRoIAlign`, but faster on a CPU or without waits.

Each bin of a region is the mean of a few samples of the feature map, and each sample is interpolated between
four cells. So a bin is a weighted sum of cells. `torch.nn.functional.embedding_bag` computes the sums of all
bins together, with the cells of the map as its table. It uses all cores and vector instructions. On a
graphics processor it reads whole cells in order, and one call does the work for all levels
(`fixed_roi_align`).

RoIAlign is described in He et al., "Mask R-CNN" (2017), section 3.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from network import kernels
from network.kernels import LEVEL_EPS


class RowRoIAlign(nn.Module):
    """Gives the same as `pooler`, but faster on a CPU.

    Args:
        pooler: A `MultiScaleRoIAlign` that `replaces` accepts.
    """

    def __init__(self, pooler: MultiScaleRoIAlign) -> None:
        super().__init__()
        self.pooler = pooler

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Whether `module` is a `MultiScaleRoIAlign` with a fixed number of samples in each bin.

        Torchvision's networks use such ones.
        """
        return isinstance(module, MultiScaleRoIAlign) and int(module.sampling_ratio) > 0

    def forward(
        self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Returns the features of the regions of all images.

        Args:
            features: (N, C, H, W) for each level. Levels that the pooler does not use are ignored.
            boxes: (regions, 4) for each image: x1, y1, x2, y2 in pixels of the image.
            image_shapes: The height and width of each image in pixels.

        Returns:
            (regions, C, bins, bins) float32, in channels-last order.
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
    """Returns the cells that make up each bin, and the weight of each cell in the bin.

    Args:
        regions: (regions, 4) x1, y1, x2, y2 in cells of a map of `size_hw`.
        image_of: (regions,) int32, the index of the image that each region lies in.
        samples: The number of samples in each bin along each axis.

    Returns:
        Two arrays of (bins of all regions, cells): the cells' indices (int32) and weights (float32).
    """
    height, width = size_hw
    rows, row_shares = cells_along(regions[:, 1], regions[:, 3], bins_hw[0], samples, height)
    columns, column_shares = cells_along(regions[:, 0], regions[:, 2], bins_hw[1], samples, width)
    rows = rows * width + (image_of * (height * width))[:, None, None]
    return _bins(rows, row_shares, columns, column_shares)


def _bins(rows: Tensor, row_shares: Tensor, columns: Tensor, column_shares: Tensor) -> tuple[Tensor, Tensor]:
    """Combines what `cells_along` gives for both axes to the cells and weights of each bin."""
    cells = rows[:, :, None, :, None] + columns[:, None, :, None, :]
    shares = row_shares[:, :, None, :, None] * column_shares[:, None, :, None, :]
    return cells.flatten(3).flatten(0, 2), shares.flatten(3).flatten(0, 2)


def cells_along(
    start: Tensor, end: Tensor, bins: int, samples: int, size: int | Tensor
) -> tuple[Tensor, Tensor]:
    """Does the work of `_cells` along one axis, with the same arithmetic as torchvision's kernel.

    Args:
        size: The number of cells along this axis, for all regions or as (regions, 1, 1) int32.

    Returns:
        Two arrays of (regions, bins, 2 * samples): the cells' indices (int32) and weights (float32).
    """
    bin_size = ((end - start).clamp(min=1) / bins)[:, None, None]
    offsets = (torch.arange(samples, dtype=torch.float32, device=start.device) + 0.5) * bin_size / samples
    at = start[:, None, None] + torch.arange(bins, device=start.device)[:, None] * bin_size + offsets
    inside = (at >= -1) & (at <= size)
    last = torch.as_tensor(size - 1)
    at = torch.minimum(at.clamp(min=0), last)
    low = at.to(torch.int32)
    high = torch.minimum(low + 1, last)
    share = at - low
    shares = torch.stack([(1 - share) * inside, share * inside], -1) / samples
    return torch.stack([low, high], -1).flatten(2), shares.flatten(2)


class Pyramid(NamedTuple):
    """What `fixed_roi_align` must know of the maps that it reads. The sizes of images and maps decide it."""

    facts: Tensor
    """(L, 3) int32: height and width of each level, and the number of cells of the levels before it."""
    scales: Tensor
    """(L,) float32: cells of the level for each pixel of the image."""
    finest: int
    """The exponent of the first level's stride."""


def pyramid_of(pooler: MultiScaleRoIAlign, features: dict[str, Tensor], height: int) -> Pyramid:
    """Describes the maps that `pooler` reads, of padded images of `height` pixels. It waits for the host."""
    levels = [feature for name, feature in features.items() if name in pooler.featmap_names]
    exponents = [round(math.log2(level.shape[2] / height)) for level in levels]
    before = accumulate((level.shape[2] * level.shape[3] for level in levels), initial=0)
    facts = [(level.shape[2], level.shape[3], cells) for level, cells in zip(levels, before, strict=False)]
    place = levels[0].device
    return Pyramid(
        torch.tensor(facts, dtype=torch.int32, device=place),
        torch.tensor([2.0**exponent for exponent in exponents], device=place),
        -exponents[0],
    )


def table_of(pooler: MultiScaleRoIAlign, features: dict[str, Tensor]) -> Tensor:
    """Returns the cells of all levels that `pooler` reads, image by image: (cells, C)."""
    levels = [feature for name, feature in features.items() if name in pooler.featmap_names]
    rows = [level.permute(0, 2, 3, 1).flatten(1, 2) for level in levels]
    return (rows[0] if len(rows) == 1 else torch.cat(rows, 1)).flatten(0, 1)


def fixed_roi_align(
    pooler: MultiScaleRoIAlign, table: Tensor, pyramid: Pyramid, boxes: Tensor, precision: torch.dtype
) -> Tensor:
    """Returns the features of all regions in one step whose sizes do not depend on the values.

    Args:
        pooler: A pooler that `RowRoIAlign.replaces` accepts.
        table: As `table_of` gives it.
        pyramid: As `pyramid_of` gives it.
        boxes: (N, R, 4): x1, y1, x2, y2 in pixels of the padded image.
        precision: The type of the result.

    Returns:
        (N * R, C, bins, bins) in channels-last order.
    """
    facts, scales, finest = pyramid
    down, across = pooler.output_size
    samples = int(pooler.sampling_ratio)
    if kernels.work(boxes.device):
        pooled = kernels.roi_align(
            table, boxes, facts, scales, (down, across), samples,
            pooler.canonical_scale, pooler.canonical_level, finest, precision,
        )  # fmt: skip
        return pooled.view(len(pooled), down, across, -1).permute(0, 3, 1, 2)
    regions = boxes.flatten(0, 1)
    level_of = _level_of(regions, pooler, finest, finest + len(scales) - 1)
    images = torch.arange(len(boxes), dtype=torch.int32, device=boxes.device)
    image_of = images.repeat_interleave(boxes.shape[1])
    heights, widths, before = facts[level_of][:, :, None, None].unbind(1)
    before = before + image_of[:, None, None] * (len(table) // len(boxes))
    regions = regions * scales[level_of].unsqueeze(1)
    rows, row_shares = cells_along(regions[:, 1], regions[:, 3], down, samples, heights)
    columns, column_shares = cells_along(regions[:, 0], regions[:, 2], across, samples, widths)
    cells, shares = _bins(rows * widths + before, row_shares, columns, column_shares)
    sums = functional.embedding_bag(cells, table.float(), mode="sum", per_sample_weights=shares)
    return sums.view(len(regions), down, across, -1).permute(0, 3, 1, 2).to(precision)


def _level_of(regions: Tensor, pooler: MultiScaleRoIAlign, finest: int, coarsest: int) -> Tensor:
    """Does the same as torchvision's `LevelMapper`, which may make a tensor on the host."""
    side = ((regions[:, 2] - regions[:, 0]) * (regions[:, 3] - regions[:, 1])).sqrt()
    level = torch.floor(pooler.canonical_level + torch.log2(side / pooler.canonical_scale) + LEVEL_EPS)
    return level.clamp(finest, coarsest).long() - finest
