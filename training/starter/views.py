"""Draws views, which are random crops and mosaics of photos, and labels them with the teacher's answers.

`Pictures` draws views in the workers of a `DataLoader`. `label` asks the teacher about the views. `together`
makes a batch of labelled views, from which the student learns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.ops import clip_boxes_to_image, nms

from photo.images import read_photo
from training.starter.teacher import STRIDE, Teacher, encode

Image = NDArray[np.uint8]

PHOTO_SIDE = 640
"""Larger photos are reduced to this longest side in px, the size of COCO's photos."""
MOSAICS = 0.4
"""The share of the views that show four photos."""
SMALLEST_CROP = 0.15
"""The smallest area of a crop, as a share of its photo's area."""
TURNED, TURN = 0.4, 30.0
"""The share of the crops that are rotated, and the largest angle in degrees."""
TINT = 0.3
"""The logarithm of a channel's random gamma differs from 0 by about this much at most."""
BEST_PROPOSALS, OTHER_PROPOSALS, MOVED_PROPOSALS = 14, 8, 12
"""The numbers of regions in each view that the student learns from.

The regions are the teacher's best proposals, some of its other proposals, and some of the best proposals
moved and scaled at random.
"""
MASKS = 4
"""The student learns from at most this many masks of each view."""
MASK_SCORE = 0.3
"""A mask is used only if the teacher sees an object with at least this score in its region."""


# --- Pictures -----------------------------------------------------------------------------------------------


def draw_view(photos: Sequence[Path], rng: np.random.Generator, side: int) -> Image:
    """Draws a random view (side, side, 3) RGB.

    The view is a crop of one photo, or it holds crops of four photos that meet in one point.
    """
    view = np.empty((side, side, 3), np.uint8)
    if rng.random() >= MOSAICS:
        view[:] = _crop(photos, rng, side, side)
        return view
    x, y = rng.integers(side // 4, side - side // 4, 2)
    for rows in (slice(0, y), slice(y, side)):
        for columns in (slice(0, x), slice(x, side)):
            view[rows, columns] = _crop(photos, rng, columns.stop - columns.start, rows.stop - rows.start)
    return view


def _crop(photos: Sequence[Path], rng: np.random.Generator, width: int, height: int) -> Image:
    """Draws a random part of a random photo at this size.

    The part may be rotated and mirrored, and its colours change. Without these changes the student would soon
    know the photos by heart. The teacher and the student see the same crop.
    """
    photo = read_photo(photos[int(rng.integers(len(photos)))], PHOTO_SIDE).pixels
    if rng.random() < TURNED:
        photo = _turned(photo, rng.uniform(-TURN, TURN))
    rows, columns = photo.shape[:2]
    area = rng.uniform(SMALLEST_CROP, 1.0) * rows * columns
    ratio = width / height * math.exp(rng.uniform(-0.3, 0.3))
    crop_width = min(columns, max(1, round(math.sqrt(area * ratio))))
    crop_height = min(rows, max(1, round(math.sqrt(area / ratio))))
    x = rng.integers(columns - crop_width + 1)
    y = rng.integers(rows - crop_height + 1)
    part = photo[y : y + crop_height, x : x + crop_width]
    shrinks = width * height < crop_width * crop_height
    resized = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    tinted = cv2.LUT(resized, _curves(rng.uniform(-TINT, TINT) + rng.uniform(-TINT, TINT, 3) / 3))
    return np.asarray(tinted[:, ::-1] if rng.random() < 0.5 else tinted, np.uint8)


def _turned(photo: Image, degrees: float) -> Image:
    """Rotates the photo around its middle and keeps its size. The empty corners are filled by reflection."""
    rows, columns = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(photo, matrix, (columns, rows), borderMode=cv2.BORDER_REFLECT_101))


def _curves(exponents: NDArray[np.float64]) -> Image:
    """Returns a table for `cv2.LUT` that applies a gamma to each of three channels.

    A channel's gamma is e to the power of its exponent.
    """
    levels = np.linspace(0, 1, 256)[:, None] ** np.exp(exponents)
    return np.asarray((255 * levels + 0.5).astype(np.uint8)[None])


# --- The teacher's answers ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class View:
    """One view and the teacher's answers.

    The feature map has h by w cells. There are A anchors in a cell, K classes, R regions and M masks.
    """

    image: NDArray[np.uint8]  # (3, side, side) RGB
    features: NDArray[np.float16]  # (C, h, w)
    objectness: NDArray[np.float16]  # (h, w, A) probabilities
    deltas: NDArray[np.float16]  # (h, w, A, 4) from the student's anchors to the proposed boxes
    regions: NDArray[np.float32]  # (R, 4) px
    classes: NDArray[np.float16]  # (R, K) probabilities; class 0 is background
    boxes: NDArray[np.float32]  # (R, 4) px, of the likeliest object in each region
    mask_boxes: NDArray[np.float32]  # (M, 4) px
    masks: NDArray[np.float16]  # (M, m, m) probabilities of the likeliest object; m is the masks' side


def label(teacher: Teacher, images: Tensor, anchors: Tensor, generator: torch.Generator) -> list[View]:
    """Returns the images with the teacher's answers about them.

    Args:
        images: (N, 3, side, side) uint8 RGB.
        anchors: The student's anchors (A, 4) in the first cell, in px.
        generator: The random generator for the choice of the regions.
    """
    images, anchors = images.to(teacher.device), anchors.to(teacher.device)
    features = teacher.features(images.float() / 255)
    logits, proposed = teacher.propose(features)
    deltas = encode(_grid(anchors, logits.shape[1], logits.shape[2]), proposed)
    size = (images.shape[2], images.shape[3])
    regions = [
        _regions(scores.flatten(), clip_boxes_to_image(boxes.flatten(0, 2), size), size, generator)
        for scores, boxes in zip(logits, proposed, strict=True)
    ]
    class_logits, class_boxes = teacher.classify(features, regions)
    classes = class_logits.softmax(dim=1)
    scores, kinds = classes[:, 1:].max(dim=1)
    boxes = clip_boxes_to_image(class_boxes[torch.arange(len(kinds), device=kinds.device), kinds + 1], size)
    counts = [len(part) for part in regions]
    shown = [
        _shown(*parts)
        for parts in zip(*(torch.split(part, counts) for part in (boxes, scores, kinds)), strict=True)
    ]
    mask_boxes = [part for part, _ in shown]
    mask_kinds = torch.cat([part for _, part in shown])
    masks = teacher.segment(features, mask_boxes)[
        torch.arange(len(mask_kinds), device=mask_kinds.device), mask_kinds + 1
    ].sigmoid()
    columns = (
        images,
        features.half(),
        logits.sigmoid().half(),
        deltas.half(),
        regions,
        torch.split(classes.half(), counts),
        torch.split(boxes, counts),
        mask_boxes,
        torch.split(masks.half(), [len(part) for part in mask_boxes]),
    )
    return [View(*(value.cpu().numpy() for value in row)) for row in zip(*columns, strict=True)]


def _grid(anchors: Tensor, height: int, width: int) -> Tensor:
    """Returns the anchors (A, 4) in every cell, (height, width, A, 4)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    corners = STRIDE * torch.stack((x, y, x, y), dim=-1).to(anchors)
    return corners[:, :, None] + anchors


def _regions(scores: Tensor, boxes: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Returns the regions (R, 4) of one view to learn from, in px. See `BEST_PROPOSALS`."""
    scores, order = scores.topk(min(600, len(scores)))
    boxes = boxes[order]
    boxes = boxes[nms(boxes, scores, 0.7)[:120]]
    best, rest = boxes[:BEST_PROPOSALS], boxes[BEST_PROPOSALS:]
    others = rest[torch.randperm(len(rest), generator=generator)[:OTHER_PROPOSALS].to(rest.device)]
    moved = best[torch.randint(len(best), (MOVED_PROPOSALS,), generator=generator).to(best.device)]
    side = (moved[:, 2:] - moved[:, :2]).repeat(1, 2)
    moved = moved + 0.15 * side * torch.randn(len(moved), 4, generator=generator).clamp(-2, 2).to(side)
    chosen: Tensor = clip_boxes_to_image(torch.cat((best, others, moved)), size)
    large = (chosen[:, 2:] - chosen[:, :2]).min(dim=1).values >= 2
    return chosen[large]


def _shown(boxes: Tensor, scores: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the boxes and the kinds of the objects whose masks the teacher computes.

    These are the `MASKS` best objects after non-maximum suppression.
    """
    sure = scores * ((boxes[:, 2:] - boxes[:, :2]).min(dim=1).values >= 4) >= MASK_SCORE
    boxes, scores, kinds = boxes[sure], scores[sure], kinds[sure]
    kept = nms(boxes, scores, 0.5)[:MASKS]
    return boxes[kept], kinds[kept]


class Pictures(Dataset[Image]):
    """Views without answers, (3, side, side) uint8 RGB.

    View number i of one seed is always the same.
    """

    def __init__(self, photos: Sequence[Path], side: int, seed: int, first: int) -> None:
        self.photos, self.side, self.seed, self.first = photos, side, seed, first

    def __len__(self) -> int:
        return 1_000_000_000  # in practice without end

    def __getitem__(self, index: int) -> Image:
        rng = np.random.default_rng((self.seed, self.first + index))
        return np.ascontiguousarray(draw_view(self.photos, rng, self.side).transpose(2, 0, 1))


@dataclass(frozen=True, slots=True)
class Batch:
    """Several views as tensors.

    Views differ in their numbers of regions and masks. So the answers about these are concatenated.
    """

    images: Tensor  # (N, 3, side, side) float32, 0 to 1
    features: Tensor  # (N, C, h, w)
    objectness: Tensor  # (N, h, w, A)
    deltas: Tensor  # (N, h, w, A, 4)
    regions: list[Tensor]  # N of (R, 4)
    classes: Tensor  # (sum of R, K)
    boxes: Tensor  # (sum of R, 4)
    mask_boxes: list[Tensor]  # N of (M, 4)
    masks: Tensor  # (sum of M, m, m)


def together(views: Sequence[View], device: torch.device) -> Batch:
    """Returns the views as one batch on `device`."""

    def column(name: str) -> list[Tensor]:
        return [torch.from_numpy(getattr(view, name)).to(device).float() for view in views]

    return Batch(
        torch.stack(column("image")) / 255,
        torch.stack(column("features")),
        torch.stack(column("objectness")),
        torch.stack(column("deltas")),
        column("regions"),
        torch.cat(column("classes")),
        torch.cat(column("boxes")),
        column("mask_boxes"),
        torch.cat(column("masks")),
    )
