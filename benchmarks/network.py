"""Times `segment`, torchvision's own forward pass and other runtimes with the same weights and pictures.

    pip install -r benchmarks/requirements.txt
    python benchmarks/network.py [--runs 5] [--instances 100 20] [--size 768x1024] [--ours]

The weights are random V1 weights. Each contender has a process of its own, set up as the contender's
documentation advises. The contenders take turns, and every run has a picture of its own. The script prints a
table of medians, then one JSON object as the last line. The object holds the seconds, `ratio` (torchvision's
time divided by the contender's time) and the peak memory in MB above idle.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from network import runtime

TORCHVISION = "torchvision"
OURS = ("ours float32", "ours bfloat16", "ours int8")
PEERS = {
    "ONNX Runtime float32": "onnx_runtime",
    "ONNX Runtime int8": "onnx_runtime_int8",
    "OpenVINO float32": "openvino_float32",
    "OpenVINO bfloat16": "openvino_bfloat16",
    "OpenVINO int8": "openvino_int8",
}
TUNED = "torchvision, our memory settings"
"""Nobody runs torchvision like this. It shows which part of the gain comes from the memory settings."""

_find: Callable[[Any], int]
"""Returns the number of instances in an (H, W, 3) uint8 picture. `set_up` sets it for a contender."""


def set_up(name: str, instances: int, size_hw: tuple[int, int], folder: str) -> None:
    """Makes the contender ready in this process."""
    global _find
    if name in (*OURS, TUNED):
        runtime.prepare()
    import torch  # not at the top: torch reads the settings of `prepare` when it is loaded

    from inference import PRECISIONS, SegmentationModel, segment
    from network.acceleration import accelerate
    from network.architectures import ARCHITECTURES, COCO_LABELS
    from network.calibration import calibrate
    from tools.random_weights import CALIBRATION_SEEDS, random_network, random_picture

    network = random_network(ARCHITECTURES["resnet50_fpn"].build).requires_grad_(False)
    network.roi_heads.detections_per_img = instances
    if name in OURS:
        precision, cpu = name.split()[1], torch.device("cpu")
        pictures = [random_picture(*size_hw, seed=seed) for seed in CALIBRATION_SEEDS]
        ranges = calibrate(network, pictures) if precision == "int8" else None
        accelerate(network, cpu, PRECISIONS[precision], ranges)
        model = SegmentationModel(network, "resnet50_fpn", COCO_LABELS, cpu, precision, "random", "")
        _find = lambda picture: len(segment(model, picture))  # noqa: E731
    elif name in PEERS:
        from benchmarks import peers

        peer = getattr(peers, PEERS[name])(network, size_hw, Path(folder))
        _find = lambda picture: peer(_pixels(picture))  # noqa: E731
    else:

        def forward(picture: Any) -> int:
            with torch.inference_mode():
                return len(network([torch.from_numpy(_pixels(picture))])[0]["masks"])

        _find = forward


def _pixels(picture: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / np.float32(255)


def run(size_hw: tuple[int, int], seed: int) -> tuple[float, int, float]:
    """Returns the seconds one picture took, the number of instances, and the peak memory above idle in MB."""
    from benchmarks.exports import peak_mb_over_idle
    from tools.random_weights import random_picture

    picture = random_picture(*size_hw, seed=seed)
    seconds, found = 0.0, 0

    def find() -> None:
        nonlocal seconds, found
        start = time.perf_counter()
        found = _find(picture)
        seconds = time.perf_counter() - start

    peak_mb = peak_mb_over_idle(find)
    return seconds, found, peak_mb


def started(
    name: str, instances: int, size_hw: tuple[int, int], folder: str, environment: dict[str, str]
) -> Pool:
    """Returns a process in which the contender is ready. The process starts with this `environment`."""
    before = dict(os.environ)
    os.environ.update(environment)
    process = multiprocessing.get_context("spawn").Pool(1, set_up, (name, instances, size_hw, folder))
    process.apply(run, (size_hw, 1000))  # a first run, which also waits until the contender is ready
    os.environ.clear()
    os.environ.update(before)
    return process


def measure(
    names: list[str], instances: int, size_hw: tuple[int, int], runs: int
) -> dict[str, dict[str, Any]]:
    """Returns the medians of `runs` runs of each contender, after two runs that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    found: dict[str, list[int]] = {name: [] for name in names}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name in names:
            # The memory is measured with glibc's default setting, which `prepare` does not overwrite. With
            # our setting the process keeps freed memory, so a run that uses it again would show no peak.
            default = {"MALLOC_TRIM_THRESHOLD_": "131072"}
            with started(name, instances, size_hw, folder, default) as process:
                memory[name] = process.apply(run, (size_hw, 1001))[2]
        processes = {}
        for name in names:
            spins = {"GOMP_SPINCOUNT": runtime.SPINS} if name in (*OURS, TUNED) else {}
            processes[name] = stack.enter_context(started(name, instances, size_hw, folder, spins))
        for seed in range(runs + 1):
            for name, process in processes.items():
                took, count, _ = process.apply(run, (size_hw, seed))
                if seed:
                    seconds[name].append(took)
                    found[name].append(count)
                print(f"{instances} instances, run {seed}: {name} {took:.2f} s", file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        name: {
            "seconds": round(medians[name], 3),
            "ratio": round(medians[TORCHVISION] / medians[name], 2),
            "instances": statistics.median(found[name]),
            "peak_mb_over_idle": round(memory[name]),
        }
        for name in names
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="number of runs; the times are their medians")
    parser.add_argument("--instances", type=int, nargs="+", default=[100, 20], help="instances in a picture")
    parser.add_argument("--size", default="768x1024", help="height x width of the pictures in pixels")
    parser.add_argument("--ours", action="store_true", help="leave out the other runtimes")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    names = [TORCHVISION, TUNED, *OURS, *([] if arguments.ours else PEERS)]
    figures = {}
    for instances in arguments.instances:
        figures[instances] = measure(names, instances, (height, width), arguments.runs)
        print(
            f"{f'{instances} instances':<34}{'seconds':>9}{'ratio':>8}{'found':>7}{'peak MB over idle':>19}"
        )
        for name, row in figures[instances].items():
            print(f"{name:<34}{row['seconds']:>9.3f}{row['ratio']:>8.2f}{row['instances']:>7.0f}", end="")
            print(f"{row['peak_mb_over_idle']:>19}")
    print(json.dumps({"size_hw": (height, width), "runs": arguments.runs, "by_instances": figures}))


if __name__ == "__main__":
    main()
