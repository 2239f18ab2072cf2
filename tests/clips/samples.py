"""Makes results of clips by hand, for tests that need no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clips.result import ClipResult, Look, packed
from detections import Detections
from photo.clips import ClipFacts
from tests.samples import PERSON, fake_model

SIZE = (48, 64)
Box = tuple[float, float, float, float]


def look(
    number: int,
    found: Mapping[int, Box],
    rate: float = 10.0,
    scores: Mapping[int, float] | None = None,
    kinds: Mapping[int, int] | None = None,
) -> Look:
    """Returns what was found in a frame: a box for each track. A key below 1 is an instance without track."""
    scores, kinds = scores or {}, kinds or {}
    tracks = sorted(found, key=lambda track: -scores.get(track, 0.9))
    count = len(tracks)
    detections = Detections(
        np.array([found[track] for track in tracks], np.float32).reshape(-1, 4),
        np.array([scores.get(track, 0.9) for track in tracks], np.float32),
        np.array([kinds.get(track, PERSON) for track in tracks], np.int64),
        np.ones((count, 28, 28), np.float32),
        np.arange(1, count + 1),
        SIZE,
    )
    return packed(number, number / rate, detections, np.array(tracks, np.int64).clip(0))


def result(looks: Sequence[Look], path: Path = Path("clip.avi"), stride: int = 1) -> ClipResult:
    """Returns a result with these looks, as of a clip of 10 frames a second."""
    seconds = looks[-1].seconds + 0.1 * stride if looks else None
    facts = ClipFacts(SIZE, SIZE, 10.0, seconds, False, "AVI")
    return ClipResult(path, facts, stride, tuple(looks), fake_model())
