"""Downloads one file in a process of its own, for the tests that kill this process.

    python -m tests.download_child URL PATH SHA256 [STEP]

The process prints "ready" when it begins. It does not import torch, so its start takes a tenth of a second.
With STEP it counts how often it opens, renames or removes a file in PATH's folder, and kills itself before
number STEP. The count starts at 0.
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path

from network.download import download


def kill_before(step: int, folder: str) -> None:
    """Kills this process before file operation number `step` in `folder`. The count starts at 0."""
    steps = count()

    def watch(event: str, args: tuple[object, ...]) -> None:
        ours = event in ("open", "os.rename", "os.remove") and str(args[0]).startswith(folder)
        if ours and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    url, path, sha256, *step = sys.argv[1:]
    if step:
        kill_before(int(step[0]), str(Path(path).parent))
    print("ready", flush=True)
    download(url, Path(path), sha256)
