"""Estimates: upper bounds for the sizes of the files that `answer.files` writes.

A PNG is at most a little larger than its pixels, because a PNG stores what it cannot compress. Outlines and
run lengths grow with the sides of an instance's box.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from answer.files import EXPORTS
from answer.many_files import CAPTION, CELL_HEIGHT, CELL_WIDTH, GAP, SHEET_COLUMNS
from clips.files import MOST_STILLS
from clips.report import track_table
from clips.result import ClipView
from clips.writing import MP4_SIDE
from detections import Detections
from photo.strips import reduced_size

FILE_BYTES = 512 * 1024
"""The part of a file that does not grow with the photo: headers, the manifest, the names of 200 kinds."""
INSTANCE_BYTES = 8 * 1024
"""The part of an instance that does not grow with its box: a row in each table, the headers of a cut-out."""
SIDE_BYTES = 250
"""The bytes of all text formats together, for each pixel of the width and the height of a box.

An ordinary outline takes a quarter of it. The rest is for masks full of holes.
"""
JPEG_PIXEL_BYTES = 1.2
"""The bytes of a pixel in a JPEG of many photos, if the photo is noise. An ordinary photo needs a fifth."""
CELL_PIXELS = (CELL_WIDTH + GAP) * (CELL_HEIGHT + CAPTION + GAP)
PIXEL_BYTES = 0.25
"""The bytes that an encoder writes for each pixel of a clip. H.264 of good quality needs 0.02."""
LOOK_BYTES = 1024
"""The part of a text that belongs to a frame: its entry as an image, its row of counts."""
CHANNELS = {"jpeg": 3, "annotated": 3, "instances": 2, "categories": 1}
"""The bytes of one pixel, for each format that is a picture of the whole photo."""
SOFT_EDGE = 1.04
"""The factor by which soft edges enlarge a cut-out. `visualize.cut_out` adds 1.5 % on each side."""
ROUNDING = 10
"""The pixels that rounding, and the smallest soft edge, add to the width and the height of a cut-out."""


def png_bytes(height: int, width: int, channels: int) -> int:
    """Returns the largest size of a PNG file, in bytes.

    Args:
        height: In pixels.
        width: In pixels.
        channels: The bytes of one pixel.
    """
    pixels = height * (width * channels + 1)  # each row begins with the number of its filter
    return pixels + pixels // 1000 + INSTANCE_BYTES


def export_bytes(shown: Detections, format: str) -> int:
    """Returns the largest size of a file that `answer.files.export_file` writes, in bytes.

    Args:
        shown: The instances in view.
        format: A key of `EXPORTS`.
    """
    if format in CHANNELS:
        return FILE_BYTES + png_bytes(*shown.image_size, CHANNELS[format])
    if format == "cutouts":
        return FILE_BYTES + _cut_outs_bytes(shown)
    texts = FILE_BYTES + len(shown) * INSTANCE_BYTES + int(_sides(shown).sum()) * SIDE_BYTES
    if format == "zip":
        pictures = sum(png_bytes(*shown.image_size, channels) for channels in (3, 3, 2, 1))
        return pictures + texts + _cut_outs_bytes(shown)
    assert format in EXPORTS
    return texts


def clip_bytes(view: ClipView, format: str) -> int:
    """Returns the largest size of a file that `clips.files.export_clip` writes, in bytes.

    A written clip has no such size. `PIXEL_BYTES` is far more than the encoders' usual.

    Args:
        format: A key of `clips.files.EXPORTS`.
    """
    result = view.result
    count = sum(int(keep.sum()) for keep in view.kept)
    longest = sum(result.facts.size)
    texts = FILE_BYTES + len(result.looks) * LOOK_BYTES + count * (INSTANCE_BYTES + longest * SIDE_BYTES // 8)
    height, width = reduced_size(result.facts.size, MP4_SIDE)
    frames = result.stride * len(result.looks)
    pictures = {
        "video": frames * int(height * width * PIXEL_BYTES),
        "stills": min(len(track_table(view)), MOST_STILLS) * png_bytes(height, width, 3),
    }
    if format == "zip":
        return FILE_BYTES + texts + 2 * pictures["video"] + pictures["stills"]
    return FILE_BYTES + pictures.get(format, texts)


def many_bytes(photos: Sequence[Detections], format: str) -> int:
    """Returns the largest size of a file that `answer.many_files.export_many` writes, in bytes.

    Args:
        photos: The instances in view in each photo that has an answer.
        format: A key of `answer.many_files.EXPORTS`.
    """
    texts = sum(
        FILE_BYTES + len(shown) * INSTANCE_BYTES + int(_sides(shown).sum()) * SIDE_BYTES for shown in photos
    )
    pictures = sum(int(JPEG_PIXEL_BYTES * np.prod(shown.image_size)) for shown in photos)
    sheet = int(JPEG_PIXEL_BYTES * (len(photos) + SHEET_COLUMNS) * CELL_PIXELS)
    if format == "zip":
        return FILE_BYTES + texts + 2 * pictures + sheet
    return FILE_BYTES + {"yolo": texts + pictures, "sheet": sheet}.get(format, texts)


def effect_bytes(shown: Detections) -> int:
    """Returns the largest size of a file that `answer.files.effect_file` writes, in bytes."""
    return FILE_BYTES + png_bytes(*shown.image_size, 4)


def _cut_outs_bytes(shown: Detections) -> int:
    sides = np.minimum(np.ceil(_sides(shown) * SOFT_EDGE) + ROUNDING, shown.image_size).astype(int)
    return sum(png_bytes(height, width, 4) for height, width in sides.tolist())


def _sides(shown: Detections) -> NDArray[np.float64]:
    """Returns (N, 2): the height and the width of each mask in pixels. A mask may be larger than its box."""
    x1, y1, x2, y2 = shown.boxes.astype(np.float64).T
    grow = 1 + 2 / shown.mask_probs.shape[-1]
    sides: NDArray[np.float64] = np.stack([y2 - y1, x2 - x1], axis=1) * grow + 2
    return np.minimum(sides, np.array(shown.image_size, np.float64))
