"""Visualize: draws detections on pictures, cuts objects out, and applies effects to objects or backgrounds.

Every function takes an image of any size and scales the detections to this size. No function changes its
arguments. OpenCV blends the masks and draws boxes and labels.
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
"""The name of each effect in a menu, in the order of the menu."""

PARTS = ("masks", "boxes", "labels")
"""The parts that can be drawn. `Style` has a switch for each part."""

FONT = cv2.FONT_HERSHEY_SIMPLEX
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
FEATHER = 1 / 200
"""The standard deviation of a soft edge, as a fraction of the longer side of the mask."""
SPOTLIGHT_REST = 0.4
"""The fraction of brightness that remains outside the spotlight."""
OBJECT_BLUR, OBJECT_SQUARE = 1 / 16, 1 / 12
"""The standard deviation of the blur, and the side of the squares, that hide an object.

Both are fractions of the object's longer side. A face that fills its box is 12 squares high: too few to
recognise the person. The face of a whole body is only one or two squares high.
"""
MIN_BLUR, MIN_SQUARE = 3, 4
"""The smallest standard deviation and the smallest square, in pixels."""
BACKGROUND_BLUR = 1 / 50
"""The standard deviation of the background's blur, as a fraction of the longer side of the picture."""
STEPS = 6
"""A wide blur works on a reduced picture, in which the standard deviation is this many pixels."""


@dataclass(frozen=True, slots=True)
class Style:
    """How detections are drawn.

    Args:
        masks, boxes, labels: Whether this part is drawn.
        opacity: The opacity of the masks, from 0 (invisible) to 1 (plain colour).
        color_by: "instance" or "category": whether each instance or each category has its own colour.
        mask_threshold: A pixel belongs to a mask if its probability is above this threshold, 0 to 1.

    Raises:
        ValueError: A number is out of its range or NaN, or `color_by` is unknown.
    """

    masks: bool = True
    boxes: bool = True
    labels: bool = True
    opacity: float = 0.5
    color_by: ColorBy = "instance"
    mask_threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("opacity", "mask_threshold"):
            if not 0 <= getattr(self, name) <= 1:  # NaN fails this test too
                raise ValueError(f"{name}: expected a number from 0 to 1, got {getattr(self, name)!r:.40}.")
        if self.color_by not in get_args(ColorBy):
            raise ValueError(f'color_by: expected "instance" or "category", got {self.color_by!r:.40}.')


def instance_colors(detections: Detections, color_by: ColorBy = "instance") -> Image:
    """Returns the colours of the instances, (N, 3) uint8 RGB.

    A colour depends only on the instance's id, or only on its category id.
    """
    keys = detections.ids if color_by == "instance" else detections.class_ids
    return np.array([_color(int(key)) for key in keys], dtype=np.uint8).reshape(-1, 3)


def ink(color: Sequence[int]) -> tuple[int, int, int]:
    """Returns black or white, whichever has more contrast with `color` by WCAG 2. All are RGB, 0 to 255."""
    black = (_luminance(color) + 0.05) / 0.05 > 1.05 / (_luminance(color) + 0.05)
    return (0, 0, 0) if black else (255, 255, 255)


def annotate(image: Image, detections: Detections, labels: Sequence[str], style: Style) -> Image:
    """Returns a copy of `image` with the masks, boxes and labels that `style` asks for.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: One label for each instance.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    annotated = blend_masks(image, detections, style) if style.masks else image
    return draw_boxes(annotated, detections, labels, style)


def blend_masks(image: Image, detections: Detections, style: Style) -> Image:
    """Returns a copy of `image` with the masks in colour: (1 - opacity) * old + opacity * colour.

    The instance with the highest score is drawn last. Outside the masks no byte changes.
    """
    blended = image.copy()
    colors = instance_colors(detections, style.color_by)
    keep = np.eye(3) * (1 - style.opacity)
    for i in reversed(range(len(detections))):
        (y, x), mask = detections.mask_crop(i, image.shape[:2], style.mask_threshold)
        if not mask.size:
            continue
        region = blended[y : y + mask.shape[0], x : x + mask.shape[1]]
        # `cv2.transform` reads and writes bytes, so no float copy of the image is needed.
        mixed = cv2.transform(region, np.column_stack([keep, colors[i] * style.opacity]))
        cv2.copyTo(mixed, mask.view(np.uint8), region)
    return blended


def draw_boxes(image: Image, detections: Detections, labels: Sequence[str], style: Style) -> Image:
    """Returns a copy of `image` with boxes and labels, as far as `style` asks for them.

    The instance with the highest score lies on top.
    """
    drawn = image.copy()
    height, width = image.shape[:2]
    unit = max(0.7, math.hypot(height, width) / 1000)  # so that lines and letters grow with the picture
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
    """Cuts one instance out of `image`, along its mask.

    Args:
        image: (H, W, 3) uint8 RGB.
        i: The row of the instance, not its id.
        mask_threshold: A pixel belongs to the mask if its probability is above this threshold.
        edges: "hard": alpha is 255 in the mask and 0 elsewhere. "soft": alpha falls gradually across the
            mask's border. The width of this edge grows with the mask.

    Returns:
        (h, w, 4) uint8 RGBA, just large enough for the visible pixels, or (0, 0, 4) if the mask is empty.
        Pixels with alpha 0 are black, so the file contains no hidden part of the photo.
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
        # If the edge of the photo cuts the mask off, the cut-out must stay opaque there. So the alpha values
        # are continued beyond the edge.
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
    """Returns a copy of `image` with an effect on the objects or on the background.

    "blur" and "pixelate" change only pixels inside the masks. The other effects change only pixels outside.
    The width of a blur follows the size of the object or the picture, so a photo and its preview look alike.

    Args:
        image: (H, W, 3) uint8 RGB.
        effect: A key of `EFFECTS`.
        mask_threshold: A pixel belongs to a mask if its probability is above this threshold.
        color: The RGB colour of the background for "color_background", 0 to 255.

    Returns:
        (H, W, 3) uint8 RGB. For "cut_out" (H, W, 4) uint8 RGBA, black where alpha is 0.

    Raises:
        ValueError: `effect` is unknown.
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
    """Returns the pixels that at least one mask covers, (H, W) bool.

    `size` and `threshold` are the same as in `Detections.mask`.
    """
    size = size or detections.image_size
    union = np.zeros(size, np.bool_)
    for i in range(len(detections)):
        (y, x), mask = detections.mask_crop(i, size, threshold)
        union[y : y + mask.shape[0], x : x + mask.shape[1]] |= mask
    return union


def _with_alpha(image: Image, alpha: Image) -> Image:
    """Returns `image` with `alpha` (H, W) as (H, W, 4) RGBA. Pixels with alpha 0 are black."""
    rgba: Image = cv2.copyTo(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), alpha)
    rgba[:, :, 3] = alpha
    return rgba


def _hide_objects(image: Image, detections: Detections, pixelate: bool, threshold: float) -> Image:
    """Returns a copy of `image` in which nobody can recognise an object from the inside of its mask.

    The object's whole box is reduced and enlarged again. So the object's colours mix with the other colours
    in the box, even if the mask is narrow.
    """
    hidden = image.copy()
    height, width = image.shape[:2]
    boxes = detections.resized(height, width).boxes
    lengths = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    # The largest object comes last. So where masks overlap, its change is kept, which is the strongest: the
    # mask of a tie does not show more of the person.
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
    """Returns `image` with a blurred background.

    Each pixel is a mean over background pixels only, so no object leaves a halo.

    Args:
        mask: (H, W) uint8, 0 on the background. Where it is not 0, the result has no meaning.
    """
    sigma = max(1.0, max(mask.shape) * BACKGROUND_BLUR)
    step = max(1.0, sigma / STEPS)
    background = (mask == 0).astype(np.float32)
    # One channel at a time, which takes four bytes of memory for each pixel of the photo instead of twelve.
    channels = [_reduced(image[:, :, c] * background, step) for c in range(3)]
    weight = _reduced(background, step)
    total, weight = (cv2.GaussianBlur(x, (0, 0), sigma / step) for x in (np.dstack(channels), weight))
    mean = total / np.maximum(weight, np.finfo(np.float32).tiny)[:, :, np.newaxis]
    return _enlarged(np.round(mean).clip(0, 255).astype(np.uint8), mask.shape, cv2.INTER_LINEAR)


def _reduced(image: NDArray[Any], step: float) -> NDArray[Any]:
    """Returns `image` about `step` times smaller on both axes.

    Each new pixel is the mean of the old pixels that it covers.
    """
    height, width = (max(1, round(side / step)) for side in image.shape[:2])
    reduced: NDArray[Any] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return reduced


def _enlarged(image: Image, size: tuple[int, int], interpolation: int) -> Image:
    """Returns `image` enlarged to `size`, (height, width)."""
    enlarged: Image = cv2.resize(image, (size[1], size[0]), interpolation=interpolation)
    return enlarged


@dataclass(frozen=True, slots=True)
class _Plate:
    """A label, and the measures in pixels of the coloured plate that the label is written on."""

    text: str
    scale: float
    thickness: int
    pad: int
    text_height: int
    size: tuple[int, int]
    """The width and height of the plate."""

    @staticmethod
    def of(text: str, scale: float) -> _Plate:
        """Measures the plate for `text` in letters of this scale."""
        thickness, pad = max(1, round(scale * 2)), max(2, round(scale * 6))
        (width, height), baseline = cv2.getTextSize(text, FONT, scale, thickness)
        return _Plate(text, scale, thickness, pad, height, (width + 2 * pad, height + baseline + 2 * pad))

    def draw(self, image: Image, corner: tuple[int, int], color: Sequence[int]) -> None:
        """Draws the plate on `image`, in place, with its upper left corner at `corner` (x, y)."""
        (x, y), (width, height) = corner, self.size
        cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), color, cv2.FILLED)
        origin = (x + self.pad, y + self.pad + self.text_height)
        cv2.putText(image, self.text, origin, FONT, self.scale, ink(color), self.thickness, cv2.LINE_AA)


def _place(plates: Sequence[_Plate], boxes: Sequence[Box], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns the upper left corner (x, y) of each plate, inside a picture of `size` (width, height).

    The plates are placed in order. Each plate has four possible places at its box: above, inside at the top,
    below, inside at the bottom. It takes the first place where it covers no earlier plate. If there is none,
    it takes the place where it covers the fewest pixels of earlier plates.
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
    """Returns how many pixels each box of `a` (A, 4) shares with each box of `b` (B, 4), as (A, B)."""
    first, last = np.maximum(a[:, np.newaxis, :2], b[:, :2]), np.minimum(a[:, np.newaxis, 2:], b[:, 2:])
    shared: NDArray[np.int64] = (last - first).clip(0).prod(axis=2)
    return shared


def _color(key: int) -> tuple[int, int, int]:
    """Returns a strong RGB colour for a whole number.

    The hues of two neighbouring numbers are a golden section apart, so they differ clearly.
    """
    hue = (key * GOLDEN_RATIO) % 1
    value = (1.0, 0.82, 0.92)[key % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.85, 1.0, 0.65)[key // 3 % 3], value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _luminance(color: Sequence[int]) -> float:
    """Returns the relative luminance, 0 to 1, of an sRGB colour (WCAG 2)."""
    linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
