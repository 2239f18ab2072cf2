"""Tracking: measures the tracker on drawn clips, whose objects are known exactly.

    python benchmarks/tracking.py --clips 6 --seconds 6 --rate 10

The `scenes` model finds the objects in each frame, and `tracks.step` follows them. The last line is one JSON
object: IDF1, MOTA and HOTA of each clip and of all clips together, and the tracker's time for each object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import motmetrics
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # to run as a script as well

from detections import Detections
from inference import SegmentationModel, load, segment
from tracks import Tracks, step
from training.scenes.clips import Frame, draw_clip

SEEN = 0.3
"""Objects of which a smaller share is visible are neither required nor counted as wrong."""
SAME = 0.5
"""The least intersection over union of an object and what was found for it, for IDF1 and MOTA."""
HOTA_STEPS = np.arange(0.05, 0.99, 0.05)
"""The intersections over union over which HOTA takes the mean."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """What is true in a frame, and what was found in it.

    Args:
        truth: (N,), the ids of the objects.
        found: (M,), the ids of the tracks.
        common: (N, M), intersection over union, 0 if the categories differ.
    """

    truth: NDArray[np.int64]
    found: NDArray[np.int64]
    common: NDArray[np.float64]


def irregular(seconds: float, rate: float, seed: int) -> list[float]:
    """Returns time stamps that are `1 / rate` apart on average, and from half to one and a half of this."""
    rng = np.random.default_rng(seed)
    gaps = rng.choice([0.5, 0.75, 1.0, 1.25, 1.5], round(seconds * rate)) / rate
    times: list[float] = np.cumsum(gaps).tolist()
    return times


def compared(frame: Frame, found: Detections, track_ids: NDArray[np.int64]) -> Compared:
    """Compares the tracked instances of a frame with its objects. Leaves out what nobody could see."""
    tracked = np.flatnonzero(track_ids)
    common = np.zeros((len(frame.ids), len(tracked)))
    for column, i in enumerate(tracked.tolist()):
        mask = found.mask(i)
        both = (frame.masks & mask).sum(axis=(1, 2))
        common[:, column] = both / (frame.masks.sum(axis=(1, 2)) + mask.sum() - both)
        common[frame.category_ids != found.class_ids[i], column] = 0
    seen = frame.visible >= SEEN
    # What lies on a hardly visible object is not wrong, unless it is the best for another one.
    hidden = common[~seen].max(axis=0, initial=0) > np.maximum(common[seen].max(axis=0, initial=0), 0.1)
    return Compared(frame.ids[seen], track_ids[tracked][~hidden], common[seen][:, ~hidden])


def hota(frames: Sequence[Compared]) -> float:
    """Returns the higher order tracking accuracy: Luiten et al., "HOTA" (2021).

    For each threshold it is the geometric mean of the accuracy of detection and of association. Pairs are
    matched so that objects and tracks that belong together in the whole clip are preferred.
    """
    truths = np.unique(np.concatenate([frame.truth for frame in frames]))
    tracks = np.unique(np.concatenate([frame.found for frame in frames]))
    together = np.zeros((len(truths), len(tracks)))
    lengths, lengths_found = np.zeros(len(truths)), np.zeros(len(tracks))
    places = [
        (np.searchsorted(truths, frame.truth), np.searchsorted(tracks, frame.found)) for frame in frames
    ]
    for frame, (row, column) in zip(frames, places, strict=True):
        all_pairs = frame.common.sum(axis=0) + frame.common.sum(axis=1)[:, np.newaxis] - frame.common
        share = np.divide(frame.common, all_pairs, out=np.zeros_like(frame.common), where=all_pairs > 1e-9)
        together[np.ix_(row, column)] += share
        lengths[row] += 1
        lengths_found[column] += 1
    alike = together / (lengths[:, np.newaxis] + lengths_found - together)
    accuracies = []
    for least in HOTA_STEPS:
        matches = np.zeros_like(together)
        for frame, (row, column) in zip(frames, places, strict=True):
            score = np.where(frame.common >= least - 1e-9, alike[np.ix_(row, column)] * frame.common, 0)
            a, b = linear_sum_assignment(score, maximize=True)
            good = score[a, b] > 0
            matches[row[a[good]], column[b[good]]] += 1
        right = matches.sum()
        detection = right / max(lengths.sum() + lengths_found.sum() - right, 1)
        of_pair = matches / np.maximum(lengths[:, np.newaxis] + lengths_found - matches, 1)
        association = (matches * of_pair).sum() / max(right, 1)
        accuracies.append(np.sqrt(detection * association))
    return float(np.mean(accuracies))


def metrics(clips: Sequence[Sequence[Compared]]) -> dict[str, float]:
    """Returns IDF1, MOTA and HOTA of clips, and how often an object changed its id. Clips share no ids."""
    accumulators = []
    for frames in clips:
        accumulator = motmetrics.MOTAccumulator(auto_id=True)
        for frame in frames:
            distance = np.where(frame.common >= SAME, 1 - frame.common, np.nan)
            accumulator.update(frame.truth, frame.found, distance)
        accumulators.append(accumulator)
    table = motmetrics.metrics.create().compute_many(
        accumulators,
        metrics=["idf1", "mota", "num_switches"],
        names=list(map(str, range(len(clips)))),
        generate_overall=True,
    )
    overall = table.loc["OVERALL"]
    far = 1_000_000
    apart = [
        Compared(frame.truth + far * k, frame.found + far * k, frame.common)
        for k, frames in enumerate(clips)
        for frame in frames
    ]
    return {
        "idf1": round(float(overall["idf1"]), 4),
        "mota": round(float(overall["mota"]), 4),
        "hota": round(hota(apart), 4),
        "switches": int(overall["num_switches"]),
    }


def follow(model: SegmentationModel, seed: int, times: Sequence[float]) -> tuple[list[Compared], float, int]:
    """Tracks a drawn clip. Returns what each frame shows, the tracker's seconds, and the detections."""
    tracks, frames, spent, count = Tracks(), [], 0.0, 0
    for frame in draw_clip(seed, times):
        found = segment(model, frame.image)
        start = time.perf_counter()
        tracks, track_ids = step(tracks, found, frame.seconds)
        spent += time.perf_counter() - start
        count += len(found)
        frames.append(compared(frame, found, track_ids))
    return frames, spent, count


def main(arguments: Sequence[str] | None = None) -> None:
    """Tracks drawn clips and prints how well that went."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--clips", type=int, default=6, help="number of clips (default: 6)")
    parser.add_argument("--seconds", type=float, default=6, help="length of each clip (default: 6)")
    parser.add_argument("--rate", type=float, default=10, help="mean frames per second (default: 10)")
    options = parser.parse_args(arguments)
    model = load("scenes", device="cpu")
    clips, spent, count = [], 0.0, 0
    for seed in range(options.clips):
        frames, seconds, found = follow(model, seed, irregular(options.seconds, options.rate, seed))
        clips.append(frames)
        spent, count = spent + seconds, count + found
    each = [metrics([frames]) for frames in clips]
    print(
        json.dumps(
            {
                "clips": options.clips,
                "rate": options.rate,
                "frames": sum(map(len, clips)),
                "all": metrics(clips),
                "each": each,
                "ms_per_object": round(1000 * spent / max(count, 1), 4),
                "ms_per_frame": round(1000 * spent / sum(map(len, clips)), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
