"""Times each detail of `segment` in one process, and prints one JSON line.

    python benchmarks/detail.py [--runs 5] [--size 768x1024] [--precision float32 bfloat16] [--threads 2]

The weights are random V1 weights, with which each picture has 100 instances. The details take turns, and
every run has a picture of its own. The first run does not count. `share` is the time divided by the time of
"full".
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from network import runtime

runtime.prepare()

import torch

from inference import PRECISIONS, SegmentationModel, segment
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES, COCO_LABELS
from network.detail import DETAILS, FULL_DETAIL
from tools.random_weights import random_network, random_picture

BARS = {"balanced": 0.55, "fast": 0.35}
"""The largest share of `FULL_DETAIL`'s time that each detail may take."""


def measure(precision: str, size_hw: tuple[int, int], runs: int) -> dict[str, dict[str, float]]:
    """Returns the median seconds of each detail, its share of full detail's, and the number of instances."""
    network = random_network(ARCHITECTURES["resnet50_fpn"].build).requires_grad_(False)
    cpu = torch.device("cpu")
    accelerate(network, cpu, PRECISIONS[precision])
    model = SegmentationModel(network, "resnet50_fpn", COCO_LABELS, cpu, precision, "random", "")
    seconds: dict[str, list[float]] = {detail: [] for detail in DETAILS}
    found: dict[str, int] = {}
    for seed in range(runs + 1):
        picture = random_picture(*size_hw, seed)
        for detail, times in seconds.items():
            start = time.perf_counter()
            found[detail] = len(segment(model, picture, detail))
            if seed:
                times.append(time.perf_counter() - start)
    medians = {detail: statistics.median(times) for detail, times in seconds.items()}
    return {
        detail: {
            "seconds": round(median, 3),
            "share": round(median / medians[FULL_DETAIL], 3),
            "instances": found[detail],
        }
        for detail, median in medians.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="number of runs; the times are their medians")
    parser.add_argument("--size", default="768x1024", help="height x width of the pictures in pixels")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    height, width = map(int, chosen.size.split("x"))
    figures = {one: measure(one, (height, width), chosen.runs) for one in chosen.precision}
    facts = {"size_hw": (height, width), "runs": chosen.runs, "threads": chosen.threads, "bars": BARS}
    print(json.dumps(facts | {"by_precision": figures}))


if __name__ == "__main__":
    main()
