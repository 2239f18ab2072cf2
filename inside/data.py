"""Data: gives the steps of a run to programs, as JSON and as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from inside import steps as pictures
from inside.look import bars, name_of
from network.inside import Inside

BEST = 20
"""The number of proposals that the JSON tells with their scores."""
ARRAYS = "inside.npz"


def to_json(steps: Inside) -> dict[str, Any]:
    """Returns shapes, proposals, scores and suppression as values that JSON can hold.

    Boxes are x1, y1, x2, y2 in pixels of the picture that the network sees.
    """
    return {
        "picture_size": _size(steps.picture_hw),
        "seen_size": _size(steps.seen_hw),
        "padded_size": _size(steps.padded_hw),
        "levels": [
            {
                "name": level.name,
                "features": None if level.features is None else list(level.features.shape),
                "anchors": None if level.anchors is None else list(level.anchors.shape),
            }
            for level in steps.levels
        ],
        "proposals": _proposals(steps),
        "instances": [_instance(steps, object) for object in range(len(steps.scores))],
        "suppression": _suppression(steps),
        "missing": list(steps.missing),
    }


def _size(size_hw: tuple[int, int]) -> dict[str, int]:
    return {"width": size_hw[1], "height": size_hw[0]}


def _proposals(steps: Inside) -> dict[str, Any]:
    facts: dict[str, Any] = {"count": len(steps.proposals)}
    candidates = steps.candidates
    if candidates is not None:
        facts |= {"candidates": len(candidates.scores), "iou_threshold": candidates.threshold}
    best = []
    for row, box in enumerate(steps.proposals[:BEST]):
        told: dict[str, Any] = {"box_xyxy": _box(box)}
        if candidates is not None:
            told["objectness"] = _rounded(candidates.scores[candidates.kept[row]])
        if steps.names is not None:
            told["scores"] = {name: _rounded(score) for name, score in bars(steps, row)}
        best.append(told)
    return facts | {"best": best}


def _instance(steps: Inside, object: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": object + 1,
        "category_name": name_of(steps, int(steps.labels[object])),
        "score": _rounded(steps.scores[object]),
        "box_xyxy": _box(steps.boxes[object]),
        "seen_pixels": pictures.seen_pixels(steps, object),
        "mask_shape": list(steps.mask_probs.shape[1:]),
    }
    if steps.pairs is None:
        return told
    proposal = int(steps.pairs.proposals[steps.pairs.kept[object]])
    removed, ious = pictures.removed_for(steps, object)
    return told | {
        "proposal": proposal,
        "scores": {name: _rounded(score) for name, score in bars(steps, proposal)},
        "removed": [
            {"box_xyxy": _box(steps.pairs.boxes[row]), "score": _rounded(steps.pairs.scores[row]), "iou": iou}
            for row, iou in zip(removed, map(_rounded, ious), strict=True)
        ],
    }


def _suppression(steps: Inside) -> dict[str, Any] | None:
    pairs = steps.pairs
    if pairs is None:
        return None
    return {
        "iou_threshold": pairs.threshold,
        "score_threshold": pairs.least_score,
        "most_instances": pairs.most,
        "boxes": len(pairs.scores),
        "kept": len(pairs.kept),
        "removed": int(np.count_nonzero(pairs.removed_by >= 0)),
    }


def _box(box: Any) -> list[float]:
    return [round(float(value), 2) for value in box]


def _rounded(value: Any) -> float:
    return round(float(value), 6)


def arrays(steps: Inside) -> dict[str, Any]:
    """Returns all arrays by name. `network.inside.Inside` says what they hold.

    The names are those of the fields, such as "boxes", "pairs.ious" and "levels.0.features".
    """
    named: dict[str, Any] = {}
    for name in ("proposals", "boxes", "scores", "labels", "mask_probs"):
        named[name] = getattr(steps, name)
    parts: dict[str, Any] = {"candidates": steps.candidates, "names": steps.names, "pairs": steps.pairs}
    parts |= {f"levels.{i}": level for i, level in enumerate(steps.levels)}
    for prefix, part in parts.items():
        for name in getattr(part, "__dataclass_fields__", {}):
            value = getattr(part, name)
            if isinstance(value, np.ndarray):
                named[f"{prefix}.{name}"] = value
    return named


def save(steps: Inside, folder: Path) -> Path:
    """Writes all arrays into `folder` as one .npz file, without compression, and returns its path."""
    path = folder / ARRAYS
    np.savez(path, **arrays(steps))
    return path


def saved_bytes(steps: Inside) -> int:
    """Returns the largest size of the file that `save` writes, in bytes."""
    return steps.nbytes + 1024 * (len(arrays(steps)) + 1)
