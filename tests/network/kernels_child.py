"""Compares Triton's kernels, which its interpreter runs, with torch's operators. `test_kernels` starts it."""

from __future__ import annotations

import sys

import torch
from torch.nn.functional import interpolate
from torchvision.ops import MultiScaleRoIAlign

from network import kernels
from network.fixed import overlaps, suppress
from network.roi_align import fixed_roi_align, pyramid_of, table_of
from tests.network.test_fixed import boxes_of, staircase


def compare_suppress() -> None:
    cases = [torch.stack([boxes_of(count, seed) for seed in (1, 2)]) for count in (1, 50, 130)]
    cases += [staircase(100)[None], torch.zeros(1, 3, 4)]
    for boxes in cases:
        valid = torch.rand(boxes.shape[:2]) > 0.1
        some = torch.randint(0, 3, valid.shape)
        for threshold in (0.3, 0.5, 0.7):
            for labels in (None, some):
                removes = overlaps(boxes, threshold)
                if labels is not None:
                    removes &= labels.unsqueeze(2) == labels.unsqueeze(1)
                expected, settled = suppress(removes, valid, 150)
                assert settled.all()
                assert torch.equal(kernels.suppress(boxes, valid, threshold, labels), expected)


def compare_roi_align() -> None:
    torch.manual_seed(0)
    for levels, bins, channels, kind in ((4, 7, 24, torch.float32), (1, 3, 16, torch.float16)):
        maps = {
            str(i): torch.randn(2, channels, 40 >> i, 56 >> i, dtype=kind).to(
                memory_format=torch.channels_last
            )
            for i in range(levels)
        }
        pooler = MultiScaleRoIAlign(list(maps), bins, 2)
        some = [torch.cat([boxes_of(5, seed, 300, 150), boxes_of(4, seed, 60, 100)]) for seed in (1, 2)]
        boxes = torch.stack([torch.cat([rows.clamp(max=223), torch.zeros(1, 4)]) for rows in some])
        table, pyramid = table_of(pooler, maps), pyramid_of(pooler, maps, 160)
        expected = fixed_roi_align(pooler, table, pyramid, boxes, kind)
        found = kernels.roi_align(
            table, boxes, pyramid.facts, pyramid.scales, (bins, bins), 2,
            pooler.canonical_scale, pooler.canonical_level, pyramid.finest, kind,
        )  # fmt: skip
        found = found.unflatten(1, (bins, bins)).permute(0, 3, 1, 2)
        assert found.dtype == kind
        torch.testing.assert_close(found, expected)


def compare_finish_() -> None:
    torch.manual_seed(0)
    values, more = (torch.randn(2, 24, 8, 12).to(memory_format=torch.channels_last) for _ in range(2))
    coarser = torch.randn(2, 24, 4, 6).to(memory_format=torch.channels_last)
    bias = torch.randn(24)
    for extra, doubled in ((None, False), (more, False), (coarser, True)):
        for rectify in (True, False):
            total = values + bias[:, None, None]
            if extra is not None:
                total += interpolate(extra, scale_factor=2.0, mode="nearest") if doubled else extra
            found = values.clone(memory_format=torch.preserve_format)
            assert kernels.finish_(found, bias, extra, rectify=rectify, doubled=doubled) is found
            torch.testing.assert_close(found, total.relu() if rectify else total, rtol=0, atol=0)


if __name__ == "__main__":
    case = sys.argv[1]
    {"suppress": compare_suppress, "roi_align": compare_roi_align, "finish_": compare_finish_}[case]()
    print(case, "agrees")
