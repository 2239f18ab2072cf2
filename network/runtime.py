"""Runtime: sets how this process uses memory and threads, so that networks run faster.

Call `prepare` before torch is imported. `docs/performance.md` lists the time that each setting saves.
"""

from __future__ import annotations

import ctypes
import os
import sys

SPINS = "2000"
"""How many rounds an idle OpenMP thread waits actively: some tens of microseconds.

By default the thread waits actively for milliseconds. If other work needs the core, each of a network's many
steps may then take that long.
"""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of `mallopt`, from glibc's malloc.h."""
KEPT_BYTES = 1 << 30
"""Blocks up to this size come from glibc's heap, and the heap keeps up to this much freed memory."""


def prepare() -> None:
    """Lets idle OpenMP threads sleep soon, and makes glibc keep freed memory for the network's next run.

    By default glibc gets each large tensor from the kernel and gives it back, page by page, which takes long.
    With one arena, all threads can use the memory that one thread has freed. Settings that the owner made in
    the environment are not changed.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not every libc has it
        if mallopt:
            mallopt(M_ARENA_MAX, 1)
            mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
