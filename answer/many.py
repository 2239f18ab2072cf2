"""Many: the objects of many photos together, as counts, as one COCO file and as a YOLO folder.

The functions read and write no files. What is counted or written of a photo is what its view shows.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from answer.formats import to_coco
from answer.result import View, counts
from categories import Categories, Category
from detections import Detections

VAL_SHARE = 0.2
"""The share of the photos that a training set keeps for validation."""
SUM = "sum"


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """One of many photos.

    Args:
        name: The name of its files, without suffix. No other photo has it.
        view: What is shown of it, or None if it could not be looked at.
        fault: Why it could not be looked at, in a sentence.
    """

    name: str
    view: View | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many objects of each kind the photos have.

    Args:
        kinds: The names of the kinds, the most frequent first.
        rows: The counts of each photo, in the order of `kinds`. None for a photo without an answer.
        sums: The counts of all photos together.
    """

    kinds: tuple[str, ...]
    rows: tuple[tuple[int, ...] | None, ...]
    sums: tuple[int, ...]


def tally(views: Sequence[View | None]) -> Tally:
    """Counts what is in view in each photo. None stands for a photo without an answer."""
    each = [None if view is None else counts(view.shown, view.categories) for view in views]
    total: Counter[str] = Counter()
    for found in each:
        total.update(found or {})
    kinds = tuple(name for name, _ in total.most_common())
    rows = tuple(None if found is None else tuple(found.get(name, 0) for name in kinds) for found in each)
    return Tally(kinds, rows, tuple(total[name] for name in kinds))


def to_counts_csv(photos: Sequence[Named]) -> str:
    """Returns a table (RFC 4180) with a row for each photo, a column for each kind, and sums.

    The last column says why a photo could not be looked at. Its counts are then empty.
    """
    told = tally([photo.view for photo in photos])
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["photo", *told.kinds, SUM, "error"])
    for photo, row in zip(photos, told.rows, strict=True):
        cells = [""] * (len(told.kinds) + 1) if row is None else [*row, sum(row)]
        table.writerow([photo.name, *cells, photo.fault])
    table.writerow([SUM, *told.sums, sum(told.sums), ""])
    return text.getvalue()


def coco_pieces(photos: Sequence[Named], files: Sequence[str]) -> Iterator[str]:
    """Yields the photos as one file of COCO instance annotations, in pieces, one for each photo.

    Ids of images run from 1 in the order of the photos. Ids of annotations run from 1 over all photos. Photos
    without an answer are left out. Everything else is as in `formats.to_coco`.

    Args:
        files: The file name of each photo.
    """
    written = [
        (image_id, photo.view, file)
        for image_id, (photo, file) in enumerate(zip(photos, files, strict=True), 1)
        if photo.view is not None
    ]
    categories = joined([view for _, view, _ in written])
    images = []
    for image_id, view, file in written:
        height, width = view.shown.image_size
        images.append({"id": image_id, "file_name": file, "height": height, "width": width})
    info = {"description": "Objects found in photos by Mask R-CNN", "version": "1.0"}
    head = _json({"info": info, "licenses": [], "images": images})
    yield head[:-1] + ',"annotations":['
    last = 0
    for image_id, view, file in written:
        shown = renumbered(view, categories)
        annotations = to_coco(shown, categories, file, view.filters.mask_threshold)["annotations"]
        for annotation in annotations:
            annotation["image_id"] = image_id
            annotation["id"] = last = last + 1
        piece = ",".join(map(_json, annotations))
        yield ("," if piece and last > len(annotations) else "") + piece
    yield '],"categories":' + _json(categories.as_json()) + "}"


def joined(views: Sequence[View]) -> Categories:
    """Returns categories with every name that the views know.

    Those of the first view keep their ids. A name that only a later view knows keeps its id if it is free.
    """
    by_id: dict[int, Category] = {}
    names: set[str] = set()
    for view in views:
        for category in view.categories:
            if category.name not in names:
                id = category.id if category.id not in by_id else max(by_id) + 1
                by_id[id] = category._replace(id=id)
                names.add(category.name)
    return Categories(tuple(by_id.values()))


def renumbered(view: View, categories: Categories) -> Detections:
    """Returns what is in view with the ids of other categories, which have the same names (`joined`)."""
    own = view.categories
    ids = [
        categories.by_name[own.by_id[id].name].id if id in own.by_id else id
        for id in view.shown.class_ids.tolist()
    ]
    return replace(view.shown, class_ids=np.array(ids, np.int64))


def for_validation(names: Sequence[str]) -> set[str]:
    """Returns the photos of a training set that are kept for validation: a fifth, and at least one.

    The names decide, not their order, so the same photos give the same split: those whose SHA-256 is lowest.
    Of a single photo, none is kept.
    """
    if len(names) < 2:
        return set()
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return set(ordered[: math.ceil(VAL_SHARE * len(names))])


def yolo_yaml(categories: Categories, has_validation: bool) -> str:
    """Returns the `data.yaml` of a folder with `images/train`, `images/val`, `labels/train` and `labels/val`.

    A folder with a single photo is validated with this photo.
    """
    names = (
        f"  {index}: {json.dumps(category.name, ensure_ascii=False)}"
        for index, category in enumerate(categories)
    )
    val = "images/val" if has_validation else "images/train"
    return "\n".join(["train: images/train", f"val: {val}", "names:", *names, ""])


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
