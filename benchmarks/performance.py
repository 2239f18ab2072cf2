"""Measures all figures of `docs/performance.md` again. It runs other benchmarks and prints their output.

    pip install -r benchmarks/requirements.txt
    python benchmarks/performance.py [--runs 5] [--plot docs/growth.png] [--precision ARGUMENTS]

The run takes about half an hour on two cores, if nothing else runs. The last line is one JSON object with the
figures of each benchmark under its name. `filter.py`, `exports.py` and `load.py` measure other figures of
speed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def run(name: str, *arguments: str) -> dict[str, object]:
    """Runs a benchmark, and returns the figures in the last line of its output. Prints the other lines."""
    print(f"\n== {name}", flush=True)
    command = [sys.executable, str(FOLDER / f"{name}.py"), *arguments]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    *lines, last = output.strip().splitlines()
    print("\n".join(lines), flush=True)
    figures: dict[str, object] = json.loads(last)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", default="5", help="number of runs; the figures are their medians")
    parser.add_argument("--plot", help="a PNG file for the curves of growth.py")
    parser.add_argument("--precision", default="", help="arguments for precision.py")
    arguments = parser.parse_args()
    runs = ("--runs", arguments.runs)
    plot = ("--plot", arguments.plot) if arguments.plot else ()
    figures = {
        "network": run("network", *runs),
        "around": run("around", *runs),
        "precision": run("precision", *shlex.split(arguments.precision)),
        "cold_start": run("cold_start"),
        "growth": run("growth", *runs, *plot),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
