"""Kernels: steps of `network.fixed` and `network.acceleration` as one launch each on a graphics processor.

They are written in Triton, which torch's wheels for Linux bring along. Triton builds a small program when it
runs for the first time, and needs a C compiler for that. `work` says whether everything is there. Where it is
not, the callers take the same steps with torch's own operators, which need more launches.

The tests run the kernels in Triton's interpreter, which needs no graphics processor.
"""

# Triton has no types, and its functions take none.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, no-untyped-call"

from __future__ import annotations

import logging
from functools import cache

import torch
from torch import Tensor

from network.zero_gpu import ACTIVE

try:
    import triton
    import triton.language as tl
except ImportError:  # macOS, Windows, and torch's wheels for CPUs
    triton = None

ALLOWED = True
"""False: `work` says no. The benchmark compares both."""
MOST_BOXES = 1024
"""Boxes of one problem that `suppress` compares. The bits of more of them do not fit into the registers."""
BITS = 32
COLUMN, EPILOGUE_BLOCK = 64, 2048
"""Boxes, and values, that one program works on."""
LEVEL_EPS = 1e-6
"""What `LevelMapper` adds before it rounds down."""

logger = logging.getLogger(__name__)


def work(device: torch.device) -> bool:
    """Whether the kernels run on `device`. The first call for a device tries them.

    They never run in a process that ZeroGPU forks for one photo, because trying them takes longer.
    """
    return ALLOWED and not ACTIVE and triton is not None and device.type == "cuda" and _tried(device)


@cache
def _tried(device: torch.device) -> bool:
    try:
        boxes = torch.tensor([[[0.0, 0, 8, 8], [0, 0, 8, 8]]], device=device)
        kept = suppress(boxes, torch.ones(1, 2, dtype=torch.bool, device=device), 0.5, None)
        facts = torch.tensor([[2, 2, 0]], dtype=torch.int32, device=device)
        scales = torch.ones(1, device=device)
        table = torch.ones(4, 16, device=device)
        pooled = roi_align(table, boxes, facts, scales, (2, 2), 2, 224, 4, 0, table.dtype)
        raised = finish_(table.view(2, 2, 1, 16).permute(0, 3, 1, 2), torch.ones(16, device=device))
        right = kept.tolist() == [[True, False]], (pooled >= 0).all(), (raised == 2).all()
        return all(bool(answer) for answer in right)
    except Exception:
        logger.warning("Triton's kernels do not run on %s; photos take longer.", device, exc_info=True)
        return False


def suppress(boxes: Tensor, valid: Tensor, threshold: float, labels: Tensor | None) -> Tensor:
    """Non-maximum suppression: keeps the boxes that no kept box before them removes.

    Args:
        boxes: (N, K, 4) float32, in falling order of their scores. K is at most `MOST_BOXES`.
        valid: (N, K) bool. Other boxes are neither kept nor remove any.
        labels: (N, K) int64. If given, a box removes only boxes of its own label.

    Returns:
        (N, K) bool: whether the box is kept. It is what the greedy algorithm gives.
    """
    images, count = valid.shape
    padded = max(COLUMN, triton.next_power_of_2(count))
    words = torch.empty(images, padded, padded // BITS, dtype=torch.int32, device=boxes.device)
    kept = torch.empty(images, count, dtype=torch.bool, device=boxes.device)
    with torch.cuda.device_of(boxes):
        _overlaps[(images, padded // COLUMN, padded // BITS)](
            boxes.contiguous(), boxes if labels is None else labels.contiguous(), words,
            count, threshold, padded, labels is not None, COLUMN, BITS,
            num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        _settle[(images,)](words, valid.contiguous(), kept, count, padded, padded // BITS, BITS, num_warps=16)
    return kept


def roi_align(
    table: Tensor,
    boxes: Tensor,
    facts: Tensor,
    scales: Tensor,
    bins_hw: tuple[int, int],
    samples: int,
    canonical_scale: float,
    canonical_level: float,
    finest: int,
    precision: torch.dtype,
) -> Tensor:
    """Returns the features of all regions, as `roi_align.fixed_roi_align`.

    Args:
        table: (cells of all levels of all images, C), image by image.
        boxes: (N, R, 4) float32.
        facts: (L, 3) int32: height and width of each level, and the cells of the levels before it.
        scales: (L,) float32: cells of the level for each pixel.
        canonical_scale, canonical_level: As `MultiScaleRoIAlign` has them.
        finest: The level's number that the first of `facts` has by `canonical_level`'s counting.
        precision: The type of the result.

    Returns:
        (N * R, bins, C).
    """
    images, regions = boxes.shape[:2]
    channels, (down, across) = table.shape[1], bins_hw
    pooled = table.new_empty(images * regions, down * across, channels, dtype=precision)
    with torch.cuda.device_of(table):
        _roi_align[(images * regions * down * across,)](
            table, boxes.contiguous(), facts, scales, pooled,
            regions, len(table) // images, channels,
            float(canonical_scale), float(canonical_level) + LEVEL_EPS, finest,
            len(scales) - 1, down, across, samples, triton.next_power_of_2(channels),
            num_warps=2,
        )  # fmt: skip
    return pooled


def finish_(
    values: Tensor, bias: Tensor, more: Tensor | None = None, *, rectify: bool = True, doubled: bool = False
) -> Tensor:
    """Does values + bias [+ more], then a ReLU if wanted, in place.

    Args:
        values: (N, C, H, W) in channels-last order.
        more: As `values`, or (N, C, H / 2, W / 2) if `doubled`: each of its cells is for four of `values`.
    """
    count = values.numel()
    kind = 0 if more is None else 2 if doubled else 1
    with torch.cuda.device_of(values):
        _finish[(triton.cdiv(count, EPILOGUE_BLOCK),)](
            values, bias, values if more is None else more, count, *values.shape[1:],
            kind, rectify, EPILOGUE_BLOCK, num_warps=4,
        )  # fmt: skip
    return values


if triton is not None:

    @triton.jit
    def _overlaps(boxes, labels, words, count, threshold, PADDED: tl.constexpr, LABELS: tl.constexpr,
                  COLUMN: tl.constexpr, BITS: tl.constexpr):  # fmt: skip
        """Writes, for each box, one bit for each box before it that would remove it."""
        image, first, word = tl.program_id(0), tl.program_id(1) * COLUMN, tl.program_id(2)
        later, bit = first + tl.arange(0, COLUMN), tl.arange(0, BITS)
        bits = tl.zeros([COLUMN], tl.int32)
        if word * BITS < first + COLUMN:
            before = word * BITS + bit
            at, other = boxes + (image * count + later) * 4, boxes + (image * count + before) * 4
            here, there = later < count, before < count
            x1, y1 = tl.load(at, here, 0.0)[:, None], tl.load(at + 1, here, 0.0)[:, None]
            x2, y2 = tl.load(at + 2, here, 0.0)[:, None], tl.load(at + 3, here, 0.0)[:, None]
            u1, v1 = tl.load(other, there, 0.0)[None, :], tl.load(other + 1, there, 0.0)[None, :]
            u2, v2 = tl.load(other + 2, there, 0.0)[None, :], tl.load(other + 3, there, 0.0)[None, :]
            width = tl.maximum(tl.minimum(x2, u2) - tl.maximum(x1, u1), 0.0)
            height = tl.maximum(tl.minimum(y2, v2) - tl.maximum(y1, v1), 0.0)
            shared = width * height
            union = (u2 - u1) * (v2 - v1) + (x2 - x1) * (y2 - y1) - shared
            removes = (tl.div_rn(shared, union) > threshold) & (before[None, :] < later[:, None])
            if LABELS:
                own = tl.load(labels + image * count + later, here, -1)[:, None]
                removes = removes & (own == tl.load(labels + image * count + before, there, -2)[None, :])
            bits = tl.sum(removes.to(tl.int32) << bit[None, :], 1)
        tl.store(words + (image * PADDED + later) * (PADDED // BITS) + word, bits)

    @triton.jit
    def _settle(words, valid, kept, count, PADDED: tl.constexpr, WORDS: tl.constexpr, BITS: tl.constexpr):
        """Repeats the rule of `fixed.suppress` until nothing changes, which takes `count` rounds at most."""
        image, place = tl.program_id(0), tl.arange(0, PADDED)
        word, bit = tl.arange(0, WORDS), tl.arange(0, BITS)
        removers = tl.load(words + (image * PADDED + place[:, None]) * WORDS + word[None, :])
        may = tl.load(valid + image * count + place, place < count, 0).to(tl.int32)
        stay, changed = may, 1
        while changed > 0:
            staying = tl.sum(tl.reshape(stay, [WORDS, BITS]) << bit[None, :], 1)
            hits = tl.sum(((removers & staying[None, :]) != 0).to(tl.int32), 1)
            now = tl.where(hits == 0, may, 0)
            changed = tl.sum(now ^ stay, 0)
            stay = now
        tl.store(kept + image * count + place, stay != 0, place < count)

    @triton.jit
    def _along(start, end, index, sample, size, BINS: tl.constexpr, SAMPLES: tl.constexpr):
        """Does the work of `roi_align.cells_along` for one sample of one bin: two cells and their weights."""
        bin_size = tl.maximum(end - start, 1.0) / BINS
        at = start + index * bin_size + (sample + 0.5) * bin_size / SAMPLES
        share = tl.where((at >= -1.0) & (at <= size), 1.0 / SAMPLES, 0.0)
        at = tl.minimum(tl.maximum(at, 0.0), size - 1.0)
        low = at.to(tl.int32)
        above = at - low
        return low, tl.minimum(low + 1, size - 1), (1.0 - above) * share, above * share

    @triton.jit
    def _roi_align(table, boxes, facts, scales, pooled, regions, cells, channels, canonical_scale,
                   canonical_level, finest, coarsest, DOWN: tl.constexpr, ACROSS: tl.constexpr,
                   SAMPLES: tl.constexpr, CHANNELS: tl.constexpr):  # fmt: skip
        """One program for each bin."""
        place = tl.program_id(0)
        region, index = place // (DOWN * ACROSS), place % (DOWN * ACROSS)
        x1, y1 = tl.load(boxes + region * 4), tl.load(boxes + region * 4 + 1)
        x2, y2 = tl.load(boxes + region * 4 + 2), tl.load(boxes + region * 4 + 3)
        side = tl.sqrt((x2 - x1) * (y2 - y1))
        level = tl.floor(canonical_level + tl.log2(side / canonical_scale)) - finest
        level = tl.minimum(tl.maximum(level, 0.0), coarsest * 1.0).to(tl.int32)
        height, width = tl.load(facts + level * 3), tl.load(facts + level * 3 + 1)
        before = tl.load(facts + level * 3 + 2).to(tl.int64) + (region // regions).to(tl.int64) * cells
        scale = tl.load(scales + level)
        channel = tl.arange(0, CHANNELS)
        inside = channel < channels
        total = tl.zeros([CHANNELS], tl.float32)
        for down in tl.static_range(SAMPLES):
            top, bottom, top_share, bottom_share = _along(
                y1 * scale, y2 * scale, index // ACROSS, down, height, DOWN, SAMPLES
            )
            upper = table + (before + top * width) * channels
            lower = table + (before + bottom * width) * channels
            for across in tl.static_range(SAMPLES):
                left, right, left_share, right_share = _along(
                    x1 * scale, x2 * scale, index % ACROSS, across, width, ACROSS, SAMPLES
                )
                left, right = left * channels + channel, right * channels + channel
                total += tl.load(upper + left, inside, 0.0).to(tl.float32) * (top_share * left_share)
                total += tl.load(upper + right, inside, 0.0).to(tl.float32) * (top_share * right_share)
                total += tl.load(lower + left, inside, 0.0).to(tl.float32) * (bottom_share * left_share)
                total += tl.load(lower + right, inside, 0.0).to(tl.float32) * (bottom_share * right_share)
        tl.store(pooled + place.to(tl.int64) * channels + channel, total, inside)

    @triton.jit
    def _finish(values, bias, more, count, channels, height, width, KIND: tl.constexpr,
                RECTIFY: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
        place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = place < count
        channel = place % channels
        total = tl.load(values + place, inside, 0.0).to(tl.float32)
        total += tl.load(bias + channel, inside, 0.0).to(tl.float32)
        if KIND == 1:
            total += tl.load(more + place, inside, 0.0).to(tl.float32)
        if KIND == 2:
            cell = place // channels
            row = cell // width
            image = row // height
            source = (image * (height // 2) + (row % height) // 2) * (width // 2) + (cell % width) // 2
            total += tl.load(more + source * channels + channel, inside, 0.0).to(tl.float32)
        if RECTIFY:
            total = tl.maximum(total, 0.0)
        tl.store(values + place, total, inside)
