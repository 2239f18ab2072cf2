"""Pictures of detections: masks blended in with NumPy, boxes and labels drawn with OpenCV.

Every function takes an image of any size and scales the detections to it; none changes its arguments.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from detections import Detections

ColorBy = Literal["instance", "category"]
Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels."""

FONT = cv2.FONT_HERSHEY_SIMPLEX
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Style:
    """How detections are shown.

    Args:
        masks, boxes, labels: What is drawn.
        opacity: Of the masks, 0 (invisible) to 1 (plain colour).
        color_by: A colour for each instance, or one for each category.
        mask_threshold: A pixel belongs to a mask when its probability is above this.
    """

    masks: bool = True
    boxes: bool = True
    labels: bool = True
    opacity: float = 0.5
    color_by: ColorBy = "instance"
    mask_threshold: float = 0.5


def instance_colors(detections: Detections, color_by: ColorBy = "instance") -> Image:
    """(N, 3) uint8 RGB. A colour follows from the instance's id, or its category's, and nothing else."""
    keys = detections.ids if color_by == "instance" else detections.class_ids
    return np.array([_color(int(key)) for key in keys], dtype=np.uint8).reshape(-1, 3)


def annotate(image: Image, detections: Detections, labels: Sequence[str], style: Style) -> Image:
    """A copy of `image`, (H, W, 3) uint8 RGB, with masks, boxes and labels, as `style` says.

    Args:
        labels: One for each instance.
    """
    annotated = blend_masks(image, detections, style) if style.masks else image
    return draw_boxes(annotated, detections, labels, style)


def blend_masks(image: Image, detections: Detections, style: Style) -> Image:
    """A copy of `image` with each mask's pixels mixed with its colour: (1 - opacity) old + opacity colour.

    The instance with the highest score is laid on last. Outside of the masks every byte stays as it was.
    """
    blended = image.copy()
    colors = instance_colors(detections, style.color_by)
    levels = np.arange(256)[:, np.newaxis]
    for i in reversed(range(len(detections))):
        (y, x), mask = detections.mask_crop(i, image.shape[:2], style.mask_threshold)
        if not mask.size:
            continue
        region = blended[y : y + mask.shape[0], x : x + mask.shape[1]]
        # What each of 256 levels becomes, by channel: bytes in, bytes out, no float image in between.
        mixed = np.round(levels * (1 - style.opacity) + colors[i] * style.opacity).astype(np.uint8)
        cv2.copyTo(cv2.LUT(region, mixed[np.newaxis]), mask.view(np.uint8), region)
    return blended


def draw_boxes(image: Image, detections: Detections, labels: Sequence[str], style: Style) -> Image:
    """A copy of `image` with boxes and labels, each if `style` wants it; the highest score lies on top."""
    drawn = image.copy()
    height, width = image.shape[:2]
    unit = max(0.7, math.hypot(height, width) / 1000)  # lines and letters grow with the picture
    corners = np.round(detections.resized(height, width).boxes).astype(int).tolist()
    boxes: list[Box] = [(x1, y1, x2, y2) for x1, y1, x2, y2 in corners]
    colors = instance_colors(detections, style.color_by).tolist()
    if style.boxes:
        for i in reversed(range(len(boxes))):
            x1, y1, x2, y2 = boxes[i]
            cv2.rectangle(drawn, (x1, y1), (x2 - 1, y2 - 1), colors[i], max(1, round(1.6 * unit)))
    if style.labels:
        plates = [_Plate.of(label, 0.45 * unit) for label in labels]
        places = _place(plates, boxes, (width, height))
        for i in reversed(range(len(boxes))):
            plates[i].draw(drawn, places[i], colors[i])
    return drawn


@dataclass(frozen=True, slots=True)
class _Plate:
    """A label and the size in pixels of the plate that it is written on."""

    text: str
    scale: float
    thickness: int
    pad: int
    text_height: int
    size: tuple[int, int]
    """Width, height."""

    @staticmethod
    def of(text: str, scale: float) -> _Plate:
        thickness, pad = max(1, round(scale * 2)), max(2, round(scale * 6))
        (width, height), baseline = cv2.getTextSize(text, FONT, scale, thickness)
        return _Plate(text, scale, thickness, pad, height, (width + 2 * pad, height + baseline + 2 * pad))

    def draw(self, image: Image, corner: tuple[int, int], color: Sequence[int]) -> None:
        """Onto `image` in place, `corner` (x, y) being the plate's upper left."""
        (x, y), (width, height) = corner, self.size
        cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), color, cv2.FILLED)
        ink = (0, 0, 0) if _luminance(color) > 0.18 else (255, 255, 255)  # the better contrast by WCAG 2
        origin = (x + self.pad, y + self.pad + self.text_height)
        cv2.putText(image, self.text, origin, FONT, self.scale, ink, self.thickness, cv2.LINE_AA)


def _place(plates: Sequence[_Plate], boxes: Sequence[Box], size: tuple[int, int]) -> list[tuple[int, int]]:
    """The upper left corner (x, y) of each plate, inside a picture of `size` (width, height).

    In turn, each takes the first place at its box (above, inside at the top, below, inside at the bottom)
    where it covers no plate placed before, or else the place where it covers least.
    """
    places: list[tuple[int, int]] = []
    taken: list[Box] = []
    for plate, (x1, y1, _, y2) in zip(plates, boxes, strict=True):
        width, height = plate.size
        x = max(0, min(x1, size[0] - width))
        heights = [y for y in (y1 - height, y1, y2, y2 - height) if 0 <= y <= size[1] - height]
        heights = heights or [max(0, min(y1, size[1] - height))]
        covered = [sum(_overlap((x, y, x + width, y + height), other) for other in taken) for y in heights]
        y = heights[covered.index(min(covered))]
        places.append((x, y))
        taken.append((x, y, x + width, y + height))
    return places


def _overlap(a: Box, b: Box) -> int:
    """Pixels that two boxes share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _color(key: int) -> tuple[int, int, int]:
    """A strong colour for a whole number; neighbours differ as hues a golden section apart do."""
    hue = (key * GOLDEN_RATIO) % 1
    value = (1.0, 0.82, 0.92)[key % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.85, 1.0, 0.65)[key // 3 % 3], value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _luminance(color: Sequence[int]) -> float:
    """Relative luminance, 0 to 1, of an sRGB colour (WCAG 2)."""
    linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
