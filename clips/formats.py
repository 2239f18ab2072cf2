"""Formats: converts a clip's result to the formats that other tools read.

Each function yields pieces of text, so a long clip takes no memory.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from answer.formats import to_coco
from clips.report import TRACK_HEADERS, counts_over_time, track_rows, track_table
from clips.result import ClipView

VIDEO_ID = 1


def coco_pieces(view: ClipView, file_name: str) -> Iterator[str]:
    """Yields a COCO file of all looks, with one image for each look.

    Images and annotations have a `video_id`; annotations of tracks have a `track_id`. `videos` and `tracks`
    are lists beside them, as in TAO (Dave et al., "TAO: A Large-Scale Benchmark for Tracking Any Object",
    2020). Instances without a track have no `track_id`.

    Args:
        file_name: The clip's file name.
    """
    result = view.result
    height, width = result.facts.size
    stem = file_name.rpartition(".")[0] or file_name
    facts = {
        "info": {"description": "Objects found in one video by Mask R-CNN", "version": "1.0"},
        "licenses": [],
        "videos": [
            {"id": VIDEO_ID, "name": file_name, "width": width, "height": height, "fps": result.facts.rate}
        ],
        "categories": view.categories.as_json(),
        "tracks": [
            {"id": track.id, "category_id": track.class_id, "video_id": VIDEO_ID}
            for track in track_table(view)
        ],
        "images": [
            {
                "id": k,
                "video_id": VIDEO_ID,
                "frame_index": look.number,
                "seconds": round(look.seconds, 6),
                "file_name": f"{stem}/{look.number:06d}.jpg",
                "height": height,
                "width": width,
            }
            for k, look in enumerate(result.looks, start=1)
        ],
    }
    yield _json(facts)[:-1] + ',"annotations":['
    number = 0
    for k in range(len(result.looks)):
        found = to_coco(view.shown(k), view.categories, "", view.filters.mask_threshold)
        for annotation in found["annotations"]:
            number += 1
            track = annotation["id"]
            followed = {"track_id": track} if track > 0 else {}
            whole = annotation | {"id": number, "image_id": k + 1, "video_id": VIDEO_ID} | followed
            yield ("," if number > 1 else "") + _json(whole)
    yield "]}"


def mot_pieces(view: ClipView) -> Iterator[str]:
    """Yields the tracks as MOTChallenge's result file.

    A line is: frame from 1, track, left, top, width and height in pixels, score, and three times -1, for
    places in the world that nobody knows. The format has no kinds of object. Instances without a track are
    left out. Source: "Submission" of https://motchallenge.net/instructions.
    """
    for look, keep in zip(view.result.looks, view.kept, strict=True):
        rows = [row for row in range(len(look)) if keep[row] and look.ids[row] > 0]
        for row in sorted(rows, key=lambda row: int(look.ids[row])):
            x1, y1, x2, y2 = look.boxes[row].tolist()
            box = f"{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f}"
            yield f"{look.number + 1},{look.ids[row]},{box},{look.scores[row]:.6f},-1,-1,-1\n"


def counts_csv(view: ClipView) -> str:
    """Returns the counts over time: a row for each look, a column for each kind."""
    counts = counts_over_time(view)
    columns = [column.tolist() for column in counts.values()]
    rows = [
        [look.number, round(look.seconds, 3), *(column[k] for column in columns)]
        for k, look in enumerate(view.result.looks)
    ]
    return _csv(["frame", "seconds", *counts], rows)


def tracks_csv(view: ClipView) -> str:
    """Returns the table of tracks."""
    return _csv(TRACK_HEADERS, track_rows(view))


def _csv(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(headers)
    writer.writerows(rows)
    return text.getvalue()


def _json(values: Any) -> str:
    return json.dumps(values, allow_nan=False, separators=(",", ":"))
