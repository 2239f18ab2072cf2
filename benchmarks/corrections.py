"""Times what the network says of a box and of a place, with its features at hand, and prints one JSON line.

    python benchmarks/corrections.py [--size 768x1024] [--runs 9] [--threads 2]

`box_ms` and `place_ms` are medians, and `slowest_ms` the longest of all, which must not be above `BAR_MS`.
`again_ms` is what a box takes if the features are made again, and `mb` what they take. `moved` is the
most by which a probability of a mask differs from the one that `segment` gave for the same box, because the
features are kept in float16. The photo is noise, and the weights of the large networks are random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from network import runtime

runtime.prepare()

import numpy as np
import torch

from benchmarks.inside import milliseconds, model_of
from inference import look_at_box, look_at_place, look_inside, segment
from network.architectures import ARCHITECTURES
from tools.random_weights import random_picture

BAR_MS = 150
"""The longest time for an answer in milliseconds."""


def measure(name: str, size_hw: tuple[int, int], runs: int) -> dict[str, Any]:
    """Returns the figures of one network."""
    model, photo = model_of(name), random_picture(*size_hw)
    found, steps = segment(model, photo), look_inside(model, photo)
    rows = range(min(runs, len(found)))
    moved = [
        look_at_box(model, steps, found.boxes[row], int(steps.labels[row])).mask_probs[0]
        - found.mask_probs[row]
        for row in rows
    ]
    boxes = [milliseconds(partial(look_at_box, model, steps, found.boxes[row])) for row in rows]
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    places = [milliseconds(partial(look_at_place, model, steps, *middles[row].tolist())) for row in rows]
    again = [
        milliseconds(lambda: look_at_box(model, look_inside(model, photo), found.boxes[0]))
        for _ in range(max(3, runs // 3))
    ]
    return {
        "box_ms": round(statistics.median(boxes), 1),
        "place_ms": round(statistics.median(places), 1),
        "slowest_ms": round(max(boxes + places), 1),
        "again_ms": round(statistics.median(again)),
        "ratio": round(statistics.median(again) / statistics.median(boxes), 1),
        "mb": round(steps.nbytes / 1e6, 1),
        "moved": round(float(np.abs(moved).max()), 5) if len(moved) else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="768x1024", help="height x width of the photo in pixels")
    parser.add_argument("--runs", type=int, default=9, help="number of boxes and places")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    parser.add_argument("--models", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    height, width = map(int, chosen.size.split("x"))
    figures = {name: measure(name, (height, width), chosen.runs) for name in chosen.models}
    facts = {"size_hw": (height, width), "runs": chosen.runs, "threads": chosen.threads, "bar_ms": BAR_MS}
    print(json.dumps(facts | {"by_model": figures}))


if __name__ == "__main__":
    main()
