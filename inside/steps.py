"""Steps: shows each step of a run as one picture of the photo's size.

Every function takes the photo as the model received it, (H, W, 3) uint8 RGB, and the steps of a run on it
(`network.inside.Inside`), and returns a picture of the same size. No function runs a network. A point is x
and y in pixels of the photo. An object is the row of an instance, which is its id minus 1.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detections import Detections
from inside.boxes import areas, clipped, decode, suppress
from inside.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    WHITE,
    Color,
    Picture,
    blended,
    dimmed,
    with_bars,
    with_boxes,
    with_cross,
    with_heat,
    with_labels,
)
from marks import shown_score
from network.inside import Inside, Level, Pairs

Point = tuple[float, float]

SAMPLED_CELLS = 4096
"""The number of cells from which the principal components are computed at most."""
COLOR_RANGE = (2, 98)
"""The percentiles of a component that become the darkest and the brightest level of its colour."""
BEST_LABELLED = 20
"""The number of proposals whose objectness is written beside them at most."""
REMOVED_LABELLED = 12
"""The number of removed boxes whose overlap is written beside them at most."""
BARS = 5
"""The number of kinds that have a bar, beside the background."""
SMALL_AREA, LARGE_AREA = 32**2, 96**2
"""COCO calls an object small below the first area, and large above the second one, in pixels."""


# --- 1. What the network sees -------------------------------------------------------------------------------


def seen(photo: Picture, steps: Inside, object: int | None = None) -> Picture:
    """Shows the photo at the network's own size, enlarged so that its pixels can be seen.

    Args:
        object: The object that stays bright. None: the whole photo does.
    """
    height, width = photo.shape[:2]
    pixels = cv2.resize(photo, steps.seen_hw[::-1], interpolation=cv2.INTER_LINEAR)
    shown: Picture = np.asarray(
        cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8
    )
    if object is None:
        return shown
    found = instance(steps, object)
    dark = dimmed(shown, found.mask(0, (height, width)))
    return with_boxes(dark, _at(photo, steps, steps.boxes[[object]]), WHITE)


def seen_pixels(steps: Inside, object: int, mask_threshold: float = 0.5) -> int:
    """Returns how many pixels an object's mask has at the size that the network sees."""
    return instance(steps, object).resized(*steps.seen_hw).area(0, mask_threshold)


def instance(steps: Inside, object: int) -> Detections:
    """Returns one instance in pixels of the photo as the model received it."""
    row = slice(object, object + 1)
    return Detections(
        steps.on_picture(steps.boxes[row]),
        steps.scores[row],
        np.asarray(steps.label_ids, np.int64)[steps.labels[row]],
        steps.mask_probs[row],
        np.array([object + 1]),
        steps.picture_hw,
    )


# --- 2. Features --------------------------------------------------------------------------------------------


def strengths(photo: Picture, steps: Inside, level: int) -> Picture:
    """Shows how strongly the cells of a level react: the length of each cell's vector of features."""
    features = _features(steps, level)
    lengths = np.sqrt(np.einsum("chw,chw->hw", features, features))
    low, high = np.percentile(lengths, COLOR_RANGE)
    return with_heat(photo, _spread((lengths - low) / max(high - low, 1e-6), photo, steps))


def components(photo: Picture, steps: Inside, level: int) -> Picture:
    """Shows the first three principal components of a level's features as red, green and blue.

    Cells of the same colour look alike to the network.
    """
    features = _features(steps, level)
    channels, height, width = features.shape
    cells = features.reshape(channels, -1)
    sample = cells[:, :: max(1, cells.shape[1] // SAMPLED_CELLS)]
    middle = sample.mean(1, keepdims=True)
    _, vectors = np.linalg.eigh(np.cov(sample))
    axes = vectors[:, ::-1][:, :3].astype(np.float32)
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    values = axes.T @ cells - axes.T @ middle
    low, high = np.percentile(values[:, :: max(1, cells.shape[1] // SAMPLED_CELLS)], COLOR_RANGE, axis=1)
    shares = (values - low[:, np.newaxis]) / np.maximum(high - low, 1e-6)[:, np.newaxis]
    colors = _spread(shares.T.reshape(height, width, -1), photo, steps)
    return blended(photo, np.asarray(cv2.convertScaleAbs(colors, alpha=255), np.uint8))


def alike(photo: Picture, steps: Inside, level: int, point: Point) -> Picture:
    """Shows how much each cell looks like the cell at a point: the cosine of the two vectors of features.

    The mean of all cells is taken away before, because all cells have a part in common.
    """
    features = _features(steps, level)
    features -= features.mean((1, 2), keepdims=True)
    row, column = cell_at(photo, steps, level, point)
    chosen = features[:, row, column]
    products = np.tensordot(chosen, features, 1)
    lengths = np.sqrt(np.einsum("chw,chw->hw", features, features)) * np.linalg.norm(chosen)
    cosines = products / np.maximum(lengths, 1e-6)
    return with_cross(with_heat(photo, _spread(cosines.clip(0, 1), photo, steps)), *point)


def cell_at(photo: Picture, steps: Inside, level: int, point: Point) -> tuple[int, int]:
    """Returns the row and the column of a level's cell at a point."""
    height, width = map_size(steps.levels[level])
    down, across = _padded_size(photo, steps)
    row, column = int(point[1] / down * height), int(point[0] / across * width)
    return min(max(row, 0), height - 1), min(max(column, 0), width - 1)


def map_size(level: Level) -> tuple[int, int]:
    """Returns the height and the width of a level in cells. (0, 0) if nothing of it was kept."""
    if level.features is not None:
        return level.features.shape[1], level.features.shape[2]
    return (0, 0) if level.objectness is None else (level.objectness.shape[0], level.objectness.shape[1])


# --- 3. Proposals -------------------------------------------------------------------------------------------


def anchors(photo: Picture, steps: Inside, level: int, point: Point) -> Picture:
    """Shows the anchors of the cell at a point, the one that looks most like an object in orange."""
    here = steps.levels[level]
    assert here.anchors is not None and here.objectness is not None
    row, column = cell_at(photo, steps, level, point)
    order = np.argsort(-here.objectness[row, column])
    boxes = _at(photo, steps, here.anchors[row, column][order])
    colors: list[Color] = [ORANGE] + [BLUE] * (len(order) - 1)
    drawn = with_boxes(dimmed(photo), boxes, colors)
    best = f"objectness {shown_score(_sigmoid(here.objectness[row, column, order[0]]))}"
    return with_labels(with_cross(drawn, *point), boxes[:1], [best], ORANGE)


def objectness(photo: Picture, steps: Inside, level: int) -> Picture:
    """Shows how much the best anchor of each cell looks like an object."""
    logits = steps.levels[level].objectness
    assert logits is not None
    return with_heat(photo, _spread(_sigmoid(logits.max(2)), photo, steps))


def best(photo: Picture, steps: Inside, count: int) -> Picture:
    """Shows the best proposals. The better a proposal is, the more orange and the less blue it is."""
    boxes = _at(photo, steps, steps.proposals[:count])
    shares = np.linspace(1, 0, len(boxes))[:, np.newaxis]
    mixed = np.rint(np.array(ORANGE) * shares + np.array(BLUE) * (1 - shares)).astype(int)
    colors: list[Color] = [(red, green, blue) for red, green, blue in mixed.tolist()]
    drawn = with_boxes(dimmed(photo), boxes, colors, 0.5 if count > BEST_LABELLED else 1)
    if count > BEST_LABELLED or steps.candidates is None:
        return drawn
    scores = steps.candidates.scores[steps.candidates.kept[:count]]
    return with_labels(drawn, boxes, [shown_score(score) for score in scores], colors)


# --- 4. Names -----------------------------------------------------------------------------------------------


def named(photo: Picture, steps: Inside, proposal: int, label: int, bars: list[tuple[str, float]]) -> Picture:
    """Shows the proposal (blue), where it came from (white), where it moved (orange), and the scores as bars.

    Args:
        label: The label whose deltas move the box.
        bars: The name and the score of the likeliest labels.
    """
    boxes = _at(photo, steps, journey(steps, proposal, label))
    colors: list[Color] = [ORANGE, BLUE, WHITE][: len(boxes)]
    x1, y1, x2, y2 = np.rint(boxes[0]).astype(int).tolist()
    kept = np.zeros(photo.shape[:2], np.bool_)
    kept[y1:y2, x1:x2] = True
    drawn = with_boxes(dimmed(photo, kept), boxes, colors)
    drawn = with_labels(drawn, boxes, ["answer", "proposal", "anchor"][: len(boxes)], colors)
    return with_bars(drawn, bars, ((x1 + x2) / 2, (y1 + y2) / 2), ORANGE)


def journey(steps: Inside, proposal: int, label: int) -> NDArray[np.float32]:
    """Returns the boxes of a proposal, the last one first: as `label` moves it, itself, and its anchor.

    Returns:
        (3, 4) float32, or (2, 4) without an anchor, in pixels of the picture that the network sees.
    """
    names, candidates = steps.names, steps.candidates
    assert names is not None
    own = steps.proposals[[proposal]]
    moved = decode(names.deltas[[proposal], label], own, names.weights, names.clip)
    boxes = [clipped(moved, steps.seen_hw), own]
    if candidates is not None:
        row = candidates.kept[proposal]
        level = steps.levels[candidates.levels[row]]
        assert level.anchors is not None
        boxes.append(level.anchors.reshape(-1, 4)[candidates.anchors[row]][np.newaxis])
    return np.concatenate(boxes)


def likeliest(steps: Inside, proposal: int) -> list[tuple[int, float]]:
    """Returns the five likeliest labels of a proposal with their scores, and the background at the end."""
    assert steps.names is not None
    scores = steps.names.scores[proposal]
    order = np.argsort(-scores[1:], kind="stable")[:BARS] + 1
    return [(int(label), float(scores[label])) for label in (*order, 0)]


def proposal_of(steps: Inside, object: int) -> int | None:
    """Returns the proposal that an object came from. None if the network does not say."""
    return None if steps.pairs is None else int(steps.pairs.proposals[steps.pairs.kept[object]])


def proposal_at(photo: Picture, steps: Inside, point: Point) -> int | None:
    """Returns the smallest of the proposals around a point. None if there is none."""
    boxes = _at(photo, steps, steps.proposals)
    x, y = point
    around = (boxes[:, 0] <= x) & (x < boxes[:, 2]) & (boxes[:, 1] <= y) & (y < boxes[:, 3])
    if not around.any():
        return None
    return int(np.where(around, areas(boxes), np.inf).argmin())


# --- 5. Once only -------------------------------------------------------------------------------------------


def once(photo: Picture, steps: Inside, object: int) -> Picture:
    """Shows an object (green) and the boxes that it removed (red), with the overlap of each."""
    removed, ious = removed_for(steps, object)
    assert steps.pairs is not None
    boxes = _at(photo, steps, steps.pairs.boxes[removed])
    own = _at(photo, steps, steps.boxes[[object]])
    drawn = with_boxes(dimmed(photo), boxes, RED, 0.7)
    drawn = with_boxes(drawn, own, GREEN, 1.5)
    shown = slice(0, REMOVED_LABELLED)
    words = [
        f"kept, {shown_score(steps.scores[object])}",
        *(f"IoU {shown_score(iou)}" for iou in ious[shown]),
    ]
    colors = [GREEN, *[RED] * (len(words) - 1)]
    return with_labels(drawn, np.concatenate([own, boxes[shown]]), words, colors)


def removed_for(steps: Inside, object: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns the pairs that an object removed, as rows of `Inside.pairs`, and their overlap with it."""
    assert steps.pairs is not None
    rows = np.flatnonzero(steps.pairs.removed_by == object)
    return rows, steps.pairs.ious[rows]


def once_at(photo: Picture, steps: Inside, threshold: float) -> Picture:
    """Shows all objects at another threshold of overlap: new ones red, lost ones white and crossed out."""
    pairs = steps.pairs
    assert pairs is not None
    kept = kept_at(pairs, threshold)
    same = np.intersect1d(kept, pairs.kept)
    new, lost = np.setdiff1d(kept, same), np.setdiff1d(pairs.kept, same)
    drawn = dimmed(photo)
    for rows, color in ((new, RED), (same, GREEN), (lost, WHITE)):
        drawn = with_boxes(drawn, _at(photo, steps, pairs.boxes[rows]), color)
    for x1, y1, x2, y2 in np.rint(_at(photo, steps, pairs.boxes[lost])).astype(int).tolist():
        cv2.line(drawn, (x1, y1), (x2, y2), WHITE, 1, cv2.LINE_AA)
        cv2.line(drawn, (x1, y2), (x2, y1), WHITE, 1, cv2.LINE_AA)
    return drawn


def kept_at(pairs: Pairs, threshold: float) -> NDArray[np.int64]:
    """Returns the pairs that would become instances at another threshold of overlap, as rows."""
    return suppress(pairs.boxes, pairs.labels, threshold, pairs.most)


# --- 6. Mask ------------------------------------------------------------------------------------------------


def mask_grid(photo: Picture, steps: Inside, object: int) -> Picture:
    """Shows the probabilities of an object's mask as squares in its box, as the mask head gave them."""
    probs = steps.mask_probs[object]
    x1, y1, x2, y2 = np.rint(_at(photo, steps, steps.boxes[[object]])[0]).astype(int).tolist()
    heat = np.zeros(photo.shape[:2], np.float32)
    wide, high = max(1, x2 - x1), max(1, y2 - y1)
    cells = cv2.resize(probs, (wide, high), interpolation=cv2.INTER_NEAREST)
    part = heat[y1 : y1 + high, x1 : x1 + wide]
    part[:] = cells[: part.shape[0], : part.shape[1]]
    drawn = with_heat(photo, heat)
    inside = np.zeros(photo.shape[:2], np.bool_)
    inside[y1 : y1 + high, x1 : x1 + wide] = True
    rest = dimmed(photo)
    cv2.copyTo(drawn, inside.view(np.uint8), rest)
    return with_boxes(rest, np.array([[x1, y1, x2, y2]]), WHITE)


def mask_pasted(photo: Picture, steps: Inside, object: int) -> Picture:
    """Shows the probabilities after they were resized to the photo's pixels."""
    heat = np.zeros(photo.shape[:2], np.float32)
    (y, x), crop = instance(steps, object).prob_crop(0, (photo.shape[0], photo.shape[1]))
    heat[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    return with_heat(photo, heat)


def mask_cut(photo: Picture, steps: Inside, object: int, threshold: float) -> Picture:
    """Shows the pixels whose probability is above a threshold. The rest of the photo is dark."""
    return dimmed(photo, instance(steps, object).mask(0, (photo.shape[0], photo.shape[1]), threshold))


# --- Helpers ------------------------------------------------------------------------------------------------


def _at(photo: Picture, steps: Inside, boxes: NDArray[Any]) -> NDArray[np.float32]:
    """Returns boxes in pixels of the photo, which may be another size than the picture of the run."""
    down, across = photo.shape[0] / steps.picture_hw[0], photo.shape[1] / steps.picture_hw[1]
    return np.asarray(steps.on_picture(boxes) * [across, down, across, down], np.float32)


def _features(steps: Inside, level: int) -> NDArray[np.float32]:
    features = steps.levels[level].features
    assert features is not None
    return features.astype(np.float32)


def _padded_size(photo: Picture, steps: Inside) -> tuple[float, float]:
    """Returns the height and the width of the photo with the network's padding, in pixels of the photo."""
    (height, width), padded, seen = photo.shape[:2], steps.padded_hw, steps.seen_hw
    return height * padded[0] / seen[0], width * padded[1] / seen[1]


def _spread(values: NDArray[Any], photo: Picture, steps: Inside) -> NDArray[np.float32]:
    """Enlarges a map, (h, w) or (h, w, n), from 0 to 1, to the photo's size, without the padding."""
    height, width = photo.shape[:2]
    down, across = (round(side) for side in _padded_size(photo, steps))
    large = cv2.resize(
        values.clip(0, 1).astype(np.float32),
        (max(across, width), max(down, height)),
        interpolation=cv2.INTER_LINEAR,
    )
    return np.ascontiguousarray(large[:height, :width], np.float32)


def _sigmoid(logits: Any) -> Any:
    return 1 / (1 + np.exp(-logits))
