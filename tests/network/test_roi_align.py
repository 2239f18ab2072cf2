from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from network.roi_align import RowRoIAlign

SIZE = (120, 168)
"""Height and width of the images in pixels. The batch is padded to 128x192."""


def features(count: int, strides: tuple[int, ...] = (4, 8, 16, 32)) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(count, 8, 128 // stride, 192 // stride, generator=generator) for stride in strides]
    return {str(level): each for level, each in enumerate(maps)}


def boxes(count: int, seed: int) -> Tensor:
    """Returns boxes of all sizes.

    Some of them touch the border, reach out of the image, lie outside of it, or have no area.
    """
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) ** 2
    corners = corners.sort(1).values.flatten(1) * torch.tensor([SIZE[1], SIZE[0]] * 2)
    special = [[0, 0, 168, 120], [-9, -9, 20, 20], [150, 100, 400, 300], [500, 500, 510, 510], [7, 7, 7, 7]]
    return torch.cat([corners, torch.tensor(special)])


@pytest.mark.parametrize("pooler", [
    MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2),
    MultiScaleRoIAlign(["0", "1", "2", "3"], (14, 5), 3),
    MultiScaleRoIAlign(["1", "2"], 7, 1, canonical_scale=60),
    MultiScaleRoIAlign(["2"], 14, 2),
], ids=str)  # fmt: skip
def test_it_gives_what_torchvision_gives(pooler: MultiScaleRoIAlign) -> None:
    arguments = features(2), [boxes(300, 1), boxes(200, 2)], [SIZE, (128, 192)]
    found = RowRoIAlign(pooler)(*arguments)
    torch.testing.assert_close(found, pooler(*arguments), atol=1e-5, rtol=1e-5)
    assert found.abs().amax((1, 2, 3)).count_nonzero() > 400


def test_images_without_regions_have_no_features() -> None:
    pooler = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    nothing = torch.zeros(0, 4)
    assert RowRoIAlign(pooler)(features(1), [nothing], [SIZE]).shape == (0, 8, 7, 7)
    some = features(2), [nothing, boxes(5, 3)], [SIZE, SIZE]
    torch.testing.assert_close(RowRoIAlign(pooler)(*some), pooler(*some), atol=1e-5, rtol=1e-5)


def test_maps_in_half_precision_are_summed_in_float32() -> None:
    pooler = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    half = {name: each.bfloat16() for name, each in features(1).items()}
    whole = {name: each.float() for name, each in half.items()}
    found = RowRoIAlign(pooler)(half, [boxes(50, 4)], [SIZE])
    assert found.dtype == torch.float32
    assert torch.equal(found, RowRoIAlign(pooler)(whole, [boxes(50, 4)], [SIZE]))


def test_bins_whose_samples_depend_on_their_size_are_left_to_torchvision() -> None:
    assert not RowRoIAlign.replaces(MultiScaleRoIAlign(["0"], 7, 0))
    assert not RowRoIAlign.replaces(torch.nn.Identity())
    assert RowRoIAlign.replaces(MultiScaleRoIAlign(["0"], 7, 2))
