"""Times the steps inside a network and their pictures, and prints one JSON line.

    python benchmarks/inside.py [--size 768x1024] [--runs 5] [--threads 2]

`run_ms` is the time of one run that keeps every step, and `segment_ms` that of a run that keeps none. `mb` is
the memory of what is kept. `pictures_ms` is the longest of the runs for each picture of each step, and
`slowest_ms` the longest of all, which must not be above `BAR_MS`. The photo is noise, and the weights of the
large networks are random ones, with which each picture has 100 instances.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from network import runtime

runtime.prepare()

import torch

from inference import SegmentationModel, load, look_inside, segment
from inside.look import STEPS, WAYS, Look, draw
from inside.words import sentence
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES
from tools.random_weights import random_network, random_picture

BAR_MS = 150
"""The longest time for a picture in milliseconds."""
BAR_MB = 60
"""The most memory for a photo in megabytes."""


def model_of(name: str) -> SegmentationModel:
    """Returns a model on the CPU, with random weights if it needs weights that do not ship."""
    architecture = ARCHITECTURES[name]
    if architecture.published is None:
        return load(name, device="cpu")
    network = random_network(architecture.build).requires_grad_(False)
    accelerate(network, torch.device("cpu"))
    return SegmentationModel(
        network, name, architecture.label_ids, torch.device("cpu"), "float32", "random", ""
    )


def measure(name: str, size_hw: tuple[int, int], runs: int) -> dict[str, Any]:
    """Returns the figures of one network."""
    model, photo = model_of(name), random_picture(*size_hw)
    segment(model, photo)
    plain = [milliseconds(lambda: segment(model, photo)) for _ in range(runs)]
    kept = [milliseconds(lambda: look_inside(model, photo)) for _ in range(runs)]
    steps = look_inside(model, photo)
    object = 0 if len(steps.scores) else None
    pictures = {}
    for step in STEPS:
        for way in WAYS.get(step, ("",)):
            looks = [Look(step, way, object, count=1000)]
            if step == "once":
                looks.append(Look(step, way, object, overlap=0.8))
            for look in looks:

                def make(look: Look = look) -> None:
                    draw(photo, steps, look)
                    sentence(photo, steps, look)

                label = f"{step} {way}".strip() + ("" if look.overlap is None else " at 0.8")
                pictures[label] = round(max(milliseconds(make) for _ in range(runs)), 1)
    return {
        "segment_ms": round(statistics.median(plain)),
        "run_ms": round(statistics.median(kept)),
        "mb": round(steps.nbytes / 1e6, 1),
        "instances": len(steps.scores),
        "slowest_ms": max(pictures.values()),
        "pictures_ms": pictures,
    }


def milliseconds(work: Callable[[], object]) -> float:
    """Returns how long `work` took, in milliseconds."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="768x1024", help="height x width of the photo in pixels")
    parser.add_argument("--runs", type=int, default=5, help="number of runs")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    parser.add_argument("--models", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    height, width = map(int, chosen.size.split("x"))
    figures = {name: measure(name, (height, width), chosen.runs) for name in chosen.models}
    facts = {"size_hw": (height, width), "runs": chosen.runs, "threads": chosen.threads}
    print(json.dumps(facts | {"bar_ms": BAR_MS, "bar_mb": BAR_MB, "by_model": figures}))


if __name__ == "__main__":
    main()
