"""Measures how long a freshly started app takes until the page opens and until the model answers.

    python benchmarks/cold_start.py [--runs 3]

The script starts `python app.py` in a process of its own, without access to other hosts. It does so with a
file of V1 weights (random ones), and without weights, when the built-in model takes over. "page" is the time
until GET / answers with status 200. At once the script sends a photo to the model "auto". "ready" is the time
until the answer, so it includes one run of the network. All files are in the system's cache already.

After that the script measures which packages take longest to import. The time of a package includes the
packages that it imports first. The script prints tables, then one JSON object as the last line: medians in
seconds, to compare with `LIMITS`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from network import runtime

runtime.prepare()

import httpx
import torch
from tqdm import tqdm

from benchmarks.clients import ROOT, Client, address, picture
from benchmarks.serve import HOST, free_port
from network.architectures import ARCHITECTURES
from network.weights import FILE_VARIABLE, REPO_VARIABLE
from tools.random_weights import random_network

LIMITS = {"page": 15.0, "ready": 20.0}
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.05
HEAVIEST = 8
IMPORT = re.compile(r"import time: +\d+ \| +(\d+) \| +(\w+)$", re.MULTILINE)
"""A line of `-X importtime` about a top-level package: its cumulative microseconds and its name."""


@contextmanager
def fresh_environment(weights: Path | None) -> Iterator[dict[str, str]]:
    """Yields the environment of an app with empty caches that reaches no other host.

    The app finds `weights`, or no weights if the argument is None.
    """
    with tempfile.TemporaryDirectory() as folder:
        nobody = f"http://{HOST}:{free_port()}"
        environment = os.environ | {
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": folder,
            "HF_HUB_OFFLINE": "1",
            "TORCH_HOME": folder,
            "TMPDIR": folder,
            "https_proxy": nobody,
        }
        for name in (FILE_VARIABLE, REPO_VARIABLE):
            environment.pop(name, None)
        yield environment | ({FILE_VARIABLE: str(weights)} if weights else {})


def start_app(weights: Path | None, seed: int) -> dict[str, float]:
    """Returns the seconds from the start of the process to the page and to the first answer."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    command = [sys.executable, str(ROOT / "app.py"), "--server-port", str(port)]
    with fresh_environment(weights) as environment, tempfile.TemporaryFile("w+") as log:
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process:
            try:
                while not _answers(url):
                    if process.poll() is not None or time.perf_counter() > start + PATIENCE_SECONDS:
                        raise RuntimeError(f"The app did not start:\n{_text(log)}")
                    time.sleep(POLL_SECONDS)
                page = time.perf_counter() - start
                with Client(url, address(0)) as client:
                    answer = client.ask("segment", picture(seed), model="auto", score_threshold=0.05)
                if answer.outcome != "result":
                    raise RuntimeError(f"The app does not answer: {answer}\n{_text(log)}")
                return {"page": page, "ready": time.perf_counter() - start}
            finally:
                process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=PATIENCE_SECONDS, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _text(log: IO[str]) -> str:
    log.seek(0)
    return log.read()


def import_times(seed: int) -> dict[str, float]:
    """Returns the seconds that `import app` takes for each package that is not part of this project."""
    command = [sys.executable, "-X", "importtime", "-c", "import app"]
    with fresh_environment(None) as environment:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found = {name: int(microseconds) / 1e6 for microseconds, name in IMPORT.findall(done.stderr)}
    return {name: seconds for name, seconds in found.items() if not _is_ours(name)}


def _is_ours(name: str) -> bool:
    """Tells whether a top-level package is a module or a folder of this project."""
    return (ROOT / f"{name}.py").is_file() or (ROOT / name / "__init__.py").is_file()


def medians(measure: Callable[[int], dict[str, float]], runs: int) -> dict[str, float]:
    """Calls `measure` with a seed for each run. Returns the median of each figure, the highest first."""
    values: dict[str, list[float]] = defaultdict(list)
    for run in tqdm(range(runs), desc="runs", file=sys.stderr):
        for name, seconds in measure(run).items():
            values[name].append(seconds)
    found = {name: round(statistics.median(some), 2) for name, some in values.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=3, help="number of runs; the figures are their medians")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.pth"
        torch.save(random_network(ARCHITECTURES["resnet50_fpn"].build).state_dict(), weights)
        starts = {
            "V1 weights": medians(lambda seed: start_app(weights, seed), runs),
            "no weights": medians(lambda seed: start_app(None, seed), runs),
        }
    imports = dict(list(medians(import_times, runs).items())[:HEAVIEST])
    print(f"{'seconds':<14}" + "".join(f"{name:>12}" for name in [*starts, "limit"]))
    for stage, limit in LIMITS.items():
        print(f"{stage:<14}" + "".join(f"{each[stage]:>12.2f}" for each in starts.values()) + f"{limit:>12g}")
    print(f"\n{'import':<14}{'seconds':>12}")
    for name, seconds in imports.items():
        print(f"{name:<14}{seconds:>12.2f}")
    within = all(each[stage] <= limit for each in starts.values() for stage, limit in LIMITS.items())
    figures = {"runs": runs, "seconds": starts, "limits": LIMITS, "within_limits": within}
    print(json.dumps(figures | {"import_seconds": imports}))


if __name__ == "__main__":
    main()
