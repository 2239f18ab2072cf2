"""Detections: holds the instances that were found in one image.

A box is x1, y1, x2, y2 in pixels of the upright original image. A mask is kept as the small probability map
that the mask head gave. `Detections.mask` turns the map into pixels only when a caller asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MASK_PADDING = 1
"""Cells of zeros that are put around a mask before resizing, as in torchvision's `expand_masks`."""
SOURCES = ("model", "edited", "person")
"""Who an instance comes from: a model, a model and then a person who changed it, or a person."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The N instances of one image, highest score first.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the original image.
        scores: (N,) float32 in [0, 1], from high to low.
        class_ids: (N,) int64, COCO category ids (1 to 90 with gaps).
        mask_probs: (N, M, M) float32 in [0, 1], the mask head's output inside each box.
        ids: (N,) int64, 1 to N when the instances are first detected. An instance keeps its id in `select`.
        image_size: (height, width) of the original image in pixels.
        sources: (N,) uint8, the index of each instance's source in `SOURCES`. By default all are the model's.
        finer_masks: Masks that are not the mask head's, by the instance's id: (K, K) float32 in [0, 1]. They
            take the place of the instance's row in `mask_probs`. For example, a person drew them.

    Raises:
        ValueError: A shape, dtype or value is wrong. The message says what was expected and what came.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    mask_probs: NDArray[np.float32]
    ids: NDArray[np.int64]
    image_size: tuple[int, int]
    sources: NDArray[np.uint8] = None  # type: ignore[assignment]  # `__post_init__` replaces it
    finer_masks: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.sources is None:
            object.__setattr__(self, "sources", np.zeros(count, np.uint8))
        side = self.mask_probs.shape[-1] if self.mask_probs.ndim == 3 else "M"
        _check_array("boxes", self.boxes, (count, 4), np.float32)
        _check_array("scores", self.scores, (count,), np.float32)
        _check_array("class_ids", self.class_ids, (count,), np.int64)
        _check_array("mask_probs", self.mask_probs, (count, side, side), np.float32)
        _check_array("ids", self.ids, (count,), np.int64)
        _check_array("sources", self.sources, (count,), np.uint8)
        if not (len(self.image_size) == 2 and all(side > 0 for side in self.image_size)):
            raise ValueError(f"image_size: expected (height, width), both above 0, got {self.image_size}")
        if np.any(np.diff(self.scores) > 0):
            raise ValueError("scores: expected the highest first, got a score that rises")
        probs = {"scores": self.scores, "mask_probs": self.mask_probs}
        probs |= {f"finer_masks[{id}]": mask for id, mask in self.finer_masks.items()}
        for name, array in probs.items():
            if array.size and not 0 <= array.min() <= array.max() <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {array.min()} to {array.max()}")
        if len(np.unique(self.ids)) != count:
            raise ValueError("ids: expected a different id for each instance, got repeated ones")

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, keep: NDArray[Any]) -> Detections:
        """Returns the instances that `keep` selects.

        Args:
            keep: (N,) bool, or an array of row numbers in rising order.

        Raises:
            ValueError: The scores of the selected rows rise, or a row is selected twice.
        """
        return replace(
            self,
            boxes=self.boxes[keep],
            scores=self.scores[keep],
            class_ids=self.class_ids[keep],
            mask_probs=self.mask_probs[keep],
            ids=self.ids[keep],
            sources=self.sources[keep],
        )

    def with_added(
        self,
        boxes: NDArray[np.float32],
        class_ids: Sequence[int],
        ids: Sequence[int],
        sources: Sequence[int],
        masks: Sequence[NDArray[np.float32]],
    ) -> Detections:
        """Returns these instances and K more behind them, so that none moves. Those get the last score.

        Args:
            boxes: (K, 4) float32, as `boxes`.
            class_ids, ids, sources: One for each, as the arrays of these names.
            masks: One for each, as the values of `finer_masks`.

        Raises:
            ValueError: An id is taken.
        """
        count, side = len(ids), self.mask_probs.shape[-1] if len(self) else 1
        last = self.scores[-1] if len(self) else np.float32(1)
        nothing = np.zeros((count, side, side), np.float32)
        return replace(
            self,
            boxes=np.concatenate([self.boxes, boxes]),
            scores=np.append(self.scores, np.full(count, last, np.float32)),
            class_ids=np.append(self.class_ids, np.array(class_ids, np.int64)),
            mask_probs=np.concatenate([self.mask_probs.reshape(-1, side, side), nothing]),
            ids=np.append(self.ids, np.array(ids, np.int64)),
            sources=np.append(self.sources, np.array(sources, np.uint8)),
            finer_masks={**self.finer_masks, **dict(zip(ids, masks, strict=True))},
        )

    def resized(self, height: int, width: int) -> Detections:
        """Returns the same instances for the same image resized to `height` and `width` pixels."""
        scale = np.array([width / self.image_size[1], height / self.image_size[0]] * 2)
        boxes = (self.boxes * scale).astype(np.float32)
        return replace(self, boxes=boxes, image_size=(height, width))

    def mask(self, i: int, size: tuple[int, int] | None = None, threshold: float = 0.5) -> NDArray[np.bool_]:
        """Returns the binary mask of one instance over the whole image.

        Follows torchvision's `paste_masks_in_image`.

        Args:
            i: The row of the instance, from 0. This is not its id.
            size: The (height, width) of the mask in pixels. By default the size of the original image.
            threshold: A pixel belongs to the mask if its probability is above this threshold.

        Returns:
            (H, W) bool.
        """
        size = size or self.image_size
        (y, x), crop = self.mask_crop(i, size, threshold)
        mask = np.zeros(size, dtype=np.bool_)
        mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        return mask

    def mask_crop(
        self, i: int, size: tuple[int, int] | None = None, threshold: float = 0.5
    ) -> tuple[tuple[int, int], NDArray[np.bool_]]:
        """Returns the part of `mask(i, size, threshold)` that can have pixels in it.

        Returns:
            ((y, x), crop). The crop is (h, w) bool and lies inside the image; (y, x) is the image pixel of
            its upper left corner. Outside the crop the mask is empty.
        """
        corner, probs = self.prob_crop(i, size)
        crop: NDArray[np.bool_] = probs > threshold
        return corner, crop

    def prob_crop(
        self, i: int, size: tuple[int, int] | None = None
    ) -> tuple[tuple[int, int], NDArray[np.float32]]:
        """Returns the probability of each pixel that can belong to row `i`.

        Returns:
            ((y, x), crop) as `mask_crop` gives it, but the crop is (h, w) float32 from 0 to 1.
        """
        height, width = size or self.image_size
        scale = np.array([width / self.image_size[1], height / self.image_size[0]] * 2)
        box = (self.boxes[i] * scale).astype(np.float32)
        probs = self._mask_probs(i)
        x1, y1, x2, y2 = _expanded_box(box, probs.shape[-1])
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if right <= left or bottom <= top:
            return (0, 0), np.zeros((0, 0), dtype=np.float32)
        pad = MASK_PADDING
        padded = cv2.copyMakeBorder(probs, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
        pasted = cv2.resize(padded, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
        crop: NDArray[np.float32] = pasted[top - y1 : bottom - y1, left - x1 : right - x1]
        return (top, left), crop

    def source(self, i: int) -> str:
        """Returns who row `i` comes from, one of `SOURCES`."""
        return SOURCES[self.sources[i]]

    def _mask_probs(self, i: int) -> NDArray[np.float32]:
        finer = self.finer_masks.get(int(self.ids[i])) if self.finer_masks else None
        return self.mask_probs[i] if finer is None else finer

    def area(self, i: int, threshold: float = 0.5) -> int:
        """Returns the number of pixels of the original image in the mask of row `i`."""
        return int(np.count_nonzero(self.mask_crop(i, threshold=threshold)[1]))


def _expanded_box(box_xyxy: NDArray[np.float32], mask_side: int) -> tuple[int, int, int, int]:
    """Returns the place of the padded mask: x1 y1 x2 y2 in whole pixels, x2 and y2 exclusive, at least 1x1.

    Follows torchvision's `expand_boxes` and `paste_mask_in_image`. They enlarge the box by the padding, round
    its corners towards zero, and include the last pixel. The arithmetic is in float32, as in torchvision.
    """
    x1, y1, x2, y2 = box_xyxy
    grow = np.float32((mask_side + 2 * MASK_PADDING) / mask_side)
    half_width, half_height = (x2 - x1) * np.float32(0.5) * grow, (y2 - y1) * np.float32(0.5) * grow
    center_x, center_y = (x2 + x1) * np.float32(0.5), (y2 + y1) * np.float32(0.5)
    left, top = int(center_x - half_width), int(center_y - half_height)
    right, bottom = int(center_x + half_width), int(center_y + half_height)
    return left, top, max(right, left) + 1, max(bottom, top) + 1


def _check_array(name: str, array: NDArray[Any], shape: tuple[int | str, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        expected = f"({', '.join(map(str, shape))}) {np.dtype(dtype)}"
        raise ValueError(f"{name}: expected {expected}, got {array.shape} {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
