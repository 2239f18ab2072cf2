"""Pictures of detections: masks blended in with NumPy, boxes and labels drawn with OpenCV.

Every function takes an image of any size and scales the detections to it; none changes its arguments.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from detections import Detections

ColorBy = Literal["instance", "category"]
Edges = Literal["hard", "soft"]
Effect = Literal["cut_out", "spotlight", "blur", "pixelate", "blur_background", "color_background"]
Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels."""

EFFECTS: dict[Effect, str] = {
    "cut_out": "Cut out",
    "spotlight": "Spotlight",
    "blur": "Blur the objects",
    "pixelate": "Pixelate the objects",
    "blur_background": "Blur the background",
    "color_background": "Plain background",
}
"""What each effect is called in a menu, in the menu's order."""

PARTS = ("masks", "boxes", "labels")
"""What can be drawn; `Style` has a switch for each."""

FONT = cv2.FONT_HERSHEY_SIMPLEX
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
FEATHER = 1 / 200
"""The standard deviation of a soft edge, as a part of the longer side of the mask."""
SPOTLIGHT_REST = 0.4
"""How much of its brightness is left to what stands outside of the spotlight."""
OBJECT_BLUR, OBJECT_SQUARE = 1 / 16, 1 / 12
"""Standard deviation of the blur, and side of the squares, that hide an object: parts of its longer side.

A face that fills its box is 12 squares high, too few to tell whose it is; in a whole body it has one or two.
"""
MIN_BLUR, MIN_SQUARE = 3, 4
"""The least of both, in pixels."""
BACKGROUND_BLUR = 1 / 50
"""Standard deviation of the background's blur, as a part of the longer side of the picture."""
STEPS = 6
"""Wide blurs are done on a smaller picture, whose pixels are this part of the standard deviation."""


@dataclass(frozen=True, slots=True)
class Style:
    """How detections are shown.

    Args:
        masks, boxes, labels: What is drawn.
        opacity: Of the masks, 0 (invisible) to 1 (plain colour).
        color_by: A colour for each instance, or one for each category.
        mask_threshold: A pixel belongs to a mask when its probability is above this, 0 to 1.

    Raises:
        ValueError: A number out of its range, or not a number at all, or another `color_by`.
    """

    masks: bool = True
    boxes: bool = True
    labels: bool = True
    opacity: float = 0.5
    color_by: ColorBy = "instance"
    mask_threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("opacity", "mask_threshold"):
            if not 0 <= getattr(self, name) <= 1:  # nor is "not a number"
                raise ValueError(f"{name}: expected a number from 0 to 1, got {getattr(self, name)!r:.40}.")
        if self.color_by not in get_args(ColorBy):
            raise ValueError(f'color_by: expected "instance" or "category", got {self.color_by!r:.40}.')


def instance_colors(detections: Detections, color_by: ColorBy = "instance") -> Image:
    """(N, 3) uint8 RGB. A colour follows from the instance's id, or its category's, and nothing else."""
    keys = detections.ids if color_by == "instance" else detections.class_ids
    return np.array([_color(int(key)) for key in keys], dtype=np.uint8).reshape(-1, 3)


def ink(color: Sequence[int]) -> tuple[int, int, int]:
    """Black or white, whichever contrasts more with `color`, 0 to 255 each (WCAG 2)."""
    black = (_luminance(color) + 0.05) / 0.05 > 1.05 / (_luminance(color) + 0.05)
    return (0, 0, 0) if black else (255, 255, 255)


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
    keep = np.eye(3) * (1 - style.opacity)
    for i in reversed(range(len(detections))):
        (y, x), mask = detections.mask_crop(i, image.shape[:2], style.mask_threshold)
        if not mask.size:
            continue
        region = blended[y : y + mask.shape[0], x : x + mask.shape[1]]
        # Bytes in, bytes out, no float image in between.
        mixed = cv2.transform(region, np.column_stack([keep, colors[i] * style.opacity]))
        cv2.copyTo(mixed, mask.view(np.uint8), region)
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


def cut_out(
    image: Image, detections: Detections, i: int, mask_threshold: float = 0.5, edges: Edges = "hard"
) -> Image:
    """What lies in the mask of row `i`, cut out of `image`, (H, W, 3) uint8 RGB.

    Args:
        i: Row, not id.
        mask_threshold: A pixel belongs to the mask when its probability is above this.
        edges: "hard": alpha is 255 in the mask and 0 elsewhere. "soft": it falls across the mask's border,
            over a width that follows the size of the mask.

    Returns:
        (h, w, 4) uint8 RGBA, just large enough for what shows, or (0, 0, 4) if the mask is empty. Where
        alpha is 0 it is black: nothing hidden of the photo travels in the file.
    """
    (y, x), mask = detections.mask_crop(i, image.shape[:2], mask_threshold)
    if not mask.any():
        return np.zeros((0, 0, 4), np.uint8)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    tight = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = tight.shape
    y, x = y + int(rows[0]), x + int(columns[0])
    sigma = max(1.0, max(height, width) * FEATHER)
    room = math.ceil(3 * sigma) if edges == "soft" else 0
    top, left = max(0, y - room), max(0, x - room)
    part = image[top : y + height + room, left : x + width + room]
    alpha = np.zeros(part.shape[:2], np.uint8)
    alpha[y - top : y - top + height, x - left : x - left + width][tight] = 255
    if edges == "soft":
        # A mask that the photo's own edge cuts off goes on behind it, so that it stays opaque there.
        alpha = cv2.GaussianBlur(alpha, (2 * room + 1,) * 2, sigma, borderType=cv2.BORDER_REPLICATE)
    return _with_alpha(part, alpha)


def apply_effect(
    image: Image,
    detections: Detections,
    effect: Effect,
    *,
    mask_threshold: float = 0.5,
    color: tuple[int, int, int] = (255, 255, 255),
) -> Image:
    """A copy of `image`, (H, W, 3) uint8 RGB, with an effect on what the masks cover, or on all the rest.

    "blur" and "pixelate" change pixels inside of the masks only, the other effects pixels outside only. How
    wide they blur follows the size of the object or the picture, so that a photo and its preview look alike.

    Args:
        effect: A key of `EFFECTS`.
        mask_threshold: A pixel belongs to a mask when its probability is above this.
        color: The background's for "color_background".

    Returns:
        (H, W, 3) uint8 RGB; for "cut_out" (H, W, 4) uint8 RGBA, black where alpha is 0.

    Raises:
        ValueError: There is no such effect.
    """
    if effect not in EFFECTS:
        raise ValueError(f"effect: expected one of {', '.join(EFFECTS)}, got {effect!r}")
    if effect in ("blur", "pixelate"):
        return _hide_objects(image, detections, effect == "pixelate", mask_threshold)
    mask = union_mask(detections, image.shape[:2], mask_threshold).view(np.uint8)
    if effect == "cut_out":
        return _with_alpha(image, mask * np.uint8(255))
    if effect == "spotlight":
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        dim = np.round(np.arange(256) * SPOTLIGHT_REST).astype(np.uint8)
        changed: Image = cv2.cvtColor(cv2.LUT(grey, dim), cv2.COLOR_GRAY2RGB)
    elif effect == "blur_background":
        changed = _blurred_background(image, mask)
    else:
        changed = np.full_like(image, color, order="C")
    cv2.copyTo(image, mask, changed)
    return changed


def union_mask(
    detections: Detections, size: tuple[int, int] | None = None, threshold: float = 0.5
) -> NDArray[np.bool_]:
    """(H, W) bool: what any of the masks covers; `size` and `threshold` as in `Detections.mask`."""
    size = size or detections.image_size
    union = np.zeros(size, np.bool_)
    for i in range(len(detections)):
        (y, x), mask = detections.mask_crop(i, size, threshold)
        union[y : y + mask.shape[0], x : x + mask.shape[1]] |= mask
    return union


def _with_alpha(image: Image, alpha: Image) -> Image:
    """(H, W, 4) RGBA; black where `alpha`, (H, W), is 0."""
    rgba: Image = cv2.copyTo(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), alpha)
    rgba[:, :, 3] = alpha
    return rgba


def _hide_objects(image: Image, detections: Detections, pixelate: bool, threshold: float) -> Image:
    """A copy of `image` where no object can be recognised by what shows inside of its mask.

    An object's box is made small and large again, so its colours mix with those around it in the box,
    however narrow the mask is.
    """
    hidden = image.copy()
    height, width = image.shape[:2]
    boxes = detections.resized(height, width).boxes
    lengths = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    # Where masks overlap, the largest object's change holds, the strongest: a tie shows no more of a person.
    for i in np.argsort(lengths, kind="stable").tolist():
        (y, x), mask = detections.mask_crop(i, (height, width), threshold)
        if not mask.any():
            continue
        part = image[y : y + mask.shape[0], x : x + mask.shape[1]]
        if pixelate:
            small = _reduced(part, max(MIN_SQUARE, lengths[i] * OBJECT_SQUARE))
            changed = _enlarged(small, mask.shape, cv2.INTER_NEAREST)
        else:
            sigma = max(MIN_BLUR, lengths[i] * OBJECT_BLUR)
            step = max(1.0, sigma / STEPS)
            small = cv2.GaussianBlur(_reduced(part, step), (0, 0), sigma / step)
            changed = _enlarged(small, mask.shape, cv2.INTER_LINEAR)
        cv2.copyTo(changed, mask.view(np.uint8), hidden[y : y + mask.shape[0], x : x + mask.shape[1]])
    return hidden


def _blurred_background(image: Image, mask: Image) -> Image:
    """`image`, blurred; each pixel is a mean over background pixels alone, so no object leaves a halo.

    Args:
        mask: (H, W) uint8, 0 on the background. What comes back where it is not 0 means nothing.
    """
    sigma = max(1.0, max(mask.shape) * BACKGROUND_BLUR)
    step = max(1.0, sigma / STEPS)
    background = (mask == 0).astype(np.float32)
    # One channel at a time: four bytes for each pixel of the photo, not twelve.
    channels = [_reduced(image[:, :, c] * background, step) for c in range(3)]
    weight = _reduced(background, step)
    total, weight = (cv2.GaussianBlur(x, (0, 0), sigma / step) for x in (np.dstack(channels), weight))
    mean = total / np.maximum(weight, np.finfo(np.float32).tiny)[:, :, np.newaxis]
    return _enlarged(np.round(mean).clip(0, 255).astype(np.uint8), mask.shape, cv2.INTER_LINEAR)


def _reduced(image: NDArray[Any], step: float) -> NDArray[Any]:
    """About `step` times smaller on both axes; each pixel is the mean of those it stands for."""
    height, width = (max(1, round(side / step)) for side in image.shape[:2])
    reduced: NDArray[Any] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return reduced


def _enlarged(image: Image, size: tuple[int, int], interpolation: int) -> Image:
    """At `size`, (height, width)."""
    enlarged: Image = cv2.resize(image, (size[1], size[0]), interpolation=interpolation)
    return enlarged


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
        origin = (x + self.pad, y + self.pad + self.text_height)
        cv2.putText(image, self.text, origin, FONT, self.scale, ink(color), self.thickness, cv2.LINE_AA)


def _place(plates: Sequence[_Plate], boxes: Sequence[Box], size: tuple[int, int]) -> list[tuple[int, int]]:
    """The upper left corner (x, y) of each plate, inside a picture of `size` (width, height).

    In turn, each takes the first place at its box (above, inside at the top, below, inside at the bottom)
    where it covers no plate placed before, or else the place where it covers least.
    """
    places: list[tuple[int, int]] = []
    taken = np.zeros((len(plates), 4), np.int64)
    for i, (plate, (x1, y1, _, y2)) in enumerate(zip(plates, boxes, strict=True)):
        width, height = plate.size
        x = max(0, min(x1, size[0] - width))
        heights = [y for y in (y1 - height, y1, y2, y2 - height) if 0 <= y <= size[1] - height]
        heights = heights or [max(0, min(y1, size[1] - height))]
        choices = np.array([(x, y, x + width, y + height) for y in heights])
        y = heights[_overlaps(choices, taken[:i]).sum(axis=1).argmin()]
        places.append((x, y))
        taken[i] = x, y, x + width, y + height
    return places


def _overlaps(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """(A, B): pixels that each of the boxes `a`, (A, 4), shares with each of `b`, (B, 4)."""
    first, last = np.maximum(a[:, np.newaxis, :2], b[:, :2]), np.minimum(a[:, np.newaxis, 2:], b[:, 2:])
    shared: NDArray[np.int64] = (last - first).clip(0).prod(axis=2)
    return shared


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
