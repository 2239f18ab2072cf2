"""Times `segment` against torchvision's own forward pass, side by side, with the same random V1 weights.

    python benchmarks/segment.py [--runs 5] [--size 768x1024]

Every run gets a picture of its own. Prints a table, then one JSON object as the last line: medians in
seconds, `ratio` (torchvision's time over ours), and our stages from the photo's file to the page's files.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.functional import to_tensor
from tqdm import tqdm

from detections import Detections
from formats import areas
from images import fit_within, read_image
from inference import WORKING_SIDE, SegmentationModel, segment
from networks import ARCHITECTURES, COCO_LABELS
from report import picture_labels
from tools.random_weights import random_network, random_picture
from visualize import Style, annotate


def timed(work: Callable[..., object], *arguments: object) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def render(image: NDArray[np.uint8], found: Detections) -> NDArray[np.uint8]:
    """The picture with everything drawn, as by default."""
    return annotate(image, found, picture_labels(found), Style())


def measure(size_hw: tuple[int, int], runs: int) -> dict[str, object]:
    """Medians of `runs` runs, after one that does not count; torchvision and ours take turns."""
    network = random_network(ARCHITECTURES["resnet50_fpn"].build)
    model = SegmentationModel(
        network, "resnet50_fpn", COCO_LABELS, torch.device("cpu"), "float32", "random", ""
    )
    seconds: dict[str, list[float]] = {}
    instances: list[int] = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for run in tqdm(range(runs + 1), desc="runs", file=sys.stderr):
            path = Path(folder) / "photo.jpg"
            Image.fromarray(random_picture(*size_hw, seed=run)).save(path, quality=92)
            image = read_image(path)
            working = fit_within(image, WORKING_SIDE)
            pixels = to_tensor(working.copy())
            found = segment(model, image)
            times = {
                "torchvision": timed(network, [pixels]),
                "segment": timed(segment, model, working),
                "decode": timed(read_image, path),
                "resize": timed(fit_within, image, WORKING_SIDE),
                "areas": timed(areas, found),
                "render": timed(render, working, found),
            }
            if run:
                instances.append(len(found))
                for name, value in times.items():
                    seconds.setdefault(name, []).append(value)
    medians = {name: round(statistics.median(values), 4) for name, values in seconds.items()}
    return {
        "size_hw": size_hw,
        "runs": runs,
        "instances": int(np.median(instances)),
        "threads": torch.get_num_threads(),
        "seconds": medians,
        "ratio": round(medians["torchvision"] / medians["segment"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", default="768x1024", help="height x width of the photos in pixels")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    figures = measure((height, width), arguments.runs)
    seconds = figures["seconds"]
    assert isinstance(seconds, dict)
    print(f"{'stage':<14}{'seconds':>10}{'share of torchvision':>24}")
    for name, value in seconds.items():
        print(f"{name:<14}{value:>10.4f}{value / seconds['torchvision']:>24.3f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
