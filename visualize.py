"""Visualize: draws detections on pictures, cuts objects out, and applies effects to objects or backgrounds.

Every function takes an image of any size and scales the detections to this size. No public function changes
its arguments. OpenCV draws masks and boxes, and Pillow writes labels. `marks` chooses the colours, and the
places of the labels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from detections import Detections
from marks import CORNERS, MIDDLES, ColorBy, ink, instance_colors, label_priorities, place_labels, shown_score

Edges = Literal["hard", "soft"]
Effect = Literal["cut_out", "spotlight", "blur", "pixelate", "blur_background", "color_background"]
Image = NDArray[np.uint8]

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

LINE, LETTERS = 1.2, 9.5
"""The width of lines and the size of letters, in pixels, in a picture with a diagonal of 1000 pixels.

Both grow with the diagonal. So a contour is 1 to 2 pixels wide when a screen shows the whole picture.
"""
LEAST_LETTERS = 11
"""The smallest size of letters in pixels."""
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
        masks, boxes, labels: Whether this part is drawn. Masks have contours, also if their opacity is 0.
        opacity: The opacity of the masks, from 0 (invisible) to 1 (plain colour).
        color_by: "instance" or "category": whether each instance or each category has its own colour.
        mask_threshold: A pixel belongs to a mask if its probability is above this threshold, 0 to 1.
        scores: Whether labels say the score after the name.

    Raises:
        ValueError: A number is out of its range or NaN, or `color_by` is unknown.
    """

    masks: bool = True
    boxes: bool = True
    labels: bool = True
    opacity: float = 0.5
    color_by: ColorBy = "instance"
    mask_threshold: float = 0.5
    scores: bool = False

    def __post_init__(self) -> None:
        for name in ("opacity", "mask_threshold"):
            if not 0 <= getattr(self, name) <= 1:  # NaN fails this test too
                raise ValueError(f"{name}: expected a number from 0 to 1, got {getattr(self, name)!r:.40}.")
        if self.color_by not in get_args(ColorBy):
            raise ValueError(f'color_by: expected "instance" or "category", got {self.color_by!r:.40}.')


def annotate(
    image: Image,
    detections: Detections,
    labels: Sequence[str],
    style: Style,
    among: Detections | None = None,
    colors_rgb: NDArray[np.uint8] | None = None,
) -> Image:
    """Returns a copy of `image` with the masks, boxes and labels that `style` asks for.

    The instance with the highest score lies on top. Labels do not overlap. So in a crowd some objects get a
    dot in place of a label (`marks.place_labels`).

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: One label for each instance, usually its name.
        among: All instances of the result, as for `marks.instance_colors`.
        colors_rgb: (N, 3) uint8, the colours of the instances. By default `marks` chooses them.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: There are more or fewer labels than instances.
    """
    if len(labels) != len(detections):
        raise ValueError(f"labels: expected one for each of {len(detections)} instances, got {len(labels)}")
    drawn = image.copy()
    if colors_rgb is None:
        colors_rgb = instance_colors(detections, style.color_by, among)
    colors = colors_rgb.tolist()
    if style.masks:
        _draw_masks(drawn, detections, colors, style)
    if style.boxes:
        _draw_boxes(drawn, detections, colors)
    if style.labels:
        scores = [f" {shown_score(score)}" if style.scores else "" for score in detections.scores]
        texts = [f"{label}{score}" for label, score in zip(labels, scores, strict=True)]
        _draw_labels(drawn, detections, colors, texts, style.boxes)
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


def _draw_masks(drawn: Image, detections: Detections, colors: Sequence[Sequence[int]], style: Style) -> None:
    """Draws the masks in place: (1 - opacity) * old + opacity * colour, and a contour along each mask's edge.

    The contour lies inside the mask. Outside the mask, a black or white hairline lies around the contour, so
    that the contour shows on every background. No pixel farther outside changes.
    """
    line = _line_width(drawn)
    step = max(1, line // 2)
    hairline = (line + 1) // 2 + step // 2  # the polygons of `_edges` lie half a step inside the mask
    keep = np.eye(3) * (1 - style.opacity)
    for i in reversed(range(len(detections))):
        (y, x), mask = detections.mask_crop(i, drawn.shape[:2], style.mask_threshold)
        if not mask.any():
            continue
        region = drawn[y : y + mask.shape[0], x : x + mask.shape[1]]
        # `cv2.transform` reads and writes bytes, so no float copy of the image is needed.
        mixed = cv2.transform(region, np.column_stack([keep, np.multiply(colors[i], style.opacity)]))
        # Both lines run along the outermost pixels of the mask, which hides one half of each line. A line of
        # OpenCV with a thickness of 2 * n reaches n pixels to both sides.
        edges = _edges(mask, step if min(mask.shape) > 16 * step else 1)
        cv2.drawContours(mixed, edges, -1, colors[i], max(1, 2 * (line - 1)))
        top, left = max(0, y - hairline), max(0, x - hairline)
        around = drawn[top : y + mask.shape[0] + hairline, left : x + mask.shape[1] + hairline]
        cv2.drawContours(around, edges, -1, ink(colors[i]), 2 * hairline, offset=(x - left, y - top))
        cv2.copyTo(mixed, mask.view(np.uint8), region)


def _edges(mask: NDArray[np.bool_], step: int) -> list[NDArray[np.int32]]:
    """Returns polygons along the outermost pixels of `mask` (h, w). Each polygon is (P, 1, 2) int32, x and y.

    Args:
        step: If it is above 1, only every `step`-th pixel of the mask counts. This saves much time in a large
            picture, where a wide line hides the difference.
    """
    start = step // 2
    levels = mask.view(np.uint8)[start::step, start::step]
    found, _ = cv2.findContours(levels, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    return [cv2.approxPolyDP(edge, 0.7, True) * step + start for edge in found] if step > 1 else list(found)


def _draw_boxes(drawn: Image, detections: Detections, colors: Sequence[Sequence[int]]) -> None:
    """Draws a line along the edge of each box, in place."""
    line = _line_width(drawn)
    boxes = _whole(detections, drawn).tolist()
    for (x1, y1, x2, y2), color in zip(reversed(boxes), reversed(colors), strict=True):
        cv2.rectangle(drawn, (x1, y1), (x2 - 1, y2 - 1), color, line)


def _draw_labels(
    drawn: Image,
    detections: Detections,
    colors: Sequence[Sequence[int]],
    texts: Sequence[str],
    at_corners: bool,
) -> None:
    """Draws the labels, and the dots of the objects whose labels have no room, in place."""
    size = max(LEAST_LETTERS, LETTERS * _unit(drawn))
    font = cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))
    ascent, descent = font.getmetrics()
    pad = round(size / 4)
    widths = {text: math.ceil(font.getlength(text)) + 2 * pad for text in set(texts)}
    sizes = np.array([(widths[text], ascent + descent) for text in texts], int).reshape(-1, 2)
    boxes, places = _whole(detections, drawn), CORNERS if at_corners else MIDDLES
    marks = place_labels(boxes, sizes, label_priorities(detections), drawn.shape[:2], places)

    @functools.cache  # a crowd has many equal labels
    def plate(text: str, color: tuple[int, int, int]) -> Image:
        picture = PillowImage.new("RGB", (widths[text], ascent + descent), color)
        ImageDraw.Draw(picture).text((pad, ascent), text, ink(color), font, anchor="ls")
        return np.asarray(picture)

    for i in np.flatnonzero(marks.labelled).tolist():
        x1, y1, x2, y2 = marks.labels_xyxy[i].astype(int).tolist()
        drawn[y1:y2, x1:x2] = plate(texts[i], tuple(colors[i]))
    for i in np.flatnonzero(marks.dotted).tolist():
        x, y, radius = marks.dots_xyr[i].round().astype(int).tolist()
        cv2.circle(drawn, (x, y), radius, ink(colors[i]), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(drawn, (x, y), max(1, radius - _line_width(drawn)), colors[i], cv2.FILLED, cv2.LINE_AA)


def _whole(detections: Detections, image: Image) -> NDArray[np.int64]:
    """Returns the boxes in whole pixels of `image`, (N, 4) int64."""
    return np.round(detections.resized(*image.shape[:2]).boxes).astype(np.int64)


def _unit(image: Image) -> float:
    """Returns the diagonal of `image` in units of 1000 pixels, at least 0.7."""
    return max(0.7, math.hypot(*image.shape[:2]) / 1000)


def _line_width(image: Image) -> int:
    return max(1, round(LINE * _unit(image)))


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
