"""Tests of `photo.fence`: what a fenced process can no longer do, and what it still can."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from photo import fence

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this part of the fence")
PATIENCE_SECONDS = 20.0
ROOT = Path(__file__).resolve().parents[2]


def landlock_version() -> int:
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None)
    return int(libc.syscall(fence.LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def needs_landlock(version: int) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        landlock_version() < version, reason=f"the kernel has no Landlock of version {version}"
    )


def start(work: Callable[[], Any]) -> tuple[int, int]:
    """Forks a process that does `work`. Returns its number and the pipe that brings its result as JSON."""
    result, to_parent = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(to_parent, json.dumps(work()).encode())
        except BaseException as error:
            os.write(to_parent, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(to_parent)
    return pid, result


def finish(pid: int, result: int) -> tuple[int, Any]:
    """Returns the signal that ended a process, 0 if it ended by itself, and its result."""
    with os.fdopen(result) as pipe:
        said = pipe.read()
    status = os.waitpid(pid, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, json.loads(said or "null")


def fenced(work: Callable[[], Any], *, files: bool = False) -> Any:
    """Returns what `work` returns behind the fence. `files` leaves files to it."""

    def behind_the_fence() -> Any:
        fence.close()
        if not files:
            fence.close_files()
        return work()

    ended_by, result = finish(*start(behind_the_fence))
    assert ended_by == 0
    return result


def errors(attempts: Mapping[str, Callable[[], object]]) -> dict[str, str]:
    """Returns for each attempt the name of the error that it met, "" if it met none."""
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = ""
        except OSError as error:
            found[name] = errno.errorcode[error.errno or 0]
    return found


# --- What a fenced process can no longer do


def test_no_file_and_no_socket_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    attempts: dict[str, Callable[[], object]] = {
        "read": lambda: path.open("rb"),
        "write": lambda: path.open("wb"),
        "create": lambda: (tmp_path / "new").open("xb"),
        "folder": lambda: os.open(tmp_path, os.O_RDONLY),
        "list": lambda: os.listdir(tmp_path),  # noqa: PTH208
        "passwords": lambda: open("/etc/passwd", "rb"),  # noqa: PTH123, SIM115
        "socket": socket.socket,
        "pair of sockets": socket.socketpair,
        "pipe": os.pipe,
        "copy": lambda: os.dup(1),
        "program": lambda: subprocess.run([sys.executable, "-c", "0"]),
    }
    if hasattr(os, "memfd_create"):
        attempts["memory as a file"] = lambda: os.memfd_create("a")
    found = fenced(lambda: errors(attempts))
    assert set(found.values()) <= {"EMFILE", "EINVAL"}, found  # EINVAL for the copy
    assert path.read_bytes() == b"content"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@needs_landlock(1)
def test_nothing_is_reached_by_its_name(tmp_path: Path) -> None:
    path, folder = tmp_path / "file", tmp_path / "folder"
    path.write_bytes(b"content")
    folder.mkdir()
    found = fenced(
        lambda: errors(
            {
                "read": lambda: path.open("rb"),
                "write": lambda: path.open("r+b"),
                "create": lambda: (tmp_path / "new").open("xb"),
                "list": lambda: os.listdir(tmp_path),  # noqa: PTH208
                "unlink": path.unlink,
                "rename": lambda: path.rename(tmp_path / "other"),
                "move": lambda: path.rename(folder / "other"),
                "link": lambda: (tmp_path / "link").hardlink_to(path),
                "symlink": lambda: (tmp_path / "link").symlink_to(path),
                "mkdir": (tmp_path / "new").mkdir,
                "rmdir": folder.rmdir,
                "mkfifo": lambda: os.mkfifo(tmp_path / "pipe"),
                "socket": lambda: socket.socket(socket.AF_UNIX).bind(str(tmp_path / "socket")),
                "run": lambda: os.execv(sys.executable, [sys.executable, "-c", "0"]),
            }
        ),
        files=True,
    )
    # A hard link would move a file to another folder in Landlock's eyes: EXDEV.
    assert set(found.values()) <= {"EACCES", "EXDEV"}, found
    assert path.read_bytes() == b"content"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


@needs_landlock(3)
def test_no_file_is_cut_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert fenced(lambda: errors({"cut": lambda: os.truncate(path, 0)}), files=True) == {"cut": "EACCES"}
    assert path.read_bytes() == b"content"


@needs_landlock(4)
def test_no_port_is_reached_even_with_a_socket_that_was_open() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket() as one,
        socket.socket() as other,
    ):
        address = listening.getsockname()
        found = fenced(
            lambda: errors(
                {
                    "connect": lambda: socket.socket.connect(one, address),
                    "bind": lambda: other.bind(("127.0.0.1", 0)),
                }
            )
        )
        assert found == {"connect": "EACCES", "bind": "EACCES"}


@needs_landlock(6)
def test_no_signal_reaches_a_process_outside() -> None:
    found = fenced(
        lambda: errors(
            {"parent": lambda: os.kill(os.getppid(), 0), "itself": lambda: os.kill(os.getpid(), 0)}
        )
    )
    assert found == {"parent": "EPERM", "itself": ""}


def test_no_file_grows(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b", buffering=0) as opened:
        opened.write(b"content")
        number = opened.fileno()
        found = fenced(
            lambda: errors(
                {
                    "write": lambda: os.pwrite(number, b"more", 7),
                    "overwrite": lambda: os.pwrite(number, b"C", 0),
                    "grow": lambda: os.ftruncate(number, 2**20),
                }
            )
        )
        assert set(found.values()) == {"EFBIG"}
    assert (tmp_path / "file").read_bytes() == b"content"


LIMITED = """
import mmap
import numpy as np
from photo import fence

fence.MEMORY_BYTES = 100 * 2**20
fence.close()
enough = np.ones(60 * 2**20, np.uint8)
for more in (
    lambda: np.ones(200 * 2**20, np.uint8),
    lambda: bytes(200 * 2**20),
    lambda: [bytes(1000) for _ in range(200_000)],
    lambda: mmap.mmap(-1, 200 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS),
):
    try:
        more()
        print("got")
    except (MemoryError, OSError) as error:
        print(isinstance(error, MemoryError) or error.strerror)
print(enough.sum() // 2**20)
"""


@needs_linux
def test_memory_ends_at_the_limit() -> None:
    # In a new process, because this one keeps memory that it has freed.
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        cwd=ROOT, env=os.environ | fence.ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n") == ["True", "True", "True", os.strerror(errno.ENOMEM), "60", ""]


def test_a_process_that_computes_or_waits_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "PROCESSOR_SECONDS", 1)

    def spin(stubborn: bool) -> None:
        if stubborn:
            signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        fence.close()
        fence.close_files()
        while True:
            pass

    def wait() -> None:
        monkeypatch.setattr(fence, "WALL_SECONDS", 0.1)
        fence.close()
        fence.close_files()
        threading.Event().wait()

    running = [start(lambda: spin(stubborn=False)), start(lambda: spin(stubborn=True)), start(wait)]
    ended_by = [finish(*one)[0] for one in running]
    assert ended_by == [signal.SIGXCPU, signal.SIGKILL, signal.SIGALRM]


def test_a_crash_leaves_no_picture_of_the_memory() -> None:
    import resource

    assert fenced(lambda: resource.getrlimit(resource.RLIMIT_CORE)) == [0, 0]


def test_the_fence_cannot_be_opened_again() -> None:
    import resource

    def work() -> list[list[int]]:
        limits = (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CPU)
        return [list(resource.getrlimit(limit)) for limit in limits]

    limits = fenced(work)
    assert limits == [[0, 0], [0, 0], [fence.PROCESSOR_SECONDS, fence.PROCESSOR_SECONDS + 1]]


@needs_linux
def test_a_fenced_process_of_root_has_no_capability_and_cannot_raise_its_limits() -> None:
    import resource

    def work() -> tuple[list[str], dict[str, str]]:
        with Path("/proc/self/status").open("rb", 0) as status:  # opened before the fence
            fence.close()
            fence.close_files()
            lines = status.read().decode().splitlines()
        limits = {
            "files": resource.RLIMIT_NOFILE,
            "memory": resource.RLIMIT_DATA,
            "time": resource.RLIMIT_CPU,
        }
        raised = {}
        for name, limit in limits.items():
            soft, hard = resource.getrlimit(limit)
            try:
                resource.setrlimit(limit, (soft, hard + 1))
                raised[name] = "raised"
            except ValueError:
                raised[name] = "refused"
        return [line for line in lines if line.startswith(("CapEff", "CapPrm", "CapInh"))], raised

    ended_by, (capabilities, raised) = finish(*start(work))
    assert ended_by == 0
    assert [int(line.split()[1], 16) for line in capabilities] == [0, 0, 0]
    assert raised == {"files": "refused", "memory": "refused", "time": "refused"}


@needs_linux
def test_a_fenced_process_ends_with_its_parent() -> None:
    from_child, to_test = os.pipe()
    parent = os.fork()
    if parent == 0:
        if os.fork() == 0:
            fence.close()
            os.write(to_test, b"%d" % os.getpid())
        signal.pause()
    child = int(os.read(from_child, 20))
    for pipe in (from_child, to_test):
        os.close(pipe)
    try:
        assert Path(f"/proc/{child}").exists()
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        end = time.monotonic() + PATIENCE_SECONDS
        while Path(f"/proc/{child}").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
            assert time.monotonic() < end, "the fenced process outlived its parent"
            time.sleep(0.01)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


# --- What it still can do


def test_a_mapped_file_can_be_read_and_shared_memory_written(tmp_path: Path) -> None:
    path, room_path = tmp_path / "picture", tmp_path / "room"
    path.write_bytes(bytes(range(256)) * 1000)
    room_path.write_bytes(bytes(256_000))
    with path.open("rb") as picture, room_path.open("r+b") as room:
        content = mmap.mmap(picture.fileno(), 0, access=mmap.ACCESS_READ)
        shared = mmap.mmap(room.fileno(), 0, access=mmap.ACCESS_WRITE)
    with content, shared:

        def work() -> int:
            shared[:] = content[::-1]
            return len(content)

        assert fenced(work) == 256_000
        assert shared[:] == path.read_bytes()[::-1]


def test_threads_can_be_started() -> None:
    def work() -> list[int]:
        sums: list[int] = []
        threads = [
            threading.Thread(target=lambda: sums.append(int(np.ones(10**6, np.uint8).sum())))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sums

    assert fenced(work) == [10**6] * 4


# --- Fresh memory

FRESH = r"""
import ctypes
from photo import fence

libc = ctypes.CDLL(None)
libc.malloc.restype = libc.realloc.restype = libc.calloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
SECRET, CONSTANT = b"!", b"\xaa"

def leave_secrets(size):
    pieces = [libc.malloc(size) for _ in range(20)]
    for piece in pieces:
        ctypes.memset(piece, ord(SECRET), size)
    for piece in pieces[::2] + pieces[1::2]:
        libc.free(piece)

for size in (24, 100, 1000, 5000, 70_000, 300_000, 2**26):
    if size < 10**6:
        leave_secrets(size)
    for _ in range(2 if size > 10**6 else 40):
        assert not ctypes.string_at(libc.malloc(size), size).strip(CONSTANT), size
for size in (24, 100, 1000, 5000, 70_000):
    leave_secrets(size)
    for piece in [libc.malloc(24) for _ in range(20)]:
        ctypes.memset(piece, 0, 24)
        assert SECRET * 8 not in ctypes.string_at(libc.realloc(piece, 20 * size), 20 * size), size
fence.fill_fresh_memory(False)
leave_secrets(1000)
fence.fill_fresh_memory(True)
assert not ctypes.string_at(libc.malloc(1000), 1000).strip(CONSTANT)
assert not ctypes.string_at(libc.calloc(10, 1000), 10_000).strip(b"\0")
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc fills its memory")
@pytest.mark.parametrize("value", ["0", "203"])
def test_fresh_memory_is_constant_and_holds_nothing_that_was_freed(value: str) -> None:
    environment = os.environ | fence.ENVIRONMENT | {"MALLOC_PERTURB_": value}
    command = [sys.executable, "-c", FRESH]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


TOUCHED = """
import ctypes, hashlib, os, pathlib
from photo import fence

libc = ctypes.CDLL(None)
libc.malloc.restype = libc.realloc.restype = libc.calloc.restype = ctypes.c_void_p
libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def resident():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

def seen():
    found, pieces = [], [libc.malloc(24 + 1000 * number) for number in range(200)]
    for piece in pieces[::3]:
        libc.free(piece)
    for number, piece in enumerate(pieces[1::3]):
        piece = libc.realloc(piece, 2000 * number)
        found.append((piece, ctypes.string_at(piece, 2000 * number)))
    return hashlib.sha256(repr(found).encode()).hexdigest()

for size in (0, fence.TOUCHED_BYTES):
    if os.fork() == 0:
        fence.touch_memory(size)
        resident_kb = resident()
        print(resident_kb, seen(), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_memory_that_was_touched_ahead_is_the_same_memory() -> None:
    command = [sys.executable, "-c", TOUCHED]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | fence.ENVIRONMENT, capture_output=True, text=True, check=True
    )
    few_kb, untouched, many_kb, touched = done.stdout.split()
    assert touched == untouched
    assert int(many_kb) - int(few_kb) > 0.8 * fence.TOUCHED_BYTES / 1024
