"""Opened: reads annotations of a photo that were made before, so that a person can go on with them.

COCO's JSON (also ours and CVAT's) and labelme's JSON are read. Sources: "Data format" of
https://cocodataset.org, and https://github.com/wkentaro/labelme. The file is a stranger's, so every value is
checked, and no mask is larger than the photo.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from answer.edits import MAX_NEW_NAMES, checked_name
from answer.formats import BY_A_PERSON
from answer.progress import OnStage, ignore_stage
from answer.result import Result
from answer.settings import MAX_ID, SettingsError, said
from detections import SOURCES, Detections
from matching import box_intersections, shared_pixels

MAX_FILE_BYTES = 10_000_000
HIGHEST_ID = MAX_ID // 2
"""An object with a higher id in the file gets another one, so that objects that are added later have ids."""
MAX_OBJECTS = 500
MOST_LENGTH = 1_000_000
"""The largest sum of the lengths of an object's lines in pixels. Drawing them takes memory in proportion."""
MOST_COVER, LEAST_PIXELS = 6, 50_000_000
"""All boxes together may be this many times as large as the photo, or have this many pixels."""
SAME = 0.98
"""A mask in the file and one of the model's with this overlap (IoU) or more are the same object."""
NEAR = 0.6
"""What has the same mask has boxes with at least this intersection over union, even if it is tiny."""
SIDES = (28, 112)
"""The smallest and the largest side of a kept mask, in cells."""
NO_ANNOTATIONS = (
    "This JSON file holds no annotations that can be read. Please use COCO's format or labelme's, with masks "
    "or polygons."
)


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """One object of the file.

    Args:
        name: Its kind.
        corner: y and x of the photo's pixel at the upper left corner of `mask`.
        mask: (h, w) bool, the pixels that belong to it, cut to their box. It may be empty.
        id: Its id in the file, or 0.
        source: One of `detections.SOURCES`, or "" if the file does not say it.
    """

    name: str
    corner: tuple[int, int]
    mask: NDArray[np.bool_]
    id: int = 0
    source: str = ""


def read_annotations(path: Path, photo_name: str, image_size: tuple[int, int]) -> list[Annotation]:
    """Returns the objects that a file names for a photo.

    Args:
        photo_name: The name of the photo's file, to find the photo in a file about several photos.
        image_size: (height, width) of the photo in pixels.

    Raises:
        SettingsError: The file is too large, damaged, in another format, or about another photo.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"These annotations are larger than {MAX_FILE_BYTES // 1_000_000} MB.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except SettingsError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError("This JSON file is damaged: it cannot be read.") from error
    if not isinstance(content, dict):
        raise SettingsError(NO_ANNOTATIONS)
    try:
        if "annotations" in content and "images" in content:
            found = _of_coco(content, photo_name, image_size)
        elif "shapes" in content:
            found = _of_labelme(content, image_size)
        else:
            raise SettingsError(NO_ANNOTATIONS)
    except SettingsError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError, ValueError) as error:
        raise SettingsError(NO_ANNOTATIONS) from error
    if len(names := {one.name for one in found}) > MAX_NEW_NAMES:
        raise SettingsError(
            f"These annotations have {len(names)} kinds. At most {MAX_NEW_NAMES} can be opened."
        )
    return found


def continued_result(result: Result, path: Path, photo_name: str, on_stage: OnStage = ignore_stage) -> Result:
    """Returns a result that goes on with the annotations in a file, in place of what the model found.

    Args:
        photo_name: The name of the photo's file as its owner knows it.
        on_stage: Called between the objects.

    Raises:
        SettingsError: As `read_annotations`.
    """
    on_stage(0.9, "Reading the annotations")
    annotations = read_annotations(path, photo_name, result.detections.image_size)
    names = tuple(dict.fromkeys(one.name for one in annotations))
    result = replace(result, more_names=names)
    class_ids = {category.name: category.id for category in result.categories}
    detections = continued(result.detections, annotations, class_ids, on_stage)
    same = int(np.count_nonzero(detections.sources == 0))
    note = (
        f"Opened with its annotations: {len(detections)} objects, {same} of them as the model finds them. "
        "What the model finds besides is left out."
    )
    return replace(result, detections=detections, notes=(*result.notes, note))


def continued(
    detections: Detections,
    annotations: Iterable[Annotation],
    class_ids: Mapping[str, int],
    on_stage: OnStage = ignore_stage,
) -> Detections:
    """Returns the annotated objects as detections, to go on with.

    An object that the model found as well (the same name, and masks with an overlap of `SAME`) is the model's
    and keeps its id and its score. All others are a person's. What the model found and the file does not hold
    is left out: somebody removed it.

    Args:
        detections: What the model finds in the photo.
        class_ids: The category id of each name.
        on_stage: Called between the objects.
    """
    annotations = list(annotations)
    rows = _matched(detections, annotations, class_ids, on_stage)
    ids = detections.ids[[row for row in rows if row is not None]].tolist()
    taken = set(ids)
    new = [one for one, row in zip(annotations, rows, strict=True) if row is None]
    for one in new:
        free = 0 < one.id <= HIGHEST_ID and one.id not in taken
        ids.append(one.id if free else max(taken, default=0) + 1)
        taken.add(ids[-1])
    kept = detections.select(np.array(sorted(row for row in rows if row is not None), np.int64))
    changed = {
        int(detections.ids[row]): SOURCES.index(one.source)
        for one, row in zip(annotations, rows, strict=True)
        if row is not None and one.source
    }
    sources = [changed.get(id, 0) for id in kept.ids.tolist()]
    kept = replace(kept, sources=np.array(sources, np.uint8))
    if not new:
        return kept
    boxes, masks = zip(*(_boxed(one) for one in new), strict=True)
    return kept.with_added(
        np.array(boxes, np.float32),
        [class_ids[one.name] for one in new],
        ids[len(kept) :],
        [_by_a_person(one) for one in new],
        masks,
    )


def _matched(
    detections: Detections,
    annotations: list[Annotation],
    class_ids: Mapping[str, int],
    on_stage: OnStage,
) -> list[int | None]:
    """Returns the row of the detection that each annotation shows, or None."""
    left = set(range(len(detections)))
    boxes: dict[int, NDArray[np.float32]] = {}
    rows: list[int | None] = []
    for one in annotations:
        on_stage(0.95, "Comparing the annotations with what the model finds")
        best, overlap = None, SAME
        for row in left:
            if detections.class_ids[row] != class_ids[one.name]:
                continue
            if row not in boxes:
                on_stage(0.95, "Comparing the annotations with what the model finds")
                corner, crop = detections.mask_crop(row)
                boxes[row] = _box_of(*_cut(crop, corner))
            if not _is_near(boxes[row], _box_of(one.corner, one.mask)):
                continue
            share = _overlap(detections, row, one)
            if share >= overlap:
                best, overlap = row, share
        left.discard(best if best is not None else -1)
        rows.append(best)
    return rows


def _by_a_person(one: Annotation) -> int:
    """Returns the source of an object that the model does not find like this."""
    return SOURCES.index("edited" if one.source == "edited" else "person")


def _box_of(corner: tuple[int, int], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Returns the box of a mask that was cut, (1, 4): x1 y1 x2 y2 in pixels of the photo."""
    (y, x), (height, width) = corner, mask.shape
    return np.array([[x, y, x + width, y + height]], np.float32)


def _is_near(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two boxes overlap as much as those of two equal masks do."""
    both = float(box_intersections(one, other)[0, 0])
    areas = [float((box[0, 2] - box[0, 0]) * (box[0, 3] - box[0, 1])) for box in (one, other)]
    return both >= NEAR * (sum(areas) - both)


def _overlap(detections: Detections, row: int, one: Annotation) -> float:
    """Returns the intersection over union of two masks."""
    corner, found = detections.mask_crop(row)
    both = shared_pixels(corner, found, one.corner, one.mask)
    return both / (int(np.count_nonzero(one.mask)) + int(np.count_nonzero(found)) - both)


def _cut(mask: NDArray[Any], corner: tuple[int, int] = (0, 0)) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    """Returns a mask without empty rows and columns around it, and the place of its corner."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return corner, np.zeros((0, 0), bool)
    top, left = int(ys[0]), int(xs[0])
    cut: NDArray[np.bool_] = mask[top : int(ys[-1]) + 1, left : int(xs[-1]) + 1].astype(bool)
    return (corner[0] + top, corner[1] + left), cut


def _boxed(one: Annotation) -> tuple[list[float], NDArray[np.float32]]:
    """Returns the box of a mask, x1 y1 x2 y2, and the mask inside it as (K, K) float32 from 0 to 1."""
    (top, left), crop = one.corner, one.mask.astype(np.float32)
    bottom, right = top + crop.shape[0], left + crop.shape[1]
    side = min(max(*crop.shape, SIDES[0]), SIDES[1])
    shrinks = max(crop.shape) > side
    cells = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return [float(left), float(top), float(right), float(bottom)], cells.clip(0, 1).astype(np.float32)


def _of_coco(content: dict[str, Any], photo_name: str, image_size: tuple[int, int]) -> list[Annotation]:
    images = content["images"]
    stem = Path(photo_name).stem
    about = [image for image in images if Path(str(image.get("file_name", ""))).stem == stem]
    if not about and len(images) == 1:
        about = images
    if len(about) != 1:
        raise SettingsError(
            f"These annotations are about {len(images)} pictures, and {len(about) or 'none'} of them is "
            f"named like the photo ({said(stem)}). Rename the photo as it is named there."
        )
    (image,) = about
    _check_size(image, "width", "height", image_size)
    names = {category["id"]: category["name"] for category in content["categories"]}
    annotations = [one for one in content["annotations"] if one["image_id"] == image["id"]]
    _check_count(len(annotations))
    found = []
    for one in annotations:
        corner, mask = _coco_mask(one["segmentation"], image_size)
        id = one["id"] if type(one.get("id")) is int else 0
        source = one.get("source") if one.get("source") in SOURCES else ""
        found.append(Annotation(checked_name(names[one["category_id"]]), corner, mask, id, source))
        _check_cover(found, image_size)
    return found


def _of_labelme(content: dict[str, Any], image_size: tuple[int, int]) -> list[Annotation]:
    _check_size(content, "imageWidth", "imageHeight", image_size)
    height, width = image_size
    groups: dict[tuple[str, Any], list[Any]] = {}
    _check_count(len(content["shapes"]))
    for k, shape in enumerate(content["shapes"]):
        group = shape.get("group_id")
        name = checked_name(shape["label"])
        # A group of labelme's may hold several objects that are no parts of each other, but of other names.
        groups.setdefault((name, group if type(group) is int else f"alone {k}"), []).append(shape)
    found = []
    for (name, group), shapes in groups.items():
        outlines = []
        for shape in shapes:
            corners = _pairs(shape["points"], width, height)
            kind = shape.get("shape_type", "polygon")
            if kind == "rectangle" and len(corners) == 2:
                (x1, y1), (x2, y2) = corners
                corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
            elif kind != "polygon" or len(corners) < 3:
                raise SettingsError(
                    f"These annotations hold a shape that is no area ({said(kind)}). Polygons and rectangles "
                    "can be opened."
                )
            outlines.append(np.floor(corners).astype(np.int32).clip(0, [width - 1, height - 1]))
        corner, size = _around(np.concatenate(outlines))
        mask = np.zeros(size, np.uint8)
        for outline in outlines:  # one by one: where two overlap, `fillPoly` would leave a hole
            cv2.fillPoly(mask, [outline - corner[::-1]], 1)
        said_of = shapes[0].get("description")
        source = next((name for name, words in BY_A_PERSON.items() if words == said_of), "")
        found.append(Annotation(name, *_cut(mask, corner), group if isinstance(group, int) else 0, source))
        _check_cover(found, image_size)
    return found


def _around(points: NDArray[np.int32]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the (y, x) corner and the (height, width) of the box around pixels."""
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    return (top, left), (bottom - top + 1, right - left + 1)


def _coco_mask(segmentation: Any, image_size: tuple[int, int]) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    """Returns the corner and the mask of polygons, of compressed RLE or of a list of runs."""
    height, width = image_size
    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [height, width]:
            raise SettingsError(NO_ANNOTATIONS)
        counts = segmentation["counts"]
        runs = list(counts) if isinstance(counts, list) else _runs(counts)
        return _cut(_from_runs(runs, height, width))
    polygons = [
        _pairs(list(pairwise(flat))[::2], width, height)
        for flat in segmentation
        if isinstance(flat, list) and len(flat) >= 6
    ]
    if not polygons:
        return (0, 0), np.zeros((0, 0), bool)
    if sum(float(np.abs(np.diff(polygon, axis=0)).sum()) for polygon in polygons) > MOST_LENGTH:
        raise SettingsError("An outline in these annotations is too long to be opened.")
    (top, left), size = _around(np.floor(np.concatenate(polygons)).astype(np.int32))
    flat = [(polygon - (left, top)).ravel().tolist() for polygon in polygons]
    mask = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, *size)))
    return _cut(mask, (top, left))


def _runs(counts: str) -> list[int]:
    """Returns the runs of COCO's compressed RLE. Follows `rleFrString` of pycocotools, with checks."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise SettingsError(NO_ANNOTATIONS)
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _from_runs(runs: list[int], height: int, width: int) -> NDArray[np.bool_]:
    """Returns the (H, W) mask whose columns, one after the other, are runs of zeros and ones in turn."""
    if (
        not all(type(run) is int and 0 <= run <= height * width for run in runs)
        or sum(runs) != height * width
    ):
        raise SettingsError(NO_ANNOTATIONS)
    cells: NDArray[np.bool_] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return cells.reshape(width, height).T


def _pairs(points: Any, width: int, height: int) -> NDArray[np.float64]:
    """Returns points, (K, 2), cut at the borders of the photo."""
    pairs = np.array([[float(x), float(y)] for x, y in points], np.float64)
    if not pairs.size or not np.isfinite(pairs).all():
        raise SettingsError(NO_ANNOTATIONS)
    return pairs.clip(0, [width, height])


def _check_cover(found: list[Annotation], image_size: tuple[int, int]) -> None:
    """Takes out what has no pixel, and refuses what takes too much memory."""
    if not found[-1].mask.size:
        found.pop()
    most = max(MOST_COVER * image_size[0] * image_size[1], LEAST_PIXELS)
    if sum(one.mask.size for one in found) > most:
        raise SettingsError("The objects in these annotations cover the photo too many times to be opened.")


def _check_count(count: int) -> None:
    if count > MAX_OBJECTS:
        raise SettingsError(f"These annotations hold {count} objects. At most {MAX_OBJECTS} can be opened.")


def _check_size(facts: Mapping[str, Any], wide: str, high: str, image_size: tuple[int, int]) -> None:
    height, width = image_size
    sides = facts.get(wide), facts.get(high)
    if any(side is not None for side in sides) and sides != (width, height):
        raise SettingsError(
            f"These annotations are for a picture of {said(sides[0])} x {said(sides[1])} pixels, and the "
            f"photo has {width} x {height}. Please send the picture that was annotated."
        )
