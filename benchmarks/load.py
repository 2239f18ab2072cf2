"""Loads the running app with many clients. Each client asks again as soon as it has an answer.

    python benchmarks/load.py [--clients 32] [--seconds 600] [--phase-seconds 30] [--flood]

The script needs benchmarks/requirements.txt. It starts the app with the `scenes` model in a process of its
own. Every client has an address and a connection of its own, and sends pictures that nobody sent before. A
client that is told "busy" waits a second. Phases with 1 and with 8 clients come first. The last line is one
JSON object. It counts the requests as `results`, `busy` or `lost`. `lost` counts every other outcome, and
`lost_because` lists the reasons. p50 and p95 are percentiles of the seconds that results took.

With --flood the script runs another test: one address sends 20 photos at once, then another visitor sends one
photo. `delay_service_times` says how much longer the slowest of this visitor's photos took than a photo that
is sent alone. The unit is the mean time of a photo that is sent alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from tqdm import tqdm

from benchmarks.clients import Answer, Client, Server, address, picture, serving, together

POLITE_SECONDS = 1.0
WARM_UPS = 3
FLOOD = 20
VISITOR, FLOODER = address(1000), address(2000)


def closed_loop(server: Server, clients: int, seconds: float, seeds: Iterator[int]) -> list[Answer]:
    """Returns the answers that `clients` clients got. Waits for the requests that began within `seconds`."""
    answers: list[Answer] = []
    end = time.monotonic() + seconds
    with tqdm(desc=f"{clients} clients", unit=" answers", mininterval=5, file=sys.stderr) as progress:

        def work(number: int, client: Client) -> None:
            while time.monotonic() < end:
                answer = client.ask("segment", picture(next(seeds)), score_threshold=0.5)
                answers.append(answer)
                progress.update()
                if answer.outcome == "busy":
                    time.sleep(POLITE_SECONDS)

        together(server, clients, work)
    return answers


def percentile(answers: list[Answer], percent: float) -> float:
    """Returns a percentile of the seconds that results took, or 0 if there are no results."""
    seconds = [answer.seconds for answer in answers if answer.outcome == "result"]
    return round(float(np.percentile(seconds or [0.0], percent)), 3)


@contextmanager
def memory_peak(server: Server) -> Iterator[list[float]]:
    """Yields a list with one value: the app's peak memory during the block, in MB above its memory before."""
    idle = server.rss_mb
    peaks, stopped = [0.0], threading.Event()

    def watch() -> None:
        while not stopped.wait(0.1):
            peaks[0] = max(peaks[0], server.rss_mb - idle)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        stopped.set()
        thread.join()


def warm_up(client: Client, seeds: Iterator[int]) -> None:
    """Sends a few photos. Raises `RuntimeError` if the app does not answer one of them with a result."""
    for _ in range(WARM_UPS):
        answer = client.ask("segment", picture(next(seeds)))
        if answer.outcome != "result":
            raise RuntimeError(f"The app does not answer: {answer}")


def load(clients: int, seconds: float, phase_seconds: float) -> dict[str, Any]:
    """Returns the figures of the load, with the phases of 1 and of 8 clients before it."""
    seeds = itertools.count()
    with serving() as server:
        with Client(server.url, VISITOR) as client:
            warm_up(client, seeds)
        with memory_peak(server) as peaks:
            alone, eight = (closed_loop(server, count, phase_seconds, seeds) for count in (1, 8))
            answers = closed_loop(server, clients, seconds, seeds)
        everything = [*alone, *eight, *answers]
        counts = Counter(answer.outcome for answer in everything)
        at_1, at_8 = percentile(alone, 95), percentile(eight, 95)
        return {
            "clients": clients,
            "seconds": seconds,
            "requests": len(everything),
            "results": counts["result"],
            "busy": counts["busy"],
            "lost": counts["error"] + counts["lost"],
            "lost_because": Counter(a.words for a in everything if a.outcome in ("error", "lost")),
            "p50_s": percentile(answers, 50),
            "p95_s": percentile(answers, 95),
            "p95_at_1_s": at_1,
            "p95_at_8_s": at_8,
            "p95_ratio_8_to_1": round(at_8 / at_1, 2) if at_1 else None,
            "rss_peak_mb_over_idle": round(peaks[0], 1),
            "complaints": server.complaints()[-20:],
        }


def flood(rounds: int = 5, solos: int = 10) -> dict[str, Any]:
    """Returns the figures of `rounds` floods, after `solos` photos that the visitor sends alone."""
    seeds = itertools.count()
    others: list[Answer] = []
    flooded: list[Answer] = []
    with serving() as server, ExitStack() as stack:
        visitor = stack.enter_context(Client(server.url, VISITOR))
        flooders = [stack.enter_context(Client(server.url, FLOODER)) for _ in range(FLOOD)]
        threads = stack.enter_context(ThreadPoolExecutor(FLOOD))
        warm_up(visitor, seeds)
        alone = [visitor.ask("segment", picture(next(seeds))) for _ in range(solos)]
        service_s = statistics.mean(answer.seconds for answer in alone)
        for _ in tqdm(range(rounds), desc="floods", file=sys.stderr):
            paths = [flooder.upload(picture(next(seeds))) for flooder in flooders]
            events = list(threads.map(lambda one, path: one.call("segment", path), flooders, paths))
            waiting = threads.map(lambda one, event: one.answer("segment", event), flooders, events)
            others.append(visitor.ask("segment", picture(next(seeds))))
            flooded += [Answer(outcome, 0.0, words) for outcome, words in waiting]
        worst = max(answer.seconds for answer in others)
        return {
            "flood": FLOOD,
            "rounds": rounds,
            "service_s": round(service_s, 3),
            "other_s": [round(answer.seconds, 3) for answer in others],
            "other_outcomes": Counter(answer.outcome for answer in others),
            "flooder_outcomes": Counter(answer.outcome for answer in flooded),
            "delay_service_times": round(worst / service_s - 1, 2),
            "complaints": server.complaints()[-20:],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=32, help="number of clients of the load")
    parser.add_argument("--seconds", type=float, default=600, help="length of the load in seconds")
    parser.add_argument(
        "--phase-seconds",
        type=float,
        default=30,
        help="length of the phases with 1 and with 8 clients, in seconds",
    )
    parser.add_argument(
        "--flood", action="store_true", help="measure one visitor beside a flood, instead of the load"
    )
    arguments = parser.parse_args()
    figures = (
        flood() if arguments.flood else load(arguments.clients, arguments.seconds, arguments.phase_seconds)
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
