"""Report: counts and tracks of a clip, as numbers for charts and tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clips.result import ClipView

TRACK_HEADERS = (
    "id", "object", "first seen (s)", "last seen (s)", "in view (s)", "best score", "best frame (s)",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Track:
    """One object that was followed through a clip.

    Args:
        id: The number of the track.
        class_id: Its category id.
        name: The category's name.
        first, last: The looks in which it is first and last in view.
        first_seconds, last_seconds: The times of these looks.
        in_view_seconds: How long it is in view.
        best: The look in which its score is highest.
        best_score: This score.
        best_seconds: The time of this look.
    """

    id: int
    class_id: int
    name: str
    first: int
    last: int
    first_seconds: float
    last_seconds: float
    in_view_seconds: float
    best: int
    best_score: float
    best_seconds: float


def counts_over_time(view: ClipView) -> dict[str, NDArray[np.int64]]:
    """Returns how many instances of each kind are in view at each look, by the kind's name: (L,) int64.

    Each kind that is ever in view is there. The kind with the most instances in all comes first.
    """
    looks = view.result.looks
    total: Counter[int] = Counter()
    each: list[Counter[int]] = []
    for look, keep in zip(looks, view.kept, strict=True):
        each.append(Counter(look.class_ids[keep].tolist()))
        total += each[-1]
    return {
        view.categories.name_of(class_id): np.array([counts[class_id] for counts in each], np.int64)
        for class_id, _ in total.most_common()
    }


def most_at_once(view: ClipView) -> dict[str, int]:
    """Returns the largest number of instances of each kind that are in view at the same time."""
    return {name: int(counts.max()) for name, counts in counts_over_time(view).items()}


def track_table(view: ClipView) -> tuple[Track, ...]:
    """Returns the tracks that are in view at least once, in the order of their ids."""
    found: dict[int, list[tuple[int, float, int]]] = {}
    for k, (look, keep) in enumerate(zip(view.result.looks, view.kept, strict=True)):
        rows = np.flatnonzero(keep & (look.ids > 0)).tolist()
        for row in rows:
            sighting = (k, float(look.scores[row]), int(look.class_ids[row]))
            found.setdefault(int(look.ids[row]), []).append(sighting)
    times, durations = view.result.times, view.result.durations
    tracks = []
    for id in sorted(found):
        sightings = found[id]
        (first, _, class_id), (last, _, _) = sightings[0], sightings[-1]
        best, best_score, _ = max(sightings, key=lambda sighting: sighting[1])
        tracks.append(
            Track(
                id,
                class_id,
                view.categories.name_of(class_id),
                first,
                last,
                float(times[first]),
                float(times[last]),
                float(sum(durations[k] for k, _, _ in sightings)),
                best,
                best_score,
                float(times[best]),
            )
        )
    return tuple(tracks)


def track_rows(view: ClipView) -> list[list[int | float | str]]:
    """Returns the rows of the table of tracks. `TRACK_HEADERS` names the columns."""
    return [
        [
            track.id,
            track.name,
            round(track.first_seconds, 3),
            round(track.last_seconds, 3),
            round(track.in_view_seconds, 3),
            round(track.best_score, 6),
            round(track.best_seconds, 3),
        ]
        for track in track_table(view)
    ]
