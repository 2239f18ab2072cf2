"""Downloads one file in a process of its own, for the tests that kill it:

    python -m tests.download_child URL PATH SHA256 [STEP]

Writes "ready" when it begins. Without torch, so that a start takes a tenth of a second. With STEP it kills
itself just before it opens, renames or removes something in PATH's folder for the STEPth time, from 0.
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path

from network.download import download


def kill_before(step: int, folder: str) -> None:
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
