"""Runtime: how this process uses memory and threads. To be set before torch is imported.

What each of these settings gives is in `docs/performance.md`.
"""

from __future__ import annotations

import ctypes
import os
import sys

SPINS = "2000"
"""Rounds that an idle thread of OpenMP waits actively, some tens of microseconds. By default they are
milliseconds: so long may each of a network's many steps take where other work needs the core."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Names of glibc's malloc.h."""
KEPT_BYTES = 1 << 30


def prepare() -> None:
    """Lets OpenMP's threads sleep soon, and glibc keep the memory that a network frees for its next run.

    By default each large tensor is got from the kernel and given back, page by page, which takes long.
    With one arena, all threads use what one has freed. What an owner has set in the environment stays.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not in every libc
        if mallopt:
            mallopt(M_ARENA_MAX, 1)
            mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
