"""Tests of `photo.client`: whatever a decoding process does, the next picture is read well.

`tests.photo.odd_server` makes the children misbehave.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from photo import client as client_module
from photo import images
from photo.client import MAX_SENTENCE, Client, DecoderFault
from photo.errors import ImageError, damaged, too_much_memory, too_slow
from photo.images import Photo, read_photo
from photo.limits import MAX_PIXELS
from photo.messages import LENGTH, MAX_MESSAGE
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.samples import random_image

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"shape": [6, 8], "size": [6, 8], "format": "PNG", "animated": False, "notes": []}
PIXELS = random_image(0, 6, 8)

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system has no /proc")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
pytestmark = needs_fork


def odd_client(forks: bool) -> Client:
    made = Client(forks)
    made._module = "tests.photo.odd_server"
    return made


@pytest.fixture(scope="module")
def forking() -> Iterator[Client]:
    made = odd_client(forks=True)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def working() -> Iterator[Client]:
    made = odd_client(forks=False)
    yield made
    made.stop()


@pytest.fixture(params=[True, False], ids=["one child for each picture", "one worker"])
def odd(request: pytest.FixtureRequest, forking: Client, working: Client) -> Client:
    """A client whose decoding processes do what a file says."""
    return forking if request.param else working


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Photo]:
    """Reads a file with this content, a JSON object for an odd child, through a client."""

    def read(client: Client, content: dict[str, Any] | bytes, longest_side: float = 64) -> Photo:
        path = tmp_path / f"photo-{threading.get_ident()}"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        monkeypatch.setattr(images, "client", lambda: client)
        return read_photo(path, longest_side)

    return read


@pytest.fixture
def png(tmp_path: Path) -> bytes:
    path = tmp_path / "good.png"
    Image.fromarray(PIXELS).save(path)
    return path.read_bytes()


def state(pid: int) -> str:
    """Returns the letter of /proc for what a process does, "" if the process is gone or only a zombie."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if letter in "ZX" else letter


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def server_of(client: Client) -> int:
    client.start()
    assert client._process is not None
    return client._process.pid


# --- Children that die, hang and lie


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (signal.SIGSEGV, damaged()),
        (signal.SIGABRT, damaged()),
        (signal.SIGKILL, too_much_memory()),
        (signal.SIGXCPU, too_slow()),
        (signal.SIGALRM, too_slow()),
    ],
)
def test_a_child_that_dies_ends_in_one_sentence_and_the_next_picture_is_read(
    number: int, sentence: ImageError, forking: Client, read, png: bytes
) -> None:
    with pytest.raises(ImageError) as raised:
        read(forking, {"signal": number})
    assert str(raised.value) == str(sentence)
    np.testing.assert_array_equal(read(forking, png).pixels, PIXELS)


def test_a_worker_that_dies_ends_in_one_sentence_and_the_next_picture_is_read(working, read, png) -> None:
    for wish in ({"signal": signal.SIGKILL}, {"exit": 3}):
        with pytest.raises(ImageError, match="damaged"):
            read(working, wish)
        np.testing.assert_array_equal(read(working, png).pixels, PIXELS)


def test_a_child_that_hangs_is_given_up_and_the_next_picture_is_read(odd, read, png, monkeypatch) -> None:
    odd.start()
    read(odd, png)  # a worker starts in more time than it then has
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.3)
    with pytest.raises(ImageError, match="takes too long"):
        read(odd, {"hang": True})
    monkeypatch.undo()
    np.testing.assert_array_equal(read(odd, png).pixels, PIXELS)


def test_a_worker_is_given_up_even_if_a_fork_of_the_app_keeps_its_pipe_open(
    working, read, png, monkeypatch
) -> None:
    read(working, png)
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.3)
    given_up = threading.Event()
    pipes: list[int] = []
    start = subprocess.Popen

    def leaky(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        """Starts a process whose end of the pipe for answers stays open, as if a fork had it too."""
        readable, writable = os.pipe()
        pipes.append(writable)
        process = start(*arguments, **options | {"stdout": writable})
        process.stdout = os.fdopen(readable, "rb", 0)
        return process

    working.stop()
    monkeypatch.setattr(client_module.subprocess, "Popen", leaky)

    def ask() -> None:
        with pytest.raises(ImageError, match="takes too long"):
            read(working, {"hang": True})
        given_up.set()

    try:
        threading.Thread(target=ask, daemon=True).start()
        assert given_up.wait(PATIENCE_SECONDS), "a read of the answer hangs"
    finally:
        for pipe in pipes:
            os.close(pipe)
    monkeypatch.undo()
    np.testing.assert_array_equal(read(working, png).pixels, PIXELS)


@pytest.mark.parametrize("status", [0, 1, 70])
def test_a_child_that_ends_by_itself_is_a_fault_of_ours(status, forking, read, png) -> None:
    with pytest.raises(DecoderFault, match=f"ended with status {256 * status} "):
        read(forking, {"exit": status})
    np.testing.assert_array_equal(read(forking, png).pixels, PIXELS)


def test_a_child_that_had_no_memory_for_its_answer_is_a_picture_too_large(forking, read) -> None:
    with pytest.raises(ImageError, match="needs more memory"):
        read(forking, {"exit": os.EX_OSERR})


LIES: dict[str, dict[str, Any]] = {
    "no shape": {"reply": {"size": [6, 8], "format": "PNG", "animated": False, "notes": []}},
    "shape of three numbers": {"reply": GOOD | {"shape": [6, 8, 3]}},
    "shape of nothing": {"reply": GOOD | {"shape": [0, 8], "size": [0, 8]}},
    "negative shape": {"reply": GOOD | {"shape": [-6, -8], "size": [-6, -8]}},
    "shape of floats": {"reply": GOOD | {"shape": [6.0, 8.0]}},
    "shape of truths": {"reply": GOOD | {"shape": [True, True], "size": [True, True]}},
    "shape of words": {"reply": GOOD | {"shape": "ab", "size": "ab"}},
    "shape that does not fit the size": {"reply": GOOD | {"shape": [8, 6]}},
    "size over the limit": {"reply": GOOD | {"shape": [MAX_PIXELS, 2], "size": [MAX_PIXELS, 2]}},
    "size beyond floats": {"reply": GOOD | {"shape": [10**400, 1], "size": [10**400, 1]}},
    "unknown format": {"reply": GOOD | {"format": "EXE"}},
    "format that is a list": {"reply": GOOD | {"format": ["PNG"]}},
    "notes that are a number": {"reply": GOOD | {"notes": 5}},
    "notes that are an object": {"reply": GOOD | {"notes": {"a": "b"}}},
    "half a character": {"reply": GOOD | {"notes": ["\ud800"]}},
    "empty object": {"reply": {}},
    "list": {"reply": [1, 2]},
    "word": {"reply": "shape"},
    "no JSON": {"bytes": (LENGTH.pack(5) + b"hello").hex()},
    "no UTF-8": {"bytes": (LENGTH.pack(4) + b'"\xff\xff"').hex()},
    "deep JSON": {"bytes": (LENGTH.pack(60_000) + b"[" * 60_000).hex()},
    "empty answer": {"bytes": LENGTH.pack(0).hex()},
    "4 GB": {"bytes": LENGTH.pack(2**32 - 1).hex()},
    "a byte too long": {"bytes": (LENGTH.pack(MAX_MESSAGE + 1) + b" " * (MAX_MESSAGE + 1)).hex()},
    "refusal of 1 MB": {"reply": {"refused": "x" * 2**20}},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_child_that_lies_is_a_fault_of_ours_and_the_next_picture_is_read(lie, forking, read, png) -> None:
    with pytest.raises(DecoderFault) as raised:
        read(forking, LIES[lie])
    assert len(str(raised.value)) < 1000
    np.testing.assert_array_equal(read(forking, png).pixels, PIXELS)


def test_a_worker_that_lies_is_a_fault_of_ours_and_the_next_picture_is_read(working, read, png) -> None:
    for lie in ("no shape", "shape that does not fit the size", "list", "no JSON", "4 GB"):
        with pytest.raises(DecoderFault):
            read(working, LIES[lie])
        np.testing.assert_array_equal(read(working, png).pixels, PIXELS)


def test_an_answer_that_ends_early_is_a_fault_of_ours(forking, read, png) -> None:
    for content in (b"", b"\x09", LENGTH.pack(9) + b"{"):
        with pytest.raises(DecoderFault, match="ended with status 0"):
            read(forking, {"bytes": content.hex()})
    np.testing.assert_array_equal(read(forking, png).pixels, PIXELS)


def test_long_texts_of_a_child_are_cut(odd, read) -> None:
    with pytest.raises(ImageError) as refused:
        read(odd, {"reply": {"refused": "x" * 60_000}})
    assert len(str(refused.value)) == MAX_SENTENCE
    with pytest.raises(DecoderFault) as fault:
        read(odd, {"reply": {"fault": "x" * 30_000, "where": "y" * 30_000}})
    assert len(str(fault.value)) < 3000
    photo = read(odd, {"reply": GOOD | {"notes": ["n" * 9999] * 6}})
    assert [len(note) for note in photo.notes] == [200] * 4


def test_a_file_that_cannot_be_opened_is_no_fault_of_the_server(odd, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        odd.ask(tmp_path / "gone", {"kind": "photo", "longest_side": None}, 3)


def test_an_unknown_kind_of_work_is_a_fault_that_says_where(odd, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(b"abc")
    with pytest.raises(DecoderFault, match=r"KeyError: 'video' at \['work.py:\d+ answer'\]"):
        odd.ask(path, {"kind": "video"}, 3)


def test_how_a_child_ended_is_known_however_late_the_question_comes(forking, read, png) -> None:
    pid, connection = forking._child(b"C")
    with connection:
        assert not connection.get_inheritable()
        os.kill(pid, signal.SIGSEGV)
        wait_until(lambda: not state(pid))
        read(forking, png)  # the server then looks which children have ended
    assert os.WTERMSIG(forking.ended(pid).status) == signal.SIGSEGV
    assert forking.ended(pid).status == -1
    np.testing.assert_array_equal(read(forking, png).pixels, PIXELS)


def test_the_peak_memory_of_children_is_measured_on_request(forking, read, png) -> None:
    forking.measures, forking.peak_kb = True, 0
    try:
        read(forking, png)
    finally:
        forking.measures = False
    assert 10_000 < forking.peak_kb < 1_000_000


# --- The server


@needs_proc
def test_a_server_that_was_killed_is_started_again_while_two_threads_ask(read, png) -> None:
    client = odd_client(forks=True)
    try:
        read(client, png)
        with ThreadPoolExecutor(2) as threads:
            for _ in range(3):
                reading = [threads.submit(read, client, png) for _ in range(4)]
                os.kill(server_of(client), signal.SIGKILL)
                for one in reading:
                    np.testing.assert_array_equal(one.result(PATIENCE_SECONDS).pixels, PIXELS)
    finally:
        client.stop()


def test_a_worker_that_was_killed_is_started_again(working, read, png) -> None:
    pid = server_of(working)
    os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(read(working, png).pixels, PIXELS)
    assert server_of(working) != pid


def test_a_server_that_cannot_start_is_a_fault(forks_or_not: bool, read, png) -> None:
    client = Client(forks_or_not)
    client._module = "tests.photo.there_is_no_such_module"
    with pytest.raises(DecoderFault, match="cannot be started"):
        read(client, png)
    client.stop()


@pytest.fixture(params=[True, False], ids=["children", "worker"])
def forks_or_not(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@needs_proc
def test_no_secret_of_the_owner_reaches_the_server(monkeypatch, forks_or_not: bool, read, png) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "LD_SDK_KEY", "PASSWORD"):
        monkeypatch.setenv(name, "a-secret-of-the-owner")
    client = Client(forks_or_not)
    try:
        read(client, png)
        server = server_of(client)
        environment = Path(f"/proc/{server}/environ").read_bytes()
        assert b"PATH=" in environment
        assert b"a-secret-of-the-owner" not in environment
    finally:
        client.stop()


@needs_proc
def test_nothing_is_left_after_stop(read, png) -> None:
    client = odd_client(forks=True)
    read(client, png)
    with ThreadPoolExecutor(1) as threads:
        stopped = threads.submit(read, client, {"signal": signal.SIGSTOP})
        server = server_of(client)
        wait_until(lambda: "T" in map(state, children(server)))
        wait_until(lambda: len(children(server)) == 2)  # the child that was stopped, and one that waits
        family = [server, *children(server)]
        client.stop()
        wait_until(lambda: not any(map(state, family)))
        # The picture was not to blame for the end of its child. It is tried once more.
        wait_until(lambda: "T" in map(state, children(server_of(client))))
        (again,) = (pid for pid in children(server_of(client)) if state(pid) == "T")
        os.kill(again, signal.SIGCONT)
        with pytest.raises(DecoderFault, match="malformed"):
            stopped.result(PATIENCE_SECONDS)
    client.stop()


PROGRAM = """
import os, pathlib, signal, sys
from photo import client, images
images.read_photo(pathlib.Path(sys.argv[1]))
fork = 0
if sys.argv[2] == "with a fork":
    fork = os.fork()
    if fork == 0:
        signal.pause()
print(client.client()._process.pid, fork, flush=True)
sys.stdin.read()
"""


@needs_proc
@pytest.mark.parametrize("end", ["exit", "SIGTERM", "SIGINT", "SIGKILL", "SIGKILL with a fork"])
def test_nothing_is_left_when_the_app_ends(end: str, tmp_path: Path, png: bytes) -> None:
    name, _, forks = end.partition(" ")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "good.png"), forks]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as app:
        assert app.stdin is not None and app.stdout is not None
        server, fork = map(int, app.stdout.readline().split())
        try:
            wait_until(lambda: len(children(server)) == 2)  # both wait for pictures
            family = [server, *children(server)]
            if end == "exit":
                app.stdin.close()
            else:
                app.send_signal(getattr(signal, name))
            app.wait(PATIENCE_SECONDS)
            wait_until(lambda: not any(map(state, family)))
        finally:
            app.kill()  # has no effect on an app that has ended
            if fork:
                os.kill(fork, signal.SIGKILL)


@needs_proc
def test_keys_at_the_terminal_reach_the_app_only(forking) -> None:
    server = server_of(forking)
    assert os.getpgid(server) != os.getpgid(0)
    assert os.getsid(server) == os.getsid(0)  # Linux shares the processor between sessions


@needs_proc
def test_open_files_are_not_leaked(odd, read, png) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    read(odd, png)
    before = count()
    for number in range(50):
        if number % 25 == 5:
            with pytest.raises(ImageError):
                read(odd, {"signal": signal.SIGSEGV} if odd._forks else b"no picture", 64)
        else:
            read(odd, png, 64)
    assert count() <= before
    assert len(list(Path(f"/proc/{server_of(odd)}/fd").iterdir())) < 12


@needs_proc
def test_two_pictures_at_once_are_read_at_once(forking, read, png) -> None:
    server = server_of(forking)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(read, forking, {"signal": signal.SIGSTOP, "reply": GOOD})
        wait_until(lambda: "T" in map(state, children(server)))
        for _ in range(3):  # also when no child is left that waits
            np.testing.assert_array_equal(read(forking, png).pixels, PIXELS)
        assert not first.done()
        for pid in children(server):
            if state(pid) == "T":
                os.kill(pid, signal.SIGCONT)
        assert first.result(PATIENCE_SECONDS).size == (6, 8)


# --- Forks of the app


def in_a_fork(work: Callable[[], object]) -> str:
    """Returns what `work` returns in a forked process, as text, or the error."""
    from_child, to_parent = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(to_parent, str(work()).encode())
        except BaseException as error:
            os.write(to_parent, repr(error).encode())
        finally:
            os._exit(0)
    os.close(to_parent)
    with os.fdopen(from_child) as said:
        try:
            assert select.select([said], [], [], PATIENCE_SECONDS)[0], "the fork hangs"
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.waitpid(pid, 0)
        return said.read()


@needs_proc
def test_a_fork_has_a_server_of_its_own_and_leaves_the_parents_alone(forking, read, png) -> None:
    server = server_of(forking)

    def work() -> str:
        same = np.array_equal(read(forking, png).pixels, PIXELS)
        own = server_of(forking)
        forking.stop()
        return f"{same} {own}"

    with forking._lock:  # as if another thread was asking at this moment
        said = in_a_fork(work)
    assert said.startswith("True "), said
    own = int(said.split()[1])
    assert own != server
    wait_until(lambda: not state(own))
    assert server_of(forking) == server
    np.testing.assert_array_equal(read(forking, png).pixels, PIXELS)
    in_a_fork(forking.stop)
    assert server_of(forking) == server


@needs_proc
def test_the_server_of_a_fork_ends_with_the_fork(forking, read, png) -> None:
    own = int(in_a_fork(lambda: (read(forking, png), server_of(forking))[1]))
    wait_until(lambda: not state(own))


def _size(path: Path) -> tuple[int, int]:
    return read_photo(path).size


def test_processes_of_multiprocessing_read_pictures(tmp_path: Path, png: bytes) -> None:
    path = tmp_path / "good.png"
    assert _size(path) == (6, 8)
    with multiprocessing.get_context("fork").Pool(2) as processes:
        assert processes.map_async(_size, [path] * 4).get(PATIENCE_SECONDS) == [(6, 8)] * 4
    assert _size(path) == (6, 8)


# --- One worker for all pictures


def test_a_worker_gives_the_same_pixels_and_refusals_as_children(forking, working, read) -> None:
    for path in sorted((ROOT / "examples").rglob("*.[jp][pn]g"))[:3]:
        content = path.read_bytes()
        for side in (math.inf, 200):
            one, other = (read(client, content, side) for client in (forking, working))
            np.testing.assert_array_equal(one.pixels, other.pixels)
            assert (one.size, one.format, one.animated, one.notes) == (
                other.size,
                other.format,
                other.animated,
                other.notes,
            )
        refusals = []
        for client in (forking, working):
            for bad in (content[: len(content) // 3], b"no picture", b"GIF89a/*", b""):
                with pytest.raises(ImageError) as refused:
                    read(client, bad)
                refusals.append(str(refused.value))
        assert refusals[:4] == refusals[4:]
