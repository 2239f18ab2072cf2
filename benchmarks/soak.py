"""Sends many requests to the running app, and sees whether it keeps memory, files or threads.

    python benchmarks/soak.py [--requests 300] [--keep-seconds 20] [--leak-mb 0] [--seed 0]

Wants benchmarks/requirements.txt. Starts the app with the `scenes` model in a process of its own; two clients
ask its three endpoints for pictures that differ. Some pictures are broken, which the app must say; some
clients go away before they are answered. Prints how it stands now and then, and one JSON object as the last
line: `rss_growth_mb` is that of the second half, along a line through all its samples; `failed` counts
answers other than expected; `temp_bytes_after_retention` is what is left on the disk once files are older
than --keep-seconds. --leak-mb makes the app keep that much memory with each request: growth must show it.
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
"""Requests before the first that counts, while caches and the allocator's pools fill up."""
BROKEN_SHARE, LEAVING_SHARE = 0.06, 0.06
PRINT_EVERY = 25
SETTLE_SECONDS = 15.0
"""After the last request: idle connections and threads end within this."""
EFFECTS = (None, "cut_out", "spotlight", "blur", "pixelate", "blur_background", "color_background")
FORMATS = ("annotated", "coco", "yolo", "labelme", "instances", "categories", "csv", "cutouts", "zip")
APOLOGIES = ("Something went wrong", "The server")
"""How sentences begin that tell of the app's faults and not of the picture's."""


class Plan(NamedTuple):
    """A request to be made.

    Attributes:
        broken: The picture is; the app must refuse it.
        leaves_after: Seconds; None for a client that waits for its answer.
    """

    endpoint: str
    arguments: dict[str, Any]
    picture: bytes
    broken: bool
    leaves_after: float | None


def plan(seed: int) -> Plan:
    """One request, the same for the same seed."""
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
    """Carries out a plan. What went otherwise than it should, None if nothing did."""
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
    """What the app held after each request."""

    rss_mb: list[float] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    temp_mb: list[float] = field(default_factory=list)

    def take(self, server: Server) -> None:
        self.rss_mb.append(server.rss_mb)
        self.fds.append(server.process.num_fds())
        self.threads.append(server.process.num_threads())
        self.temp_mb.append(server.temp_bytes / 2**20)

    @property
    def last(self) -> str:
        return (
            f"{len(self.rss_mb):>6} requests {self.rss_mb[-1]:>8.1f} MB {self.fds[-1]:>4} files "
            f"{self.threads[-1]:>4} threads {self.temp_mb[-1]:>7.1f} MB on the disk"
        )


def growth(values: list[float]) -> float:
    """How much values rise from first to last, along the line with the median slope (Theil and Sen)."""
    later, earlier = np.triu_indices(len(values), 1)[::-1]
    slopes = (np.array(values)[later] - np.array(values)[earlier]) / (later - earlier)
    return float(np.median(slopes)) * (len(values) - 1)


def settled(server: Server) -> tuple[int, int]:
    """Open files and threads once nobody is connected: the least that is seen while idle."""
    fds, threads = [], []
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        fds.append(server.process.num_fds())
        threads.append(server.process.num_threads())
        time.sleep(0.5)
    return min(fds), min(threads)


def bytes_after(server: Server, seconds: float) -> int:
    """What is left on the disk so long after now; the first sweep that finds nothing ends the wait."""
    end = time.monotonic() + seconds
    while server.temp_bytes and time.monotonic() < end:
        time.sleep(0.5)
    return server.temp_bytes


def soak(requests: int, seed: int, keep_seconds: float, leak_mb: float) -> dict[str, Any]:
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
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--keep-seconds", type=float, default=20)
    parser.add_argument("--leak-mb", type=float, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(soak(arguments.requests, arguments.seed, arguments.keep_seconds, arguments.leak_mb)))


if __name__ == "__main__":
    main()
