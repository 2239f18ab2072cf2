"""Fence: what a process that decodes a stranger's picture may do.

`close` takes rights away from the calling process for good: memory, processor time, files and, where the
kernel has Landlock, every name in the file system and every network port. `make_fresh_memory_constant` makes
sure that a decoder that leaves a part of its output unwritten shows the same bytes each time.

Sources: setrlimit(2), mallopt(3), prctl(2), landlock(7). Python has no functions for the last three.
"""

from __future__ import annotations

import ctypes
import errno
import signal
import sys
from collections.abc import Callable
from pathlib import Path

MEMORY_BYTES = 500 * 2**20
"""What a child may allocate beyond the memory that it starts with. The largest pictures need 460 MB."""
PROCESSOR_SECONDS = 4
WALL_SECONDS = 20
"""A child that waits for a slow disk or for a busy machine ends after this time as well."""

M_PERTURB, M_MXFAST = -6, 1
"""The names of glibc's malloc.h."""
FRESH_BYTE = 0x55
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
"""The names of Linux's prctl.h."""
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446
"""The numbers of these system calls, the same on every processor."""
LANDLOCK_FILES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""The number of file rights that each version of Landlock knows. Version 4 adds two rights for TCP ports."""

ENVIRONMENT = {
    # No cache of small chunks, which would come back with their old bytes. Huge pages, because a child's
    # memory is new, and the kernel clears it page by page.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.hugetlb=1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""For the process whose children are fenced. glibc reads it before the first line of Python runs."""


def close(memory_before: int) -> None:
    """Fences the calling process, except for its open files: `close_files` follows when it has those it
    needs.

    Args:
        memory_before: As `memory` gave it before the fork.
    """
    _limit_resources(memory_before)
    _forbid_names_and_ports()


def close_files() -> None:
    """From now on this process opens no file and no socket. Those that are open stay open."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)  # SIGALRM ends the process


def memory() -> int:
    """Returns the bytes of private memory that the calling process has reserved. 0 where nobody can tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    lines = status.read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:")), 0)


def make_fresh_memory_constant() -> None:
    """Makes malloc fill what it gives with a constant byte, so that nothing left unwritten shows old bytes.

    Call it after the header was read. From then on calloc clears its memory at once, and to open a WebP
    Pillow asks calloc for two pictures' worth, which it may never use.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not every libc has it
    if mallopt:
        mallopt(M_PERTURB, FRESH_BYTE)
        mallopt(M_MXFAST, 0)


def _limit_resources(memory_before: int) -> None:
    import resource

    limits = {
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    if memory_before:  # Linux, where this limit counts all private memory
        limits[resource.RLIMIT_DATA] = memory_before + MEMORY_BYTES
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    # At the first number comes SIGXCPU, which tells the app why the child ended; at the second SIGKILL.
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS + 1))


def _forbid_names_and_ports() -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    call: Callable[..., int] = libc.syscall
    version = call(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:  # an older kernel, or one without Landlock
        return
    files = (1 << LANDLOCK_FILES.get(version, 16)) - 1
    rights = (ctypes.c_uint64 * 2)(files, 3 if version >= 4 else 0)
    ruleset = call(LANDLOCK_CREATE_RULESET, rights, ctypes.c_size_t(16 if version >= 4 else 8), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "Landlock gave no ruleset")
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if call(LANDLOCK_RESTRICT_SELF, ruleset, 0) and ctypes.get_errno() != errno.E2BIG:
        raise OSError(ctypes.get_errno(), "Landlock did not restrict this process")
