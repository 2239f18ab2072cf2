"""Measures a clip from its file to its result against the network alone, writing, and memory.

    python benchmarks/video.py [--clip FILE] [--model starter] [--frames 40] [--rounds 3]

The whole way (decoding in its process, the network, tracking) and the network alone take turns on the same
frames. The ratio is that of frames per second, and should be at least 0.85. Memory is that of a clip of 60
seconds with 30 objects in each frame, above idle. The last line of the output is a JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # to run as a script as well

from network import runtime

runtime.prepare()

import numpy as np
from numpy.typing import NDArray

from clips import writing
from clips.files import export_clip
from clips.look import segment_clip
from clips.result import ClipResult, ClipView, Look
from detections import Detections
from inference import NAMES, WORKING_SIDE, SegmentationModel, load, segment_many
from photo.clips import open_clip
from serving.clips import segment_clip_file

OBJECTS, SECONDS, RATE = 30, 60, 30


def whole_way(path: Path, model: SegmentationModel, frames: int) -> tuple[float, ClipResult]:
    """Returns the seconds that the first frames take from the file to the result, and the result."""
    start = time.perf_counter()
    for progress in segment_clip_file(path, model, 0.1, stride=1):
        result = progress.result
        if progress.done >= frames:
            break
    return time.perf_counter() - start, result


def network_alone(frames: Sequence[NDArray[np.uint8]], model: SegmentationModel, batch: int) -> float:
    """Returns the seconds that the network needs for frames that are in memory."""
    start = time.perf_counter()
    for k in range(0, len(frames), batch):
        segment_many(model, frames[k : k + batch])
    return time.perf_counter() - start


def first_frames(path: Path, count: int) -> list[NDArray[np.uint8]]:
    """Returns the first frames of a clip as the network gets them."""
    found: list[NDArray[np.uint8]] = []
    with open_clip(path, WORKING_SIDE) as clip:
        for (frame,) in clip.frames():
            found.append(frame.pixels)
            if len(found) == count:
                break
    return found


def drawn(folder: Path, frames: int) -> Path:
    """Writes a clip of drawn objects, 768 x 576 pixels with 10 frames a second."""
    from PIL import Image

    from training.scenes.clips import draw_clip

    pictures = (frame.image for frame in draw_clip(0, [k / 10 for k in range(frames)]))
    return writing.write(
        lambda: (np.asarray(Image.fromarray(picture).resize((768, 576))) for picture in pictures),
        10.0,
        folder / "drawn",
    )


def many_objects(folder: Path) -> dict[str, Any]:
    """Measures the memory of a clip with many objects in each frame. No network runs: they are made up."""
    greys = (np.full((240, 320, 3), k % 200, np.uint8) for k in range(SECONDS * RATE))
    path = writing.write(lambda: greys, RATE, folder / "many")
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 200, (OBJECTS, 2))
    y, x = np.mgrid[-1:1:28j, -1:1:28j]

    def find(images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [one() for _ in images]

    def one() -> Detections:
        nonlocal places
        places = (places + rng.normal(0, 1, places.shape)).clip(0, 200)
        radii = rng.uniform(0.6, 0.9, (OBJECTS, 1, 1))
        masks = 1 / (1 + np.exp(10 * (np.hypot(x, y) - radii) + rng.normal(0, 0.3, (OBJECTS, 28, 28))))
        return Detections(
            np.hstack([places, places + 40]).astype(np.float32),
            np.sort(rng.uniform(0.7, 1, OBJECTS))[::-1].astype(np.float32),
            np.ones(OBJECTS, np.int64),
            masks.astype(np.float32),
            np.arange(1, OBJECTS + 1),
            (240, 320),
        )

    find([np.zeros((240, 320, 3), np.uint8)])
    gc.collect()
    idle = resident_mb()
    looks: list[Look] = []
    peak = idle
    with open_clip(path, WORKING_SIDE) as clip:
        for new in segment_clip(clip.frames(), find, clip.facts.size):
            looks += new
            peak = max(peak, resident_mb())
    return {
        "frames": len(looks),
        "instances": sum(len(look) for look in looks),
        "mb_above_idle": round(peak - idle, 1),
    }


def resident_mb() -> float:
    """Returns the memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, help="default: a drawn one")
    parser.add_argument("--model", choices=NAMES, default="starter")
    parser.add_argument("--frames", type=int, default=40, help="frames in each run")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        memory = many_objects(folder)  # first, before the process has memory that is free but not given back
        model = load(chosen.model)
        batch = 8 if model.device.type == "cuda" else 1
        path = chosen.clip or drawn(folder, chosen.frames)
        frames = first_frames(path, chosen.frames)
        network_alone(frames[: 2 * batch], model, batch)
        whole, alone = [], []
        for _ in range(chosen.rounds):
            seconds, result = whole_way(path, model, len(frames))
            whole.append(len(frames) / seconds)
            alone.append(len(frames) / network_alone(frames, model, batch))
        start = time.perf_counter()
        written = export_clip(ClipView(result), "video", folder)
        writing_seconds = time.perf_counter() - start
        facts = {
            "clip": "drawn" if chosen.clip is None else chosen.clip.name,
            "size_hw": result.facts.size,
            "model": model.name,
            "device": str(model.device),
            "frames_per_second": round(statistics.median(whole), 2),
            "network_alone": round(statistics.median(alone), 2),
            "ratio": round(statistics.median(a / b for a, b in zip(whole, alone, strict=True)), 3),
            "written_as": written.suffix[1:],
            "written_frames_per_second": round(len(frames) / writing_seconds, 1),
            "memory": memory,
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
