"""Fence: what a process that decodes a stranger's picture may do.

`close` takes rights away from the calling process for good: memory, processor time, files, the capabilities
of root and, where the kernel has Landlock, every name in the file system and every network port.
`ENVIRONMENT` and `fill_fresh_memory` make sure that a decoder that leaves a part of its output unwritten
shows the same bytes each time.

Sources: setrlimit(2), mallopt(3), prctl(2), capset(2), landlock(7), GNU C Library manual "Tunables".
Python has no functions for mallopt, prctl, capset and Landlock.
"""

from __future__ import annotations

import ctypes
import errno
import math
import mmap
import os
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

MEMORY_BYTES = 510 * 2**20
"""What a child may allocate for its picture. The largest pictures need 485 MB."""
TOUCHED_BYTES = 64 * 2**20
"""How much of this memory a child has reserved before its picture comes. A photo of 12 megapixels needs 48 MB
in Pillow."""
CLIP_MEMORY_BYTES = 1000 * 2**20
"""What a child may allocate for a clip. A decoder of 4K keeps up to 16 whole frames to compare with."""
PROCESSOR_SECONDS = 4
"""For a picture, and for each step of a clip."""
CLIP_PROCESSOR_SECONDS = 600
"""For a whole clip. `photo.video` ends a clip earlier that takes too long for its length."""
WALL_SECONDS = 20
"""A child that waits for a slow disk or for a busy machine ends after this time as well. A child that waits
for the app's next wish does not."""

M_PERTURB, M_TOP_PAD = -6, -2
"""The names of glibc's malloc.h."""
FRESH_BYTE = 0x55
"""malloc fills with this byte what is freed, and with its opposite (0xAA) what it gives."""
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
"""The names of Linux's prctl.h."""
CAPABILITY_VERSION_3 = 0x20080522
"""The name of Linux's capability.h. Such a set of capabilities is six numbers of 32 bits."""
MADV_POPULATE_WRITE = 23
"""The name of Linux's mman.h."""
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
"""The numbers of these system calls, the same on every processor."""
LANDLOCK_RUN, LANDLOCK_READ, LANDLOCK_LIST = 1, 4, 8
"""The rights to run a file, to read one, and to list a folder."""
LANDLOCK_FILES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""The number of file rights that each version of Landlock knows.

Version 4 adds two rights for TCP ports. Version 6 adds two scopes: no signal reaches a process outside the
fence, and no connection reaches an abstract Unix socket outside.
"""

TUNABLES = {
    # realloc does not fill what it adds to a piece of memory. So whatever is freed has to be filled, from the
    # first moment on.
    "perturb": FRESH_BYTE,
    # No caches of small pieces, which would come back with their old bytes.
    "tcache_count": 0,
    "mxfast": 0,
    # The memory of a child is new: the kernel clears each page when it is first written. Large pages make
    # this quick, but only in a heap that is large from the start and keeps what is freed.
    "hugetlb": 1,
    "top_pad": TOUCHED_BYTES + 8 * 2**20,  # the server needs 8 MB itself
    "arena_max": 1,  # otherwise each thread would have so large a heap
    "mmap_threshold": 8 * 2**20,
    "trim_threshold": 128 * 2**20,
}
ENVIRONMENT = {
    "GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in TUNABLES.items()),
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # What realloc adds to a piece of memory may have been free (filled) or never used (zeros). Which of them
    # it is depends on what was allocated before, and so on the order of Python's sets.
    "PYTHONHASHSEED": "0",
}
"""For the process whose children are fenced. glibc and Python read it when the process starts."""


def close(for_clip: bool = False) -> None:
    """Fences the calling process, except for its open files: `close_files` follows when it has those it
    needs.

    Args:
        for_clip: Whether the process reads a clip, which may take more memory and processor time.
    """
    _limit_resources(for_clip)
    _forbid_names_and_ports()


def close_files() -> None:
    """From now on this process opens no file and no socket. Those that are open stay open."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    start_clock()


def start_clock() -> None:
    """From now on the process has `WALL_SECONDS` for its answer. SIGALRM ends it then."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)


def stop_clock() -> None:
    """Stops the clock of `start_clock`, while the process waits for a wish."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def allow_processor(seconds: float) -> None:
    """Moves the limit for processor time to `seconds` from now, but never beyond what `close` has allowed."""
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit if most < 0 else min(limit, most), most))


def fill_fresh_memory(on: bool) -> None:
    """Sets whether malloc fills what it gives and what is freed with a constant byte.

    `ENVIRONMENT` has set it already. While it is on, calloc clears its memory at once, also memory that
    nobody will use.
    """
    _mallopt(M_PERTURB, FRESH_BYTE if on else 0)


def touch_memory(size: int) -> None:
    """Makes the kernel clear `size` bytes of memory now, so that a large photo does not wait for it.

    This is the end of the heap, which `ENVIRONMENT` has made large enough. No byte changes, and nothing that
    malloc knows. So a damaged picture looks the same after any `size`, also after 0.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.sbrk.restype = ctypes.c_void_p
    end = libc.sbrk(ctypes.c_ssize_t(0)) // mmap.PAGESIZE * mmap.PAGESIZE
    # An older kernel refuses this, and clears the memory when the photo comes.
    libc.madvise(ctypes.c_void_p(end - size), ctypes.c_size_t(size), MADV_POPULATE_WRITE)


def _mallopt(parameter: int, value: int) -> None:
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not every libc has it
    if mallopt:
        mallopt(parameter, value)


def _limit_resources(for_clip: bool) -> None:
    import resource

    _mallopt(M_TOP_PAD, 2**20)  # the limit below counts what the heap reserves without using it
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reserved = _memory()
    if reserved:  # Linux, where this limit counts all private memory
        most = reserved - TOUCHED_BYTES + (CLIP_MEMORY_BYTES if for_clip else MEMORY_BYTES)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    # At the first number comes SIGXCPU, which tells the app why the child ended; at the second SIGKILL.
    last = CLIP_PROCESSOR_SECONDS if for_clip else PROCESSOR_SECONDS + 1
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, last))


def _memory() -> int:
    """Returns the bytes of private memory that the calling process has reserved. 0 where nobody can tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    lines = status.read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:")), 0)


def close_around(readable: Sequence[Path], processor_seconds: int, file_bytes: int) -> None:
    """Fences the calling process before it becomes another program that reads a stranger's file.

    The process writes only into files that are open already, and connects to nothing. Where the kernel has
    Landlock, it reads and runs only what lies in `readable`.

    Args:
        readable: Files and folders. Those that do not exist are left out.
        processor_seconds: The processor time that the program may use.
        file_bytes: How large its files may become.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (processor_seconds, processor_seconds + 1))
    _forbid_names_and_ports(readable)


def _forbid_names_and_ports(readable: Sequence[Path] = ()) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    _drop_capabilities(libc)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    call: Callable[..., int] = libc.syscall
    version = call(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:  # an older kernel, or one without Landlock
        return
    files = (1 << LANDLOCK_FILES.get(version, 16)) - 1
    fields = (files, 3, 3)[: 3 if version >= 6 else 2 if version >= 4 else 1]
    rights = (ctypes.c_uint64 * len(fields))(*fields)
    ruleset = call(LANDLOCK_CREATE_RULESET, rights, ctypes.c_size_t(ctypes.sizeof(rights)), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "Landlock gave no ruleset")
    for path in filter(Path.exists, readable):
        opened = os.open(path, os.O_PATH)
        allowed = LANDLOCK_RUN | LANDLOCK_READ | (LANDLOCK_LIST if path.is_dir() else 0)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, opened))
        if call(LANDLOCK_ADD_RULE, ruleset, 1, rule, 0):
            raise OSError(ctypes.get_errno(), "Landlock took no rule")
        os.close(opened)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # E2BIG: the app itself runs behind the largest number of fences that Landlock allows.
    if call(LANDLOCK_RESTRICT_SELF, ruleset, 0) and ctypes.get_errno() != errno.E2BIG:
        raise OSError(ctypes.get_errno(), "Landlock did not restrict this process")
    os.close(ruleset)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Takes root's capabilities away. With CAP_SYS_RESOURCE, root could raise the limits above again."""
    header, none = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, none):
        raise OSError(ctypes.get_errno(), "the capabilities could not be dropped")
