"""Measures the time and the memory of each export of a large photo.

    python benchmarks/exports.py [--size 4000x6000] [--instances 100]

The photo, a JPEG, and its instances are made from a seed. Each format is written in a process of its own. The
script needs Linux, because it reads the memory from /proc. It prints a table, then one JSON object as the
last line. For each format the object holds the seconds, the file's size in MB, and the peak memory in MB
above idle. The idle process has imported everything and holds the result.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image
from tqdm import tqdm

import coco
from answer.files import EXPORTS, export_file
from answer.result import Result, View
from detections import Detections
from inference import WORKING_SIDE, SegmentationModel, load
from tools.random_weights import random_picture

MASK_SIDE = 28


def random_instances(count: int, size_hw: tuple[int, int], seed: int = 0) -> Detections:
    """Returns random blobs, some of them with holes. They fill from 1/50 of a side to the whole side."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(0.02), 0, (count, 2)))
    corners = rng.uniform(0, 1 - sides)
    boxes = np.hstack([corners, corners + sides]) * np.array([size_hw[1], size_hw[0]] * 2)
    across = np.linspace(-1, 1, MASK_SIDE)
    dome = 1 - (across**2 + across[:, np.newaxis] ** 2)
    bumps = [Image.fromarray(rng.random((6, 6), np.float32)).resize((MASK_SIDE,) * 2) for _ in range(count)]
    probs = 1 / (1 + np.exp(-6 * (dome + 2 * (np.array([np.asarray(bump) for bump in bumps]) - 0.5))))
    return Detections(
        boxes=boxes.astype(np.float32),
        scores=np.linspace(0.99, 0.51, count).astype(np.float32),
        class_ids=rng.choice([category.id for category in coco.CATEGORIES], count).astype(np.int64),
        mask_probs=probs.astype(np.float32),
        ids=np.arange(1, count + 1),
        image_size=size_hw,
    )


def memory_mb(field: str) -> float:
    """Returns a field of /proc/self/status in MB: VmRSS is the memory held now, VmHWM is the peak so far."""
    status = Path("/proc/self/status").read_text()
    match = re.search(rf"{field}:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) / 1024


def peak_mb_over_idle(work: Callable[[], object]) -> float:
    """Calls `work`, and returns this process's peak memory in MB above the memory it held before."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    idle = memory_mb("VmRSS")
    work()
    return memory_mb("VmHWM") - idle


def measure(format: str, photo: Path, size_hw: tuple[int, int], count: int) -> dict[str, float]:
    """Returns the figures of one export. Needs a fresh process, because an earlier peak would count."""
    model: SegmentationModel = load("scenes", device="cpu")
    working = np.zeros((WORKING_SIDE, WORKING_SIDE, 3), np.uint8)
    result = Result(photo, working, random_instances(count, size_hw), model, {"read": 0.0, "model": 0.0})
    with tempfile.TemporaryDirectory() as folder:
        idle, start = memory_mb("VmRSS"), time.perf_counter()
        path = export_file(View(result), format, Path(folder))
        seconds = time.perf_counter() - start
        return {
            "seconds": round(seconds, 2),
            "file_mb": round(path.stat().st_size / 2**20, 2),
            "peak_mb_over_idle": round(memory_mb("VmHWM") - idle, 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="4000x6000", help="height x width of the photo in pixels")
    parser.add_argument("--instances", type=int, default=100, help="instances in the photo")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        Image.fromarray(random_picture(height, width)).save(photo, quality=92)
        for format in tqdm(EXPORTS, desc="formats", file=sys.stderr):
            with multiprocessing.get_context("spawn").Pool(1) as process:
                figures[format] = process.apply(
                    measure, (format, photo, (height, width), arguments.instances)
                )
    print(f"{'format':<12}{'seconds':>10}{'MB':>10}{'peak MB over idle':>20}")
    for format, values in figures.items():
        print(f"{format:<12}" + "{seconds:>10.2f}{file_mb:>10.2f}{peak_mb_over_idle:>20.1f}".format(**values))
    print(json.dumps({"size_hw": (height, width), "instances": arguments.instances, "formats": figures}))


if __name__ == "__main__":
    main()
