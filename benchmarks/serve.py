"""Serves the app with a built-in model on a free port of this machine, for `clients.serving`.

Prints the address. The script ends when its standard input ends, so it ends with the process that started it.
"""

from __future__ import annotations

import argparse
import gc
import logging
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import app
from inference import load
from serving.models import Models
from serving.service import Request

HOST = "127.0.0.1"

leak: list[bytes] = []


def keep_memory(megabytes: float) -> None:
    """Makes the app keep this much memory after every request, as a leak does."""
    close = Request.close

    def close_and_keep(self: Request) -> None:
        leak.append(b"\1" * round(megabytes * 2**20))
        close(self)

    setattr(Request, "close", close_and_keep)  # noqa: B010  # a fault on purpose


def free_port() -> int:
    """Returns the number of a port that is free now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keep-seconds", type=float, help="seconds that a temporary file may stay")
    parser.add_argument("--leak-mb", type=float, default=0, help="memory that each request leaks, in MB")
    parser.add_argument("--model", default="scenes", help='the model that is "auto" (scenes)')
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if arguments.leak_mb:
        keep_memory(arguments.leak_mb)
    if arguments.keep_seconds:
        app.KEEP_SECONDS = arguments.keep_seconds
        app.SWEEP_SECONDS = arguments.keep_seconds / 10
    models = Models(lambda: (load(arguments.model), None))
    demo = app.create_demo(models)
    models.start().result()
    _, url, _ = app.launch(
        demo, prevent_thread_lock=True, quiet=True, server_name=HOST, server_port=free_port()
    )
    gc.collect()  # frees the event loops of the start: their open files would hide a leak of other files
    print(url, flush=True)
    sys.stdin.read()
    demo.close(verbose=False)


if __name__ == "__main__":
    main()
