"""Tracks: follows instances from frame to frame, so that an object keeps its number in a video.

`step` takes the state after the last frame and the detections of a new frame. It returns the new state and
the track of each detection. The state is a frozen object, so a caller can keep it, drop it, or go back to it.

The method is ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box",
2022). Certain detections are matched first. Then faint ones are matched with the tracks that are left,
because a faint detection near a known object is mostly this object, half hidden. A Kalman filter with
constant velocity says where each object should be now (Bewley et al., "Simple Online and Realtime Tracking",
2016). It follows the centre, the width and the height of the box, as BoT-SORT does (Aharon et al., 2022).

Detections that are still left are matched with the boxes where tracks were last seen. So an object that
turned round or stopped while it was hidden is found again (Cao et al., "Observation-Centric SORT", 2023). For
this match boxes are enlarged, because at few frames per second an object moves further than its own size
(Yang et al., "Hard to Track Objects with Irregular Motions and Similar Appearances?", 2023).

Frames carry time stamps in seconds, and may be spaced unevenly. Instances of different categories never
match.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from detections import Detections

FRAME_SECONDS = 1 / 30
"""The unit of time inside the filter. The papers' noise is for frames that are so far apart."""
POSITION_NOISE, VELOCITY_NOISE = 1 / 20, 1 / 160
"""Standard deviations of a box and its velocity in one frame, as shares of the box's sides."""
COMMON, COMMON_FAINT = 0.2, 0.5
"""The least intersection over union of a track's box and a certain, and a faint detection."""
ENLARGED = 0.3
"""How far boxes grow at each edge, as a share of the side, for the match with where tracks were last seen."""
MOST_TRACKS = 500
"""The largest number of tracks in a state. If there are more, those that were seen last are kept."""


@dataclass(frozen=True, slots=True)
class Options:
    """When a track begins and ends.

    Args:
        begins: A detection with at least this score begins a track if it continues none.
        certain: Detections with at least this score are matched first.
        faint: Detections with a lower score than this belong to no track.
        lost_seconds: A track that was not seen for longer than this is dropped.
    """

    begins: float = 0.7
    certain: float = 0.6
    faint: float = 0.1
    lost_seconds: float = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """The T tracks after a frame. `Tracks()` is the state before the first frame.

    Args:
        ids: (T,) int64, from 1. No id is ever given twice.
        class_ids: (T,) int64, COCO category ids.
        boxes: (T, 4) float64, the filter's centre x, centre y, width and height in pixels.
        velocities: (T, 4) float64, the changes of `boxes` in pixels per `FRAME_SECONDS`.
        variances: (T, 4, 3) float64: of each number in `boxes`, of it with its velocity, and of the velocity.
        last_boxes: (T, 4) float64, as `boxes`, but where the track was last detected.
        seen: (T,) float64, the time stamps of the last frames in which the tracks were detected, in seconds.
        confirmed: (T,) bool, whether the track was detected at least twice. Others are dropped when they are
            not detected once.
        seconds: The time stamp of the frame. None before the first frame.
        image_size: (height, width) of the frame in pixels. None before the first frame.
        last_id: The id that was given last, 0 if none was.
    """

    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    class_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    velocities: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    variances: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4, 3)))
    last_boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    seen: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    confirmed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    seconds: float | None = None
    image_size: tuple[int, int] | None = None
    last_id: int = 0

    def __len__(self) -> int:
        return len(self.ids)


def step(
    tracks: Tracks, detections: Detections, seconds: float, options: Options = Options()
) -> tuple[Tracks, NDArray[np.int64]]:
    """Finds the track of each detection in a new frame.

    Args:
        tracks: The state after the frame before, or `Tracks()`.
        detections: The N instances of the new frame. If the frame has another size than the frame before, all
            tracks end.
        seconds: The frame's time stamp, not before the last one. Only differences matter.

    Returns:
        The new state, and (N,) int64: the id of each detection's track, 0 for a detection without one.

    Raises:
        ValueError: `seconds` is before the time stamp of the last frame, or is not finite.
    """
    if not np.isfinite(seconds) or (tracks.seconds is not None and seconds < tracks.seconds):
        raise ValueError(f"seconds: expected a number from {tracks.seconds} on, got {seconds}")
    if tracks.image_size not in (None, detections.image_size):
        tracks = _part(tracks, np.zeros(len(tracks), np.bool_))
    seen_before = tracks.seen == tracks.seconds
    tracks = _predicted(tracks, seconds)
    measured = _centred(detections.boxes)
    certain = detections.scores >= options.certain
    faint = ~certain & (detections.scores >= options.faint)

    same = tracks.class_ids[:, np.newaxis] == detections.class_ids
    expected = _intersection_over_union(tracks.boxes, measured) * same
    last = _intersection_over_union(_enlarged(tracks.last_boxes), _enlarged(measured)) * same
    rows = np.full(len(detections), -1)  # the row in `tracks` of each detection
    for usable, wanted, common, least in (
        (tracks.confirmed, certain, expected, COMMON),
        (tracks.confirmed & seen_before, faint, expected, COMMON_FAINT),
        (np.ones(len(tracks), np.bool_), certain, last, COMMON),
    ):
        free = np.flatnonzero(usable & ~np.isin(np.arange(len(tracks)), rows))
        left = np.flatnonzero(wanted & (rows < 0))
        pairs = common[np.ix_(free, left)]
        first, second = linear_sum_assignment(np.where(pairs >= least, pairs, 0), maximize=True)
        good = pairs[first, second] >= least
        rows[left[second[good]]] = free[first[good]]

    tracks = _corrected(tracks, rows[rows >= 0], measured[rows >= 0], seconds)
    track_ids = np.where(rows >= 0, tracks.ids[rows] if len(tracks) else 0, 0)
    begins = (detections.scores >= options.begins) & (rows < 0)
    track_ids[begins] = tracks.last_id + 1 + np.arange(np.count_nonzero(begins))
    kept = (tracks.seen == seconds) | (tracks.confirmed & (tracks.seen >= seconds - options.lost_seconds))
    tracks = _joined(
        _part(tracks, kept), track_ids[begins], detections.class_ids[begins], measured[begins], seconds
    )
    if len(tracks) > MOST_TRACKS:
        tracks = _part(tracks, np.sort(np.argsort(tracks.seen, kind="stable")[-MOST_TRACKS:]))
    return replace(tracks, seconds=float(seconds), image_size=detections.image_size), track_ids


def _part(tracks: Tracks, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Tracks:
    """Returns the tracks that `keep` selects: (T,) bool, or rows in rising order."""
    return replace(
        tracks,
        ids=tracks.ids[keep],
        class_ids=tracks.class_ids[keep],
        boxes=tracks.boxes[keep],
        velocities=tracks.velocities[keep],
        variances=tracks.variances[keep],
        last_boxes=tracks.last_boxes[keep],
        seen=tracks.seen[keep],
        confirmed=tracks.confirmed[keep],
    )


def _joined(
    tracks: Tracks,
    ids: NDArray[np.int64],
    class_ids: NDArray[np.int64],
    boxes: NDArray[np.float64],
    seconds: float,
) -> Tracks:
    """Adds new tracks at `boxes` (centre and sides). Nothing is known of their velocities."""
    variances = np.zeros((len(ids), 4, 3))
    sides = _sides(boxes)
    variances[..., 0] = (2 * POSITION_NOISE * sides) ** 2
    variances[..., 2] = (10 * VELOCITY_NOISE * sides) ** 2
    return replace(
        tracks,
        ids=np.concatenate([tracks.ids, ids]),
        class_ids=np.concatenate([tracks.class_ids, class_ids]),
        boxes=np.concatenate([tracks.boxes, boxes]),
        velocities=np.concatenate([tracks.velocities, np.zeros_like(boxes)]),
        variances=np.concatenate([tracks.variances, variances]),
        last_boxes=np.concatenate([tracks.last_boxes, boxes]),
        seen=np.concatenate([tracks.seen, np.full(len(ids), seconds)]),
        # An object of the first frame has had no chance to be seen twice.
        confirmed=np.concatenate([tracks.confirmed, np.full(len(ids), tracks.seconds is None)]),
        last_id=tracks.last_id + len(ids),
    )


# --- Kalman filter ------------------------------------------------------------------------------------------
#
# Neither motion nor noise mixes the four numbers of a box. So the papers' filter of 8 states is the same
# as four filters of 2 states, which need no matrices.


def _predicted(tracks: Tracks, seconds: float) -> Tracks:
    """Moves every track to the time `seconds`. Uncertainty grows with the time that has passed."""
    if tracks.seconds is None or not len(tracks):
        return tracks
    frames = (seconds - tracks.seconds) / FRAME_SECONDS
    velocities = tracks.velocities.copy()
    velocities[tracks.seen < tracks.seconds, 2:] = 0  # a hidden object does not grow
    place, both, velocity = np.moveaxis(tracks.variances, -1, 0)
    sides = _sides(tracks.boxes)
    variances = np.stack(
        [
            place + 2 * frames * both + frames**2 * velocity + frames * (POSITION_NOISE * sides) ** 2,
            both + frames * velocity,
            velocity + frames * (VELOCITY_NOISE * sides) ** 2,
        ],
        axis=-1,
    )
    boxes = tracks.boxes + frames * velocities
    boxes[:, 2:] = boxes[:, 2:].clip(1)
    return replace(tracks, boxes=boxes, velocities=velocities, variances=variances)


def _corrected(
    tracks: Tracks, rows: NDArray[np.int64], measured: NDArray[np.float64], seconds: float
) -> Tracks:
    """Corrects the tracks in `rows` by the boxes that were measured for them, (len(rows), 4)."""
    boxes, velocities, variances = tracks.boxes.copy(), tracks.velocities.copy(), tracks.variances.copy()
    last_boxes, seen, confirmed = tracks.last_boxes.copy(), tracks.seen.copy(), tracks.confirmed.copy()
    place, both, velocity = np.moveaxis(variances[rows], -1, 0)
    total = place + (POSITION_NOISE * _sides(boxes[rows])) ** 2
    gain, gain_of_velocity = place / total, both / total
    error = measured - boxes[rows]
    boxes[rows] += gain * error
    velocities[rows] += gain_of_velocity * error
    variances[rows] = np.stack(
        [place * (1 - gain), both * (1 - gain), velocity - gain_of_velocity * both], axis=-1
    )
    last_boxes[rows], seen[rows], confirmed[rows] = measured, seconds, True
    return replace(
        tracks,
        boxes=boxes,
        velocities=velocities,
        variances=variances,
        last_boxes=last_boxes,
        seen=seen,
        confirmed=confirmed,
    )


# --- Boxes --------------------------------------------------------------------------------------------------


def _centred(boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns centre x, centre y, width and height of boxes, (N, 4). Sides are at least 1 pixel."""
    boxes = boxes_xyxy.astype(np.float64)
    sides = (boxes[:, 2:] - boxes[:, :2]).clip(1)
    return np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, sides])


def _sides(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns width, height, width, height of boxes (N, 4): what the noise of each number is a share of."""
    return np.hstack([boxes[:, 2:], boxes[:, 2:]])


def _enlarged(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns boxes (N, 4) with the same centres and sides that are longer by `ENLARGED` at both ends."""
    return np.hstack([boxes[:, :2], boxes[:, 2:] * (1 + 2 * ENLARGED)])


def _intersection_over_union(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns (A, B): the common area of each two boxes, divided by the area that they cover together."""
    (low_a, high_a), (low_b, high_b) = (
        (boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2) for boxes in (a, b)
    )
    sides = np.minimum(high_a[:, np.newaxis], high_b) - np.maximum(low_a[:, np.newaxis], low_b)
    common = sides.clip(0).prod(axis=2)
    areas_a, areas_b = a[:, 2:].prod(axis=1), b[:, 2:].prod(axis=1)
    shares: NDArray[np.float64] = common / (areas_a[:, np.newaxis] + areas_b - common)
    return shares
