"""Measures what it costs that each picture is decoded in a process of its own.

    python benchmarks/decode.py [--runs 21]

A large and a small JPEG with noisy pixels are made from a seed. Each photo is read and reduced to the working
image in this process, as `photo.decoder` does it, and through a fenced child, as the app does it
(`photo.images`). The two take turns. Before each reading there is a pause, in which the server forks its next
child. In the app the network runs then. After that, two threads read at once, until both are done.

The script prints a table, then one JSON object as the last line: medians in milliseconds. `difference_ms` is
the median of the differences of all rounds. Other work on the machine makes all figures larger.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from network import runtime

runtime.prepare()

from PIL import Image
from tqdm import tqdm

from inference import WORKING_SIDE
from photo import decoder
from photo.images import read_photo
from tools.random_weights import random_picture

PHOTOS = {"12 MP": (3000, 4000), "640x480": (480, 640)}
"""(height, width) of each photo."""
PAUSE_SECONDS = 0.1


def decode_here(path: Path) -> None:
    room = bytearray(3 * WORKING_SIDE**2)
    decoder.decode(path.read_bytes(), WORKING_SIDE, memoryview(room))


def decode_in_child(path: Path) -> None:
    read_photo(path, WORKING_SIDE)


def measure(path: Path, runs: int, at_once: int) -> dict[str, float]:
    """Returns the medians of `runs` rounds in milliseconds. A first round does not count."""
    taken: dict[str, list[float]] = {"in_process": [], "child": []}
    with ThreadPoolExecutor(at_once) as threads:

        def seconds(decode: Callable[[Path], None]) -> float:
            time.sleep(PAUSE_SECONDS)
            start = time.perf_counter()
            list(threads.map(decode, [path] * at_once))
            return time.perf_counter() - start

        for _ in tqdm(range(runs + 1), desc=f"{path.stem}, {at_once} at once", file=sys.stderr):
            taken["in_process"].append(seconds(decode_here))
            taken["child"].append(seconds(decode_in_child))
    rounds = [*zip(taken["in_process"][1:], taken["child"][1:], strict=True)]
    here, child = (statistics.median(values) for values in zip(*rounds, strict=True))
    difference = statistics.median(child - here for here, child in rounds)
    figures = {"in_process_ms": here, "child_ms": child, "difference_ms": difference}
    return {name: round(1000 * value, 1) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=21, help="number of rounds; the times are their medians")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, size_hw in PHOTOS.items():
            path = Path(folder) / f"{name}.jpg"
            Image.fromarray(random_picture(*size_hw)).save(path, quality=92)
            figures[name] = {
                "one": measure(path, arguments.runs, 1),
                "two_at_once": measure(path, arguments.runs, 2),
            }
    print(f"{'photo':<10}{'at once':>12}{'in process ms':>16}{'child ms':>12}{'difference ms':>16}")
    for name, rows in figures.items():
        for number, row in rows.items():
            print(
                f"{name:<10}{number:>12}{row['in_process_ms']:>16.1f}{row['child_ms']:>12.1f}"
                f"{row['difference_ms']:>16.1f}"
            )
    print(json.dumps({"runs": arguments.runs, "photos": figures}))


if __name__ == "__main__":
    main()
