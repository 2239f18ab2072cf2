"""Measures the work on many photos: hostile ZIPs, photos together and one by one, opening, files for all.

    python benchmarks/many.py [--photos 20] [--size 3000x4000] [--model starter]

Photos and ZIPs are made from a seed. Photos together and one by one take turns in one run, so the ratio says
what the strip costs beside the network. It prints one JSON object as the last line, with seconds and MB. The
script needs Linux, because it reads the memory from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import statistics
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image

from answer.many import Named
from answer.many_files import EXPORTS, export_many
from answer.result import View
from benchmarks.exports import peak_mb_over_idle
from inference import SegmentationModel, load
from photo.archive import unpack
from photo.errors import ImageError
from serving.many import Sent, light
from serving.models import Models
from serving.service import Service
from tools.random_weights import random_picture


def zipped(entries: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def crowded(count: int, picture: bytes) -> bytes:
    """Returns a ZIP whose list names one photo `count` times."""
    one = zipped({"a.png": picture})
    start, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    listed = one[start:end] * count
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(listed), start, 0)
    return one[:start] + listed + tail


def hostile() -> dict[str, dict[str, float]]:
    """Returns the seconds and the MB over idle that each hostile ZIP costs."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG")
    picture = file.getvalue()
    bomb = picture[:64] + bytes(400 << 20)
    cases = {
        "100000_entries": crowded(100_000, picture),
        "bomb_400_mb": zipped({"bomb.png": bomb, "a.png": picture}),
        "50_bombs_of_24_mb": zipped({f"{k}.png": picture[:64] + bytes(24 << 20) for k in range(50)}),
    }
    figures = {}
    for name, content in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.zip"
            path.write_bytes(content)
            (Path(folder) / "out").mkdir()

            def work(path: Path = path) -> None:
                with contextlib.suppress(ImageError):
                    unpack(path, path.parent / "out")

            start = time.perf_counter()
            peak = peak_mb_over_idle(work)
            figures[name] = {
                "zip_mb": round(len(content) / 2**20, 2),
                "seconds": round(time.perf_counter() - start, 3),
                "peak_mb_over_idle": round(peak, 1),
            }
    return figures


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def together_and_one_by_one(
    paths: list[Path], model: SegmentationModel
) -> tuple[dict[str, float], list[Named]]:
    """Looks at photos together and one by one. Returns the figures, and the photos that were found."""
    service = Service(Models(lambda: (model, None)))
    service.results.most = 0  # each photo is looked at anew
    named: list[Named] = []

    async def many(chosen: list[Path]) -> None:
        async with service.request("many") as request:
            sent = [Sent(path.stem, path) for path in chosen]
            async for step in request.segment_many(sent, model):
                assert step.result is not None
                named.append(Named(sent[step.place].name, View(light(step.result))))

    async def single(chosen: list[Path]) -> None:
        for path in chosen:
            async with service.request("one") as request:
                await request.run(lambda job, path=path: request.segment(path, model, job))  # type: ignore[misc]

    asyncio.run(single(paths[:2]))  # warms up
    groups = [paths[k : k + 5] for k in range(0, len(paths), 5)]
    pairs = [
        (seconds_of(lambda: asyncio.run(many(group))), seconds_of(lambda: asyncio.run(single(group))))  # noqa: B023
        for group in groups
    ]

    async def opened() -> list[float]:
        times = []
        for photo in named:
            assert photo.view is not None
            result = photo.view.result
            async with service.request("look") as request:
                start = time.perf_counter()
                await request.look(lambda: request.reopened(result))  # noqa: B023
                times.append(time.perf_counter() - start)
        return times

    figures = {
        "seconds_per_photo": round(sum(one for one, _ in pairs) / len(paths), 3),
        "ratio_to_one_by_one": round(statistics.median(one / other for one, other in pairs), 3),
        "open_ms": round(1000 * statistics.median(asyncio.run(opened())), 1),
    }
    return figures, named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--size", default="3000x4000", help="height x width of the photos in pixels")
    parser.add_argument("--model", default="starter", help="the model that looks at them")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    figures: dict[str, object] = {"photos": arguments.photos, "size_hw": (height, width), "zips": hostile()}
    with tempfile.TemporaryDirectory() as folder:
        picture = Image.fromarray(random_picture(height, width))
        paths = [Path(folder) / f"{k:02d}.jpg" for k in range(arguments.photos)]
        for k, path in enumerate(paths):
            picture.rotate(7 * k).save(path, quality=90)
        together, named = together_and_one_by_one(paths, load(arguments.model, device="cpu"))
        figures |= together
        out = Path(folder) / "out"
        out.mkdir()
        files: dict[str, dict[str, float]] = {}
        for format in EXPORTS:
            start = time.perf_counter()
            *_, last = export_many(named, format, out)
            assert last.path is not None
            size = last.path.stat().st_size / 2**20
            took = time.perf_counter() - start
            files[format] = {"seconds": round(took, 2), "file_mb": round(size, 2)}
    print(json.dumps(figures | {"files": files}))


if __name__ == "__main__":
    main()
