"""Sends many requests to the running app, and measures whether the app leaks memory, files or threads.

    python benchmarks/soak.py [--requests 300] [--keep-seconds 20] [--leak-mb 0] [--seed 0]

The script needs benchmarks/requirements.txt. It starts the app with the `scenes` model in a process of its
own. Two clients call the app's three endpoints, each time with another picture. Some pictures are broken, and
the app must refuse them. Some clients disconnect before they have an answer. From time to time the script
prints what the app holds. The last line is one JSON object:

- `rss_growth_mb` is the growth of memory over the second half of the requests, along a line through all
  samples.
- `failed` counts the answers that are not as expected.
- `temp_bytes_after_retention` is the size of the temporary files that are left after --keep-seconds.

With --leak-mb the app keeps that much memory after each request. Then `rss_growth_mb` must show the leak.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.clients import Client, Server, picture, serving, together

CLIENTS = 2
WARM_UPS = 60
"""Requests that do not count. They fill the caches and the allocator's pools."""
BROKEN_SHARE, LEAVING_SHARE = 0.06, 0.06
PRINT_EVERY = 25
SETTLE_SECONDS = 15.0
"""Idle connections and threads end within this time after the last request."""
EFFECTS = (None, "cut_out", "spotlight", "blur", "pixelate", "blur_background", "color_background")
FORMATS = ("annotated", "coco", "yolo", "labelme", "instances", "categories", "csv", "cutouts", "zip")
APOLOGIES = ("Something went wrong", "The server")
"""The first words of the sentences that report a fault of the app instead of a fault of the picture."""


class Plan(NamedTuple):
    """A request that a client will send.

    Attributes:
        broken: Whether the picture is broken. The app must refuse a broken picture.
        leaves_after: Seconds until the client disconnects. None for a client that waits for its answer.
    """

    endpoint: str
    arguments: dict[str, Any]
    picture: bytes
    broken: bool
    leaves_after: float | None


def plan(seed: int) -> Plan:
    """Returns a request. The same seed gives the same request."""
    chance = random.Random(seed)
    endpoint = chance.choice(("segment", "annotate", "export"))
    arguments: dict[str, Any] = {"score_threshold": chance.choice((0.3, 0.5, 0.7))}
    if endpoint == "annotate":
        arguments |= {"effect": chance.choice(EFFECTS)}
    elif endpoint == "export":
        arguments |= {"format": chance.choice(FORMATS)}
    content, kind = picture(seed), chance.random()
    if kind < BROKEN_SHARE:
        start = chance.choice((0, 2, len(content) // 2))  # junk, or a file that ends too early
        return Plan(endpoint, arguments, content[:start] + bytes(1000), True, None)
    leaves_after = chance.uniform(0, 0.3) if kind < BROKEN_SHARE + LEAVING_SHARE else None
    return Plan(endpoint, arguments, content, False, leaves_after)


def fault_in(client: Client, one: Plan) -> str | None:
    """Sends the request of a plan. Returns a description of the unexpected answer, or None if all is well."""
    if one.leaves_after is not None:
        client.leave(one.endpoint, one.picture, one.leaves_after, **one.arguments)
        return None
    answer = client.ask(one.endpoint, one.picture, **one.arguments)
    if one.broken:
        good = answer.outcome == "error" and not answer.words.startswith(APOLOGIES)
    else:
        good = answer.outcome == "result"
    return None if good else f"{one.endpoint} {one.arguments}: {answer.outcome}: {answer.words}"


@dataclass
class Samples:
    """The memory, open files, threads and temporary files that the app held after each request."""

    rss_mb: list[float] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    temp_mb: list[float] = field(default_factory=list)

    def take(self, server: Server) -> None:
        """Adds a sample of each."""
        self.rss_mb.append(server.rss_mb)
        self.fds.append(server.process.num_fds())
        self.threads.append(server.process.num_threads())
        self.temp_mb.append(server.temp_bytes / 2**20)

    @property
    def last(self) -> str:
        """The last samples as a line to print."""
        return (
            f"{len(self.rss_mb):>6} requests {self.rss_mb[-1]:>8.1f} MB {self.fds[-1]:>4} files "
            f"{self.threads[-1]:>4} threads {self.temp_mb[-1]:>7.1f} MB on the disk"
        )


def growth(values: list[float]) -> float:
    """Returns the rise of the values along the line with the median slope (Theil and Sen)."""
    later, earlier = np.triu_indices(len(values), 1)[::-1]
    slopes = (np.array(values)[later] - np.array(values)[earlier]) / (later - earlier)
    return float(np.median(slopes)) * (len(values) - 1)


def settled(server: Server) -> tuple[int, int]:
    """Returns the least numbers of open files and of threads while no client is connected."""
    fds, threads = [], []
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        fds.append(server.process.num_fds())
        threads.append(server.process.num_threads())
        time.sleep(0.5)
    return min(fds), min(threads)


def bytes_after(server: Server, seconds: float) -> int:
    """Returns the size of the temporary files after `seconds`, or 0 as soon as none is left."""
    end = time.monotonic() + seconds
    while server.temp_bytes and time.monotonic() < end:
        time.sleep(0.5)
    return server.temp_bytes


def soak(requests: int, seed: int, keep_seconds: float, leak_mb: float) -> dict[str, Any]:
    """Returns the figures of `requests` requests, after `WARM_UPS` requests that do not count."""
    samples, faults, kinds, sampling = Samples(), list[str](), Counter[str](), threading.Lock()
    with serving("--keep-seconds", str(keep_seconds), "--leak-mb", str(leak_mb)) as server:

        def ask(numbers: list[int], client: Client) -> None:
            while numbers:
                one = plan(seed + numbers.pop())
                if fault := fault_in(client, one):
                    faults.append(fault)
                kinds["left" if one.leaves_after is not None else "broken" if one.broken else "good"] += 1
                with sampling:
                    samples.take(server)
                    if len(samples.rss_mb) % PRINT_EVERY == 0:
                        print(samples.last, flush=True)

        def run(first: int, count: int) -> None:
            numbers = list(range(first, first + count))[::-1]
            together(server, CLIENTS, lambda number, client: ask(numbers, client))

        run(0, WARM_UPS)
        fds_start, threads_start = settled(server)
        samples, kinds = Samples(), Counter()
        run(WARM_UPS, requests)
        fds_end, threads_end = settled(server)
        half = samples.rss_mb[requests // 2 :]
        few = max(1, requests // 20)
        return {
            "requests": requests,
            "kinds": kinds,
            "rss_mb_start": round(statistics.median(samples.rss_mb[:few]), 1),
            "rss_mb_half": round(statistics.median(half[:few]), 1),
            "rss_mb_end": round(statistics.median(half[-few:]), 1),
            "rss_growth_mb": round(growth(half), 1),
            "fds_start": fds_start,
            "fds_end": fds_end,
            "threads_start": threads_start,
            "threads_end": threads_end,
            "temp_mb_most": round(max(samples.temp_mb), 1),
            "temp_mb_end": round(samples.temp_mb[-1], 1),
            "temp_bytes_after_retention": bytes_after(server, keep_seconds * 1.5 + 5),
            "failed": len(faults),
            "faults": faults[:20],
            "complaints": server.complaints()[-20:],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=300, help="number of requests that count")
    parser.add_argument("--keep-seconds", type=float, default=20, help="seconds that a file may stay")
    parser.add_argument("--leak-mb", type=float, default=0, help="memory that each request leaks, in MB")
    parser.add_argument("--seed", type=int, default=0, help="the first seed of the requests")
    arguments = parser.parse_args()
    print(json.dumps(soak(arguments.requests, arguments.seed, arguments.keep_seconds, arguments.leak_mb)))


if __name__ == "__main__":
    main()
