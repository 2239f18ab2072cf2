"""Edits: what a person changes in the answer of a model.

An edit is data, so undo is a list, and the same list makes the same detections again. `edit` applies one of
them. Removing an object is no edit but a filter (`Filters.hidden`): a removed object can come back as it was.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from answer.settings import MAX_ID, SettingsError, said
from categories import LONGEST_NAME, is_printed
from detections import SOURCES, Detections

DOINGS = ("add", "reshape", "rename")
MAX_EDITS = 200
MAX_NEW_NAMES = 50
"""The largest number of different names that a person adds to those of the model."""
MASK_SIDES = (4, 64)
"""The smallest and the largest side of the mask of an edit, in cells."""
MASK_TEXT = 1900
"""The largest number of characters of a mask's text. The guard takes texts of 2000 characters."""
LEVELS = 255
FARTHEST = 1e9
EXAMPLE = '{"do": "rename", "id": 3, "name": "cat"}'


@dataclass(frozen=True, slots=True)
class Edit:
    """One change.

    Args:
        do: "add" (another object), "reshape" (another box and mask) or "rename".
        id: The instance that is changed, or the id of the one that is added.
        name: The name of the kind, for "add" and "rename". A name that the model does not know is a new kind.
        box: x1 y1 x2 y2 in pixels of the original photo, for "add" and "reshape".
        mask: The mask inside the box, as `to_text` writes it, for "add" and "reshape".

    Raises:
        SettingsError: A value has a wrong type or is out of range.
    """

    do: str
    id: int
    name: str = ""
    box: tuple[float, float, float, float] | None = None
    mask: str = ""

    def __post_init__(self) -> None:
        if self.do not in DOINGS:
            raise SettingsError(f"edits: do must be one of {', '.join(DOINGS)}, got {said(self.do)}.")
        if type(self.id) is not int or not 1 <= self.id <= MAX_ID:
            raise SettingsError(f"edits: expected ids from 1 to {MAX_ID}, got {said(self.id)}.")
        if self.do != "reshape":
            checked_name(self.name)
        if self.do != "rename":
            checked_box(self.box)
            from_text(self.mask)

    def to_json(self) -> dict[str, Any]:
        """Returns the edit as `read_edits` reads it, without what it does not need."""
        values: dict[str, Any] = {"do": self.do, "id": self.id}
        if self.do != "reshape":
            values["name"] = self.name
        if self.box is not None and self.do != "rename":
            values |= {"box": [round(side, 2) for side in self.box], "mask": self.mask}
        return values


def read_edits(values: object) -> tuple[Edit, ...]:
    """Returns the edits that a browser or a program sent.

    Raises:
        SettingsError: They are no list of edits, or there are too many. The message says what is wrong.
    """
    if values is None:
        return ()
    if not isinstance(values, list | tuple):
        raise SettingsError(f"edits: expected a list such as [{EXAMPLE}], got {said(values)}.")
    if len(values) > MAX_EDITS:
        raise SettingsError(f"edits: expected at most {MAX_EDITS} edits, got {len(values)}.")
    edits = []
    for value in values:
        known = {"do", "id", "name", "box", "mask"}
        if not isinstance(value, Mapping) or not {"do", "id"} <= value.keys() <= known:
            raise SettingsError(f"edits: expected edits such as {EXAMPLE}, got {said(value)}.")
        box = value.get("box")
        box = tuple(box) if isinstance(box, list | tuple) else box
        name, mask = value.get("name", ""), value.get("mask", "")
        if value["do"] == "reshape":
            name = ""
        if value["do"] == "rename":
            box, mask = None, ""
        edits.append(Edit(value["do"], value["id"], name, box, mask))
    if len(new := {edit.name for edit in edits}) > MAX_NEW_NAMES:
        raise SettingsError(f"edits: expected at most {MAX_NEW_NAMES} different names, got {len(new)}.")
    return tuple(edits)


def edit(detections: Detections, change: Edit, class_ids: Mapping[str, int]) -> Detections:
    """Returns the detections with one change. All other instances keep their ids and everything else.

    Scores stay in order. An instance that a person added or changed has a source other than "model"; its
    score says where it stands in the order, and is shown to nobody.

    Args:
        class_ids: The category id of each name.

    Raises:
        SettingsError: There is no such instance, the id is taken, or the box lies outside of the photo.
    """
    rows = np.flatnonzero(detections.ids == change.id)
    if change.do == "add":
        if len(rows):
            raise SettingsError(
                f"edits: the id {change.id} belongs to another object. Add it with a free id."
            )
        box, mask = in_photo(change.box, detections.image_size), from_text(change.mask)
        source = SOURCES.index("person")
        return detections.with_added(box[None], [class_ids[change.name]], [change.id], [source], [mask])
    if not len(rows):
        raise SettingsError(f"edits: there is no object with the id {change.id} in this photo.")
    row, changed = int(rows[0]), detections
    if change.do == "rename":
        kinds = detections.class_ids.copy()
        kinds[row] = class_ids[change.name]
        changed = replace(detections, class_ids=kinds)
    else:
        boxes, mask = detections.boxes.copy(), from_text(change.mask)
        boxes[row] = in_photo(change.box, detections.image_size)
        changed = replace(detections, boxes=boxes, finer_masks={**detections.finer_masks, change.id: mask})
    sources = changed.sources.copy()
    sources[row] = max(sources[row], SOURCES.index("edited"))
    return replace(changed, sources=sources)


def edited(detections: Detections, edits: Iterable[Edit], class_ids: Mapping[str, int]) -> Detections:
    """Returns the detections with all changes, one after the other, as `edit`."""
    for change in edits:
        detections = edit(detections, change, class_ids)
    return detections


def checked_name(name: object) -> str:
    """Returns the name of a kind that a person typed.

    Raises:
        SettingsError: It is no text of 1 to `LONGEST_NAME` characters that can be printed.
    """
    if not isinstance(name, str) or not name.strip() or name != name.strip() or not is_printed(name):
        raise SettingsError(f"name: expected a word such as “cat”, got {said(name)}.")
    if len(name) > LONGEST_NAME:
        raise SettingsError(f"name: expected at most {LONGEST_NAME} characters, got {len(name)}.")
    return name


def checked_box(box: object) -> tuple[float, float, float, float]:
    """Returns x1 y1 x2 y2.

    Raises:
        SettingsError: These are not four numbers, or the box has no area.
    """
    wrong = f"box: expected left, top, right and bottom in pixels of the photo, got {said(box)}."
    if not isinstance(box, list | tuple) or len(box) != 4:
        raise SettingsError(wrong)
    if not all(map(is_number, box)):
        raise SettingsError(wrong)
    x1, y1, x2, y2 = map(float, box)
    if x2 - x1 < 1 or y2 - y1 < 1:
        raise SettingsError("box: this box has no area. Draw one that is at least a pixel wide and high.")
    return x1, y1, x2, y2


def is_number(value: object) -> bool:
    """Whether a value is a number that a place in a picture can have."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < FARTHEST


def in_photo(box: object, image_size: tuple[int, int]) -> NDArray[np.float32]:
    """Returns the part of a box that lies in the photo, (4,) float32.

    Args:
        image_size: (height, width) in pixels of the original photo.

    Raises:
        SettingsError: As `checked_box`, or no pixel of the box lies in the photo.
    """
    height, width = image_size
    inside = np.array(checked_box(box), np.float64).clip(0, [width, height, width, height])
    if inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
        raise SettingsError(f"box: this box lies outside of the photo, which has {width} x {height} pixels.")
    return inside.astype(np.float32)


def to_text(mask_probs: NDArray[np.float32]) -> str:
    """Returns a mask, (M, M) float32 from 0 to 1, as text: 8 bits for a cell, compressed, in base64.

    A probability moves by at most 1/510 and never across 0.5.
    """
    levels = np.round(mask_probs * LEVELS).astype(np.uint8)
    return base64.b64encode(zlib.compress(levels.tobytes(), 9)).decode("ascii")


def from_text(text: object) -> NDArray[np.float32]:
    """Returns the mask that `to_text` wrote, (M, M) float32 from 0 to 1.

    Raises:
        SettingsError: The text holds no such mask.
    """
    least, most = MASK_SIDES
    wrong = SettingsError("mask: expected the text that an answer of this app gave with the box.")
    if not isinstance(text, str) or not text or len(text) > MASK_TEXT:
        raise wrong
    try:
        opened = zlib.decompressobj()
        levels = opened.decompress(base64.b64decode(text, validate=True), most * most + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise wrong from error
    side = math.isqrt(len(levels))
    if side * side != len(levels) or not least <= side <= most or not opened.eof:
        raise wrong
    cells = np.frombuffer(levels, np.uint8).reshape(side, side).astype(np.float32)
    mask: NDArray[np.float32] = cells / np.float32(LEVELS)
    return mask
