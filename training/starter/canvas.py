"""Draws views and labels them on the device that trains, for graphics processors.

`Canvas` holds all photos on the device and cuts views out of them, as `training.starter.views` does on the
processor. `label_at_once` asks the teacher about all views together. It uses fixed numbers of regions, so
nothing waits for the device except the choice of masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import clip_boxes_to_image

from photo.images import read_photo
from training.starter import views
from training.starter.teacher import Teacher, encode
from training.starter.views import Batch

CANVAS = 512
"""Photos are reduced to this longest side in px."""
CANDIDATES, POOL = 400, 100
"""The numbers of best proposals that are compared with each other, and that regions are chosen from."""
AT_ONCE = 32
"""The number of crops that are cut out together, which bounds the memory."""


class Canvas:
    """All photos in one tensor on a device.

    Args:
        photos: The photos' files. A photo that is named more often is drawn more often.
        seed: The same seed gives the same views.
        threads: The number of photos that are read at the same time.
    """

    def __init__(self, photos: Sequence[Path], device: torch.device, seed: int, threads: int = 8) -> None:
        files = list(dict.fromkeys(photos))
        places = {file: place for place, file in enumerate(files)}
        pixels = torch.zeros(len(files), 3, CANVAS, CANVAS, dtype=torch.uint8)
        size_wh = torch.zeros(len(files), 2)

        def put(place: int) -> None:
            image = read_photo(files[place], CANVAS).pixels
            height, width = image.shape[:2]
            pixels[place, :, :height, :width] = torch.from_numpy(
                np.ascontiguousarray(image.transpose(2, 0, 1))
            )
            size_wh[place] = torch.tensor([width, height])

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(put, range(len(files))))
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)
        self._corners = np.random.default_rng(seed)
        self._pixels, self._size_wh = pixels.to(device), size_wh.to(device)
        self._places = torch.tensor([places[file] for file in photos], device=device)

    def draw(self, count: int, side: int) -> Tensor:
        """Returns views (count, 3, side, side) float32, in steps of 1/255. All mosaics meet in one point."""
        mosaics = int(count * views.MOSAICS)
        drawn = torch.empty(count, 3, side, side, device=self.device)
        drawn[mosaics:] = self._crops(count - mosaics, side, side)
        x, y = (int(place) for place in self._corners.integers(side // 4, side - side // 4, 2))
        for rows in (slice(0, y), slice(y, side)):
            for columns in (slice(0, x), slice(x, side)):
                part = self._crops(mosaics, columns.stop - columns.start, rows.stop - rows.start)
                drawn[:mosaics, :, rows, columns] = part
        return (drawn * 255).round() / 255

    def _crops(self, count: int, width: int, height: int) -> Tensor:
        """Returns random parts (count, 3, height, width), as `views._crop` draws them."""
        if not count:
            return torch.empty(0, 3, height, width, device=self.device)
        chosen = torch.randint(len(self._places), (count,), device=self.device, generator=self.generator)
        place = self._places[chosen]
        columns, rows = self._size_wh[place].unbind(1)
        area = self._uniform(views.SMALLEST_CROP, 1.0, count) * columns * rows
        ratio = width / height * self._uniform(-0.3, 0.3, count).exp()
        crop_width = torch.minimum(columns, (area * ratio).sqrt())
        crop_height = torch.minimum(rows, (area / ratio).sqrt())
        left = self._uniform(0.0, 1.0, count) * (columns - crop_width)
        top = self._uniform(0.0, 1.0, count) * (rows - crop_height)
        across = (torch.arange(2 * width, device=self.device) + 0.5) / (
            2 * width
        )  # 2x2 samples for each pixel
        down = (torch.arange(2 * height, device=self.device) + 0.5) / (2 * height)
        mirrored = self._uniform(0.0, 1.0, count, 1) < 0.5
        x = left[:, None] + torch.where(mirrored, 1 - across, across) * crop_width[:, None]
        y = top[:, None] + down * crop_height[:, None]
        x, y = (x - columns[:, None] / 2)[:, None, :], (y - rows[:, None] / 2)[:, :, None]
        angle = math.radians(views.TURN) * self._uniform(-1.0, 1.0, count)
        angle = (angle * (self._uniform(0.0, 1.0, count) < views.TURNED))[:, None, None]
        turned_x = _reflected(x * angle.cos() - y * angle.sin() + columns[:, None, None] / 2, columns)
        turned_y = _reflected(x * angle.sin() + y * angle.cos() + rows[:, None, None] / 2, rows)
        grid = torch.stack((turned_x, turned_y), -1) * (2 / CANVAS) - 1
        parts = [
            functional.avg_pool2d(
                functional.grid_sample(self._pixels[some].float() / 255, where, align_corners=False), 2
            )
            for some, where in zip(torch.split(place, AT_ONCE), torch.split(grid, AT_ONCE), strict=True)
        ]
        tint = self._uniform(-views.TINT, views.TINT, count, 1)
        tint = tint + self._uniform(-views.TINT, views.TINT, count, 3) / 3
        return torch.cat(parts).clamp(1e-4, 1) ** tint.exp()[:, :, None, None]

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, device=self.device, generator=self.generator)


def _reflected(places: Tensor, size: Tensor) -> Tensor:
    """Returns the places along one axis, with those outside of a photo of `size` px reflected into it."""
    most = size[:, None, None]
    places = torch.remainder(places, 2 * most)
    places = torch.where(places > most, 2 * most - places, places)
    return torch.minimum(places.clamp(min=0.5), most - 0.5)


@torch.no_grad()
def label_at_once(teacher: Teacher, images: Tensor, anchors: Tensor, generator: torch.Generator) -> Batch:
    """Returns the images with the teacher's answers about them, as `views.label` and `views.together` do.

    Args:
        images: (N, 3, side, side) float32, 0 to 1, on the teacher's device.
        anchors: The student's anchors (A, 4) in the first cell, in px.
        generator: The random generator for the choice of the regions, on the same device.
    """
    size, anchors = (images.shape[2], images.shape[3]), anchors.to(images.device)
    features = teacher.features(images).clone()
    logits, proposed = (answer.clone() for answer in teacher.propose(features))
    deltas = encode(views._grid(anchors, logits.shape[1], logits.shape[2]), proposed)
    regions = _regions(logits, proposed, size, generator)
    class_logits, class_boxes = teacher.classify(features, list(regions))
    classes = class_logits.softmax(1)
    scores, kinds = classes[:, 1:].max(1)
    here = torch.arange(len(kinds), device=images.device)
    boxes = clip_boxes_to_image(class_boxes[here, kinds + 1], size)
    shape = regions.shape[:2]
    shown, shown_kinds = _shown(boxes.view(*shape, 4), scores.view(shape), kinds.view(shape))
    inside = teacher.segment(features, shown)
    masks = inside[torch.arange(len(shown_kinds), device=images.device), shown_kinds + 1].sigmoid()
    return Batch(images, features, logits.sigmoid(), deltas, list(regions), classes, boxes, shown, masks)


def _regions(logits: Tensor, proposed: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Returns the regions (N, R, 4) to learn from, in px. See `views.BEST_PROPOSALS`."""
    flat = logits.flatten(1)
    order = flat.topk(min(CANDIDATES, flat.shape[1])).indices
    boxes = _taken(clip_boxes_to_image(proposed.flatten(1, 3), size), order)
    last = torch.arange(boxes.shape[1], device=boxes.device).expand(len(boxes), -1)
    rank = torch.where(_unsuppressed(boxes, 0.7), last, CANDIDATES).argsort(dim=1, stable=True)
    best, pool = rank[:, : views.BEST_PROPOSALS], rank[:, views.BEST_PROPOSALS : POOL]
    chances = torch.rand(pool.shape, device=boxes.device, generator=generator)
    drawn = chances.topk(min(views.OTHER_PROPOSALS, pool.shape[1])).indices
    moved_from = (len(boxes), views.MOVED_PROPOSALS)
    moved = torch.randint(best.shape[1], moved_from, device=boxes.device, generator=generator)
    moved_boxes = _taken(boxes, best.gather(1, moved))
    side = (moved_boxes[..., 2:] - moved_boxes[..., :2]).repeat(1, 1, 2)
    noise = torch.randn(moved_boxes.shape, device=boxes.device, generator=generator).clamp(-2, 2)
    chosen = (_taken(boxes, best), _taken(boxes, pool.gather(1, drawn)), moved_boxes + 0.15 * side * noise)
    regions = clip_boxes_to_image(torch.cat(chosen, 1), size)
    corner = torch.minimum(regions[..., :2], regions.new_tensor([size[1], size[0]]) - 2)
    return torch.cat((corner, torch.maximum(regions[..., 2:], corner + 2)), -1)  # at least 2 px wide


def _shown(boxes: Tensor, scores: Tensor, kinds: Tensor) -> tuple[list[Tensor], Tensor]:
    """Returns the boxes of each view's objects with masks, and the kinds of all. See `views._shown`."""
    large = (boxes[..., 2:] - boxes[..., :2]).min(-1).values >= 4
    scores, order = (scores * large).sort(1, descending=True)
    boxes, kinds = _taken(boxes, order), kinds.gather(1, order)
    kept = (scores >= views.MASK_SCORE) & _unsuppressed(boxes, 0.5)
    kept &= kept.cumsum(1) <= views.MASKS
    return list(torch.split(boxes[kept], kept.sum(1).tolist())), kinds[kept]


def _taken(boxes: Tensor, order: Tensor) -> Tensor:
    return boxes.gather(1, order[..., None].expand(-1, -1, 4))


def _unsuppressed(boxes: Tensor, most: float) -> Tensor:
    """Returns whether no better box overlaps a box by more than `most`. Boxes (N, n, 4), best first.

    Non-maximum suppression would compare with the boxes that are left only. This compares with all.
    """
    corner = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    shared = (torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:]) - corner).clamp(min=0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
    overlap = shared / (area[:, :, None] + area[:, None] - shared).clamp(min=1e-6)
    return ~(overlap > most).tril(-1).any(-1)
