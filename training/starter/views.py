"""Views: crops and mosaics of photos, and what the teacher thinks of each, as the student is to learn it."""

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
"""Larger photos are reduced to this longest side, in px, as COCO's were."""
MOSAICS = 0.4
"""The part of the views that shows four photos."""
SMALLEST_CROP = 0.15
"""Of a photo's area."""
TURNED, TURN = 0.4, 30.0
"""The part of the crops that is turned, and by how many degrees at most."""
TINT = 0.3
"""How much the logarithm of each channel's gamma may differ from 0."""
BEST_PROPOSALS, OTHER_PROPOSALS, MOVED_PROPOSALS = 14, 8, 12
"""Regions of each view that the student learns from: the teacher's best proposals, some of its others, and
the best ones moved and scaled at random."""
MASKS = 4
"""Masks of each view that the student learns from, at most."""
MASK_SCORE = 0.3
"""Only of regions in which the teacher sees an object with at least this score."""


# --- Pictures -----------------------------------------------------------------------------------------------


def draw_view(photos: Sequence[Path], rng: np.random.Generator, side: int) -> Image:
    """A random view (side, side, 3): a crop of one photo, or of four that meet in one point."""
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
    """A random part of a random photo at this size: turned, mirrored or in other colours.

    Teacher and student both see it so. Else the student would soon know the photos by heart.
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
    """About its middle, at the same size; what is missing at the corners is mirrored."""
    rows, columns = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(photo, matrix, (columns, rows), borderMode=cv2.BORDER_REFLECT_101))


def _curves(exponents: NDArray[np.float64]) -> Image:
    """For `cv2.LUT`: what each of 256 levels becomes in three channels, by gammas of e to the `exponents`."""
    levels = np.linspace(0, 1, 256)[:, None] ** np.exp(exponents)
    return np.asarray((255 * levels + 0.5).astype(np.uint8)[None])


# --- The teacher's answers ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class View:
    """One view and the teacher's answers: h, w cells of its feature map, A anchors, K classes."""

    image: NDArray[np.uint8]  # (3, side, side) RGB
    features: NDArray[np.float16]  # (C, h, w)
    objectness: NDArray[np.float16]  # (h, w, A) probabilities
    deltas: NDArray[np.float16]  # (h, w, A, 4) from the student's anchors to the boxes
    regions: NDArray[np.float32]  # (R, 4) px
    classes: NDArray[np.float16]  # (R, K) probabilities; class 0 is background
    boxes: NDArray[np.float32]  # (R, 4) px: where the likeliest object in each region is
    mask_boxes: NDArray[np.float32]  # (M, 4) px
    masks: NDArray[np.float16]  # (M, side, side) probabilities of the likeliest object


def label(teacher: Teacher, images: Tensor, anchors: Tensor, generator: torch.Generator) -> list[View]:
    """The teacher's answers about images (N, 3, side, side) uint8; `anchors` (A, 4) are the student's."""
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
    """Anchors (A, 4) in every cell: (height, width, A, 4)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    corners = STRIDE * torch.stack((x, y, x, y), dim=-1).to(anchors)
    return corners[:, :, None] + anchors


def _regions(scores: Tensor, boxes: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """The regions (R, 4) of one view, in px, to ask about: see `BEST_PROPOSALS`."""
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
    """Boxes and kinds of the objects whose masks are asked for: the best `MASKS` that are not the same."""
    sure = scores * ((boxes[:, 2:] - boxes[:, :2]).min(dim=1).values >= 4) >= MASK_SCORE
    boxes, scores, kinds = boxes[sure], scores[sure], kinds[sure]
    kept = nms(boxes, scores, 0.5)[:MASKS]
    return boxes[kept], kinds[kept]


class Pictures(Dataset[Image]):
    """Views without answers, (3, side, side); view number i of one seed is always the same."""

    def __init__(self, photos: Sequence[Path], side: int, seed: int, first: int) -> None:
        self.photos, self.side, self.seed, self.first = photos, side, seed, first

    def __len__(self) -> int:
        return 1_000_000_000  # without end

    def __getitem__(self, index: int) -> Image:
        rng = np.random.default_rng((self.seed, self.first + index))
        return np.ascontiguousarray(draw_view(self.photos, rng, self.side).transpose(2, 0, 1))


@dataclass(frozen=True, slots=True)
class Batch:
    """Views together, as tensors; what views have different numbers of is one after the other."""

    images: Tensor  # (N, 3, side, side) float32 in 0 to 1
    features: Tensor  # (N, C, h, w)
    objectness: Tensor  # (N, h, w, A)
    deltas: Tensor  # (N, h, w, A, 4)
    regions: list[Tensor]  # N of (R, 4)
    classes: Tensor  # (sum of R, K)
    boxes: Tensor  # (sum of R, 4)
    mask_boxes: list[Tensor]  # N of (M, 4)
    masks: Tensor  # (sum of M, side, side)


def together(views: Sequence[View], device: torch.device) -> Batch:
    """The views as one batch on `device`."""

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
