"""Measures the time and memory of everything around the model, from a photo's file to the answer's bytes.

    python benchmarks/around.py [--size 3000x4000] [--runs 5] [--model-seconds 1.8] [--processor]

The network does not run. Each photo is a noisy JPEG made from a seed. Its instances are made from the seed as
well, and all of them are drawn. For each answer the script prints the milliseconds of each step, as medians,
and the share of `--model-seconds`. Then it measures the peak memory for the largest photo that the app
accepts (`--largest`). This peak is in MB above the idle process, which has answered one small photo. Here
each answer has a process of its own. The memory figures need Linux, because the script reads them from /proc.
The last line is one JSON object.

On a machine that does other work, `--processor` counts processor time instead of the clock's time. The app
decodes and reduces a photo in another process (`photo.client`). The step "decode" is the time until that
process has answered. `--processor` and the memory figures do not include that process. `exports.py` measures
the cost of each export.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

import visualize
from answer import data
from answer import files as export
from answer.result import Result, View
from answer.settings import Filters
from benchmarks.exports import peak_mb_over_idle, random_instances
from benchmarks.filter import PageAnswers, blobs
from detections import Detections
from inference import SCORE_FLOOR, SegmentationModel, load
from photo.client import Client
from serving import photos
from serving.photos import segment_file
from tools.random_weights import random_picture
from ui import overlay, page

STEPS: dict[str, tuple[ModuleType | type, str]] = {
    "decode": (Client, "ask"),
    "areas": (overlay, "areas"),
    "outlines": (overlay, "scene"),
    "JPEG": (page, "picture_file"),
    "RLE": (data, "to_rle"),
    "masks": (visualize, "_draw_masks"),
    "boxes": (visualize, "_draw_boxes"),
    "labels": (visualize, "_draw_labels"),
    "PNG": (export, "_write_pixels"),
    "JSON": (orjson, "dumps"),
}
"""The function behind each step, in the module or class where its callers look it up.

The time of a step does not include the steps that it calls.
"""
EVERYTHING = Filters(SCORE_FLOOR)
SMALL = (768, 1024)


class Clock:
    """Counts the seconds spent in each of `STEPS` since `seconds` was cleared. `timer` tells the time."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self.timer = timer
        self.seconds: dict[str, float] = defaultdict(float)
        self._within = [0.0]
        for step, (module, name) in STEPS.items():
            if hasattr(module, name):
                self._watch(step, module, name)

    def _watch(self, step: str, module: ModuleType | type, name: str) -> None:
        function = getattr(module, name)

        @functools.wraps(function)
        def timed(*arguments: object, **options: object) -> object:
            start = self.timer()
            self._within.append(0.0)
            try:
                return function(*arguments, **options)
            finally:
                seconds = self.timer() - start
                self.seconds[step] += seconds - self._within.pop()
                self._within[-1] += seconds

        setattr(module, name, timed)


class Answers:
    """Makes the app's answers to the photo `path`, as if the network had found `found` in it."""

    def __init__(self) -> None:
        self.model: SegmentationModel = load("scenes", device="cpu")
        self.path, self.found = Path(), blobs(1, SMALL)
        self._page: PageAnswers | None = None
        setattr(photos, "segment_or_fall_back", self._network)  # noqa: B010

    def _network(
        self, model: SegmentationModel, image: NDArray[np.uint8], *rest: object
    ) -> tuple[Detections, SegmentationModel, None]:
        return self.found.resized(*image.shape[:2]), model, None

    def _result(self) -> Result:
        return segment_file(self.path, self.model)

    def page(self) -> None:
        self._page = self._page or PageAnswers(self._result())
        self._page.result = self._result()
        self._page.answer("redraw", score_threshold=SCORE_FLOOR)

    def segment(self) -> None:
        orjson.dumps(data.to_json(View(self._result(), EVERYTHING)))

    def annotate(self) -> None:
        self._export("annotated")

    def zip(self) -> None:
        self._export("zip")

    def _export(self, format: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            export.export_file(View(self._result(), EVERYTHING), format, Path(folder))


ANSWERS = {"page": Answers.page, "/segment": Answers.segment, "/annotate": Answers.annotate}


def write_photo(path: Path, size_hw: tuple[int, int], seed: int) -> None:
    """Writes a JPEG with noisy pixels, which needs as much decoding as a camera's photo."""
    picture = cv2.resize(random_picture(*SMALL, seed), size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(seed).integers(0, 12, picture.shape, np.uint8)
    Image.fromarray(cv2.add(picture, noise)).save(path, quality=92)


def measure_time(
    size_hw: tuple[int, int], count: int, runs: int, timer: Callable[[], float]
) -> dict[str, dict[str, float]]:
    """Returns the milliseconds of each answer's steps, of the rest and of the total.

    They are medians over `runs` photos. `timer` tells the time in seconds.
    """
    milliseconds: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in ANSWERS}
    answers = Answers()
    with tempfile.TemporaryDirectory() as folder:
        answers.path, answers.found = Path(folder) / "photo.jpg", blobs(count, size_hw)
        write_photo(answers.path, size_hw, 0)
        for answer in ANSWERS.values():
            answer(answers)
        clock = Clock(timer)
        for run in tqdm(range(1, runs + 1), desc="runs", file=sys.stderr):
            write_photo(answers.path, size_hw, run)
            answers.found = blobs(count, size_hw, run)
            for name, answer in ANSWERS.items():
                clock.seconds.clear()
                start = timer()
                answer(answers)
                total = timer() - start
                steps = clock.seconds | {"rest": total - sum(clock.seconds.values()), "total": total}
                for step, seconds in steps.items():
                    milliseconds[name][step].append(seconds * 1000)
    return {
        name: {step: round(statistics.median(values), 1) for step, values in steps.items()}
        for name, steps in milliseconds.items()
    }


def measure_memory(answer: str, photo: Path, size_hw: tuple[int, int], count: int) -> float:
    """Returns the peak memory of one answer in MB above idle. Idle is the process after one small photo."""
    answers = Answers()
    with tempfile.TemporaryDirectory() as folder:
        answers.path, answers.found = Path(folder) / "small.jpg", random_instances(count, SMALL)
        write_photo(answers.path, SMALL, 0)
        work = (ANSWERS | {"zip": Answers.zip})[answer]
        work(answers)
        answers.path, answers.found = photo, random_instances(count, size_hw)
        return round(peak_mb_over_idle(lambda: work(answers)), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="3000x4000", help="height x width of the photos in pixels")
    parser.add_argument("--largest", default="5000x8000", help="size of the photo for memory; 0: none")
    parser.add_argument("--instances", type=int, default=100, help="instances in each photo")
    parser.add_argument("--runs", type=int, default=5, help="number of runs; the times are their medians")
    parser.add_argument("--processor", action="store_true", help="count processor time, not the clock's time")
    parser.add_argument("--model-seconds", type=float, help="seconds that the model takes, to compare with")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    figures: dict[str, object] = {"size_hw": (height, width), "instances": arguments.instances}
    figures["timer"] = "processor" if arguments.processor else "clock"
    timer = time.process_time if arguments.processor else time.perf_counter
    times = measure_time((height, width), arguments.instances, arguments.runs, timer)
    figures["milliseconds"] = times
    print(f"{'milliseconds':<14}" + "".join(f"{name:>12}" for name in times))
    for step in [*STEPS, "rest", "total"]:
        print(f"{step:<14}" + "".join(f"{steps.get(step, 0) or '':>12}" for steps in times.values()))
    if arguments.model_seconds:
        shares = {name: steps["total"] / 1000 / arguments.model_seconds for name, steps in times.items()}
        figures |= {"model_seconds": arguments.model_seconds, "share_of_model": shares}
        print(f"{'of the model':<14}" + "".join(f"{share:>12.1%}" for share in shares.values()))
    if arguments.largest != "0":
        height, width = map(int, arguments.largest.split("x"))
        memory = {}
        with tempfile.TemporaryDirectory() as folder:
            photo = Path(folder) / "photo.jpg"
            write_photo(photo, (height, width), 0)
            for name in tqdm([*ANSWERS, "zip"], desc="memory", file=sys.stderr):
                with multiprocessing.get_context("spawn").Pool(1) as process:
                    memory[name] = process.apply(
                        measure_memory, (name, photo, (height, width), arguments.instances)
                    )
        figures |= {"largest_hw": (height, width), "peak_mb_over_idle": memory}
        print(
            f"{'MB over idle':<14}" + "".join(f"{peak:>12.1f}" for peak in memory.values()) + "  (last: zip)"
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
