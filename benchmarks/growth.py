"""Measures how time and memory grow with a photo's pixels, with its instances, and with waiting clients.

    python benchmarks/growth.py [--runs 5] [--plot docs/growth.png] [--quick]

The script needs benchmarks/requirements.txt and Linux. It measures three groups of curves:

- By pixels, with a noisy JPEG for each point: the time to read the photo, the time of the network (V1 with
  random weights, 100 instances), and the peak memory above idle. The peak is for reading the photo and
  drawing 100 instances without the network. It is measured in a process of its own.
- By instances, at 1024x768 pixels: the times of the network, of drawing, of the PNG of the drawn picture, and
  of the JSON with masks.
- By clients, with the running app and the `scenes` model: the seconds of the clock per answer, and the median
  time a client waits for an answer (p50). Each client asks again as soon as it has an answer.

Every run has a picture of its own, and the figures are medians. `b` is the exponent of y = a * x**b, fitted
to the upper half of each curve. The script prints tables, then one JSON object as the last line. --quick
measures only a few points.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest.mock import patch

import coco

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from network import runtime

runtime.prepare()

import numpy as np
import orjson
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from answer import data
from answer import files as export
from answer.result import Result, View, names
from benchmarks.around import EVERYTHING, SMALL, measure_memory, write_photo
from benchmarks.clients import Server, serving
from benchmarks.filter import blobs
from benchmarks.load import closed_loop, percentile
from inference import WORKING_SIDE, SegmentationModel, segment
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES, COCO_LABELS
from photo.images import read_photo
from tools.random_weights import random_network, random_picture
from visualize import Style, annotate

MEGAPIXELS: tuple[float, ...] = (0.1, 0.3, 0.8, 3, 12, 24, 40)
INSTANCES: tuple[float, ...] = (0, 1, 5, 20, 50, 100)
CLIENTS: tuple[float, ...] = (1, 2, 4, 8, 16, 32)
LIMIT = 1.1
"""The largest exponent that counts as linear or less, and the largest ratio that counts as flat."""
UNITS = {"s": "seconds", "MB": "memory over idle in MB"}

T = TypeVar("T")
Measure = Callable[[float, int], dict[str, float]]
"""Takes a point of a curve and a seed. Returns a value for each column, whose name ends with its unit."""


class Growth(NamedTuple):
    """The medians of each column at each of `xs`."""

    by: str
    xs: Sequence[float]
    columns: dict[str, list[float]]

    def exponent(self, column: str) -> float:
        """Returns `b` of y = a * x**b over the upper half, by least squares of the logarithms."""
        half = len(self.xs) // 2
        xs, ys = np.log(self.xs[half:]), np.log(np.maximum(self.columns[column][half:], 1e-6))
        return round(float(np.polyfit(xs, ys, 1)[0]), 3)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Calls `work`, and returns the seconds it took and its value."""
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def grow(by: str, xs: Sequence[float], measure: Measure, runs: int) -> Growth:
    """Returns the medians of `runs` rounds. In each round all `xs` take turns.

    One more round comes first and does not count.
    """
    values: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    seeds = itertools.count()
    for run in tqdm(range(runs + 1), desc=by, file=sys.stderr):
        for x in xs:
            for column, value in measure(x, next(seeds)).items():
                if run:
                    values[column][x].append(value)
    medians = {name: [round(statistics.median(at[x]), 6) for x in xs] for name, at in values.items()}
    return Growth(by, xs, medians)


def with_pixels(model: SegmentationModel, path: Path) -> Measure:
    def measure(megapixels: float, seed: int) -> dict[str, float]:
        size_hw = int((megapixels * 0.75e6) ** 0.5), int((megapixels / 0.75e-6) ** 0.5)
        write_photo(path, size_hw, seed)
        reading, photo = timed(lambda: read_photo(path, WORKING_SIDE))
        inference, _ = timed(lambda: segment(model, photo.pixels))
        # The allocator has its default setting here. With our setting it keeps freed memory. Then the idle
        # process would already hold memory that the work uses again, and the peak would look too small.
        spawn = multiprocessing.get_context("spawn")
        with (
            patch.dict(os.environ, MALLOC_TRIM_THRESHOLD_="131072"),
            ProcessPoolExecutor(1, spawn) as process,
        ):
            memory = process.submit(measure_memory, "/annotate", path, size_hw, int(INSTANCES[-1])).result()
        return {"reading s": reading, "inference s": inference, "memory MB": memory}

    return measure


def with_instances(model: SegmentationModel) -> Measure:
    def measure(count: float, seed: int) -> dict[str, float]:
        heads: Any = model.network.roi_heads.heads
        heads.detections_per_img = int(count)
        picture, found = random_picture(*SMALL, seed), blobs(int(count), SMALL, seed)
        result = Result(Path("photo.jpg"), picture, found, model, {"read": 0.0, "model": 0.0})
        inference, seen = timed(lambda: segment(model, picture))
        if len(seen) != count:
            raise RuntimeError(f"The network found {len(seen)} instances instead of {count}.")
        drawing, drawn = timed(lambda: annotate(picture, found, names(found, coco.CATEGORIES), Style()))
        png, _ = timed(lambda: export.write_pixels(drawn, BytesIO()))
        masks, _ = timed(lambda: orjson.dumps(data.to_json(View(result, EVERYTHING))))
        return {"inference s": inference, "drawing s": drawing, "PNG s": png, "JSON s": masks}

    return measure


def with_clients(server: Server, seconds: float) -> Measure:
    pictures = itertools.count()

    def measure(clients: float, seed: int) -> dict[str, float]:
        taken, answers = timed(lambda: closed_loop(server, int(clients), seconds, pictures))
        results = sum(answer.outcome == "result" for answer in answers)
        return {"per answer s": taken / results, "p50 wait s": percentile(answers, 50)}

    return measure


def plot(growths: Sequence[Growth], path: Path) -> None:
    """Draws a panel for each quantity and unit, with logarithmic axes. Grey lines show linear growth."""
    panels = [(one, unit) for one in growths for unit in UNITS if any(c.endswith(unit) for c in one.columns)]
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    for axes, (growth, unit) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        upper = growth.xs[len(growth.xs) // 2 :]
        for column, ys in growth.columns.items():
            if column.endswith(f" {unit}"):
                label = f"{column.removesuffix(f' {unit}')} (b = {growth.exponent(column):.2f})"
                axes.plot(growth.xs, ys, "o-", markersize=4, label=label)
                line = [ys[-len(upper)] * x / upper[0] for x in upper]
                axes.plot(upper, line, "--", color="0.75", zorder=0)
        axes.set_xscale("symlog" if 0 in growth.xs else "log")
        axes.set(yscale="log", xlabel=growth.by, ylabel=UNITS[unit])
        axes.set_xticks(growth.xs, [f"{x:g}" for x in growth.xs])
        axes.margins(y=0.3)  # room for the legend
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def report(growth: Growth) -> dict[str, Any]:
    """Prints the table of a group of curves, and returns its figures for the JSON object."""
    print(f"{growth.by:<14}" + "".join(f"{x:>10g}" for x in growth.xs) + f"{'b':>8}")
    figures: dict[str, Any] = {"x": growth.xs}
    for column, ys in growth.columns.items():
        b = growth.exponent(column)
        print(f"{column:<14}" + "".join(f"{y:>10.4g}" for y in ys) + f"{b:>8.2f}")
        figures[column] = {"median": ys, "b": b, "linear_or_less": b <= LIMIT}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="number of runs; the figures are their medians")
    parser.add_argument("--plot", type=Path, help="a PNG file for the curves")
    parser.add_argument("--quick", action="store_true", help="only few points, to check that it runs")
    arguments = parser.parse_args()
    runs, some = arguments.runs, slice(1, 4) if arguments.quick else slice(None)
    network, cpu = random_network(ARCHITECTURES["resnet50_fpn"].build), torch.device("cpu")
    accelerate(network.requires_grad_(False), cpu)
    model = SegmentationModel(network, "resnet50_fpn", COCO_LABELS, cpu, "float32", "random", "")
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        pixels = grow("megapixels", MEGAPIXELS[some], with_pixels(model, photo), runs)
    instances = grow("instances", INSTANCES[some], with_instances(model), runs)
    with serving() as server:
        phase_seconds = 2 if arguments.quick else 10
        clients = grow("clients", CLIENTS[some], with_clients(server, phase_seconds), runs)
    growths = (pixels, instances, clients)
    figures: dict[str, Any] = {growth.by: report(growth) for growth in growths}
    seconds = pixels.columns["inference s"]
    ratio = round(seconds[-1] / seconds[pixels.xs.index(0.8)], 3)
    print(f"Inference at {pixels.xs[-1]} megapixels over that at 0.8: {ratio}")
    if arguments.plot:
        plot(growths, arguments.plot)
    figures |= {"inference_ratio": ratio, "inference_flat": ratio <= LIMIT}
    print(json.dumps(figures | {"runs": runs, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
