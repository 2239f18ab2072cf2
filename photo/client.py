"""Client: asks a decoding process for a picture, and believes nothing that it says.

`Client.ask` sends the picture's file to a child of `photo.server` and returns the answer with the pixels. A
child that dies, hangs or gives an answer of another shape ends in one sentence for the visitor whose picture
it was. The server is started with the first request, again if it was lost, and once in each process that
asks.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import logging
import mmap
import os
import signal
import socket
import struct
import subprocess  # nosec B404
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from photo import fence
from photo.errors import ImageError, damaged, too_much_memory, too_slow
from photo.messages import CHILD, CLIP_CHILD, END, LENGTH, MAX_MESSAGE, NUMBER, RECEIVED, packed

ROOT = Path(__file__).resolve().parent.parent
ANSWER_SECONDS = fence.WALL_SECONDS + 5.0
"""How long an answer is waited for. A child ends itself earlier."""
SERVER_SECONDS = 60.0
"""How long the server is waited for. It may have to start first, in half a second on an idle machine."""
END_SECONDS = 5.0
"""How long the end of a process that was killed is waited for."""
MAX_SENTENCE = 600
PASSED_ON = (
    "PATH", "PYTHON", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_", "LANG", "LC_", "SYSTEMROOT", "TEMP", "TMP",
    "VIRTUAL_ENV",
)  # fmt: skip
"""How the names of the environment variables begin that the server gets. No secret of the owner is among
them."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class DecoderFault(RuntimeError):
    """A bug of ours in the decoding process. The message says where."""


class _LostError(Exception):
    """The server or the worker is gone."""


@dataclass(frozen=True, slots=True)
class _End:
    """How a child ended: its wait status (-1 if nobody knows), and its peak memory in kB."""

    status: int
    peak_kb: int


class Client:
    """Sends pictures to decoding processes.

    Args:
        forks: Whether each picture gets a process of its own. By default, where the system can fork.
    """

    def __init__(self, forks: bool = hasattr(os, "fork") and hasattr(socket, "send_fds")) -> None:
        self._forks = forks
        self._module = "photo.server"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self.measures = False
        """Whether the peak memory of every child is asked for, which takes a moment after each picture."""
        self.peak_kb = 0
        """The largest resident memory of a child whose end was asked for, in kB."""
        _clients.add(self)

    def start(self) -> None:
        """Starts the server, unless it runs, so that the first picture does not wait for it."""
        with self._lock:
            self._ensure()

    def ask(self, file: Path, request: dict[str, Any], room: int) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        """Returns the answer to a request, and `room` bytes that the decoding process has written.

        Args:
            file: The picture.
            request: "kind" and what this kind needs, as `photo.work` reads it.

        Raises:
            ImageError: The picture was refused, or it made the process die or hang.
            DecoderFault: There is a bug in our code.
            OSError: The file cannot be opened, or no process can be started.
        """
        try:
            return self._ask(file, request, room)
        except _LostError:
            logger.warning("the decoding process was lost, and is started again")
            try:
                return self._ask(file, request, room)
            except _LostError as error:
                raise DecoderFault("the decoding process cannot be started") from error

    @contextlib.contextmanager
    def talk(self, file: Path, request: dict[str, Any], room: int) -> Iterator[Talk]:
        """Opens a talk with a process of its own about a file. The process ends with the `with` block.

        Args:
            file: The clip.
            request: "kind" and what this kind needs. The first `Talk.reply` is its answer.
            room: The size of the memory that is shared, in bytes.

        Raises:
            OSError: The file cannot be opened, or no process can be started.
            DecoderFault: The decoding process cannot be started.
        """
        if not self._forks:
            with self._worker_talk(file, request, room) as talk:
                yield talk
            return
        with file.open("rb") as opened, _shared_file(room) as shared:
            try:
                pid, connection = self._child(CLIP_CHILD)
            except _LostError:
                try:
                    pid, connection = self._child(CLIP_CHILD)
                except _LostError as error:
                    raise DecoderFault("the decoding process cannot be started") from error
            alive = True

            def exchange(message: dict[str, Any] | None) -> dict[str, Any]:
                nonlocal alive
                try:
                    if message is None:
                        first = [opened.fileno(), shared]
                        socket.send_fds(connection, [packed(request)], first)
                    else:
                        connection.sendall(packed(message))
                    return _received(connection, time.monotonic() + ANSWER_SECONDS)
                except (OSError, EOFError) as error:
                    alive = False
                    death = self._death(pid, error, "clip")
                    lost = DecoderFault("the decoding process was lost")
                    raise (lost if isinstance(death, _LostError) else death) from error

            with connection:
                try:
                    yield Talk(exchange, lambda: _pixels(shared, room))
                finally:
                    if alive and self.measures:
                        self.ended(pid)
                    elif alive:
                        self._tell(b"K", pid)

    @contextlib.contextmanager
    def _worker_talk(self, file: Path, request: dict[str, Any], room: int) -> Iterator[Talk]:
        """As `talk`, with a worker that is started for this file (Windows)."""
        file.open("rb").close()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "pixels")
            with path.open("wb") as shared:
                shared.truncate(room)
            other = Client(forks=False)
            other._module = self._module
            first = request | {"file": str(file), "room": str(path)}

            def exchange(message: dict[str, Any] | None) -> dict[str, Any]:
                other._ensure()
                process = other._process
                assert process is not None
                line = json.dumps(first if message is None else message).encode() + b"\n"
                try:
                    return _within(ANSWER_SECONDS, lambda: _answer(process, line, is_first=message is None))
                except TimeoutError as error:
                    raise too_slow("clip") from error
                except (OSError, EOFError) as error:
                    raise damaged("clip") from error

            try:
                yield Talk(exchange, lambda: np.fromfile(path, np.uint8))
            finally:
                other.stop()

    def stop(self) -> None:
        """Ends the server and all its children."""
        with self._lock:
            self._forget()

    def _ask(
        self, file: Path, request: dict[str, Any], room: int
    ) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        exchange = self._through_child if self._forks else self._through_worker
        reply, pixels = exchange(file, request, room)
        return _checked(reply), pixels

    # --- One child for each picture

    def _through_child(
        self, file: Path, request: dict[str, Any], room: int
    ) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        with file.open("rb") as opened, _shared_file(room) as shared:
            pid, connection = self._child()
            with connection:
                end = time.monotonic() + ANSWER_SECONDS
                try:
                    socket.send_fds(connection, [packed(request)], [opened.fileno(), shared])
                    reply = _received(connection, end)
                except (OSError, EOFError) as error:
                    raise self._death(pid, error) from error
                finally:
                    if self.measures:
                        self.ended(pid)
                    else:
                        self._tell(b"K", pid)
            return reply, _pixels(shared, room)

    def _child(self, wish: bytes = CHILD) -> tuple[int, socket.socket]:
        with self._lock:
            control = self._ensure()
            try:
                control.sendall(wish + NUMBER.pack(0))
                number, files, _, _ = socket.recv_fds(control, NUMBER.size, 1)
                (pid,) = NUMBER.unpack(number)
                connection = socket.socket(fileno=files[0])
            except (OSError, struct.error, IndexError) as error:
                self._forget()
                raise _LostError from error
        connection.set_inheritable(False)
        connection.settimeout(ANSWER_SECONDS)
        return pid, connection

    def _tell(self, message: bytes, pid: int) -> None:
        with self._lock, contextlib.suppress(OSError):  # a lost server is noticed by the next request
            if self._control:
                self._control.sendall(message + NUMBER.pack(pid))

    def _death(self, pid: int, error: Exception, what: str = "picture") -> Exception:
        """What to raise for a child that gave no good answer about a picture or a clip."""
        ended = self.ended(pid)
        if ended.status == -1:
            return _LostError()
        if isinstance(error, TimeoutError):
            return too_slow(what)
        if os.WIFEXITED(ended.status) and os.WEXITSTATUS(ended.status) == os.EX_OSERR:
            return too_much_memory(what)
        if not os.WIFSIGNALED(ended.status):
            return DecoderFault(f"a decoding process ended with status {ended.status} ({error!r})")
        cause = os.WTERMSIG(ended.status)
        logger.warning("a decoding process ended by signal %s", cause)
        if cause in (signal.SIGXCPU, signal.SIGALRM):
            return too_slow(what)
        return too_much_memory(what) if cause == signal.SIGKILL else damaged(what)

    def ended(self, pid: int) -> _End:
        """Kills a child if it runs, and returns how it ended."""
        with self._lock:
            try:
                control = self._ensure()
                control.sendall(b"E" + NUMBER.pack(pid))
                end = _End(*END.unpack(control.recv(END.size)))
            except (OSError, struct.error):
                self._forget()
                return _End(-1, 0)
        self.peak_kb = max(self.peak_kb, end.peak_kb)
        return end

    # --- One worker for all pictures (Windows)

    def _through_worker(
        self, file: Path, request: dict[str, Any], room: int
    ) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        file.open("rb").close()  # a file that cannot be opened is not the worker's fault
        with self._lock, tempfile.TemporaryDirectory() as folder:
            self._ensure()
            process = self._process
            assert process is not None
            path = Path(folder, "pixels")
            with path.open("wb") as shared:
                shared.truncate(room)
            line = json.dumps(request | {"file": str(file), "room": str(path)}).encode() + b"\n"
            try:
                reply = _within(ANSWER_SECONDS, lambda: _answer(process, line))
            except BrokenPipeError as error:
                self._forget()
                raise _LostError from error
            except (OSError, EOFError) as error:
                self._forget()
                raise (too_slow() if isinstance(error, TimeoutError) else damaged()) from error
            except DecoderFault:
                self._forget()  # what it sends next would be taken for the next answer
                raise
            return reply, np.fromfile(path, np.uint8)

    # --- The process

    def _ensure(self) -> Any:
        """Returns the socket of the server, which runs then. With the lock held."""
        if self._process is None or self._process.poll() is not None:
            self._forget()
            self._start()
        return self._control

    def _start(self) -> None:
        environment = {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}
        options: dict[str, Any] = {"cwd": ROOT, "env": environment | fence.ENVIRONMENT}
        command = [sys.executable, "-m", self._module]
        if not self._forks:
            options |= {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            options["bufsize"] = 0  # a buffer that a thread waits in (`_within`) cannot be closed
            self._process = subprocess.Popen([*command, "--worker"], **options)  # nosec B603
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(  # nosec B603
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # Ctrl-C at the terminal does not reach another group. In another session, the children would
                # also get less of a busy processor (autogroup in sched(7)).
                process_group=0,
                **options,
            )
        ours.settimeout(SERVER_SECONDS)
        self._control = ours

    def _forget(self) -> None:
        process, control = self._process, self._control
        self._process = self._control = None
        if control:
            control.close()
        if process:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel, on a dead disk
                process.wait(END_SECONDS)
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def _leave_to_parent(self) -> None:
        """In a forked process: the next picture starts a server of its own.

        A copy of the parent's socket would keep the parent's server alive. A thread of the parent may have
        held the lock.
        """
        self._lock = threading.Lock()
        if self._control:
            self._control.close()
        if self._process:
            self._process.returncode = 0  # so that Python does not wait for what is no child of this process
        self._process = self._control = None


class Talk:
    """A talk with a decoding process about one file.

    Args:
        exchange: Sends a message, or the file and the request that it belongs to, and returns the answer.
        room: Returns the shared memory, uint8.
    """

    def __init__(
        self,
        exchange: Callable[[dict[str, Any] | None], dict[str, Any]],
        room: Callable[[], NDArray[np.uint8]],
    ) -> None:
        self._exchange, self.room = exchange, room

    def reply(self, message: dict[str, Any] | None = None) -> dict[str, Any]:
        """Sends a message and returns the answer. The first message is None, and stands for the request.

        Raises:
            ImageError: The file was refused, or it made the process die or hang.
            DecoderFault: There is a bug in our code.
        """
        return _checked(self._exchange(message))


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    """Returns an answer. Raises `ImageError` if it is a refusal, and `DecoderFault` if it tells of a bug."""
    if "refused" in reply:
        raise ImageError(str(reply["refused"])[:MAX_SENTENCE])
    if "fault" in reply:
        raise DecoderFault(f"{str(reply['fault'])[:MAX_SENTENCE]} at {str(reply.get('where'))[:2000]}")
    return reply


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _leave_servers_to_parent() -> None:
    for one in _clients:
        one._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_servers_to_parent)


@functools.cache
def client() -> Client:
    """Returns the client of this process, whose server ends with the process."""
    made = Client()
    atexit.register(made.stop)
    return made


@contextlib.contextmanager
def _shared_file(size: int) -> Iterator[int]:
    """An open file of `size` zeros without a name. Pages that nobody writes take no memory."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            import fcntl  # not on Windows

            # A child that made the file shorter would kill whoever reads behind its new end (SIGBUS).
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            yield descriptor
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        yield file.fileno()


def _pixels(descriptor: int, size: int) -> NDArray[np.uint8]:
    if hasattr(os, "memfd_create"):
        return np.frombuffer(mmap.mmap(descriptor, size), np.uint8)
    return np.frombuffer(os.pread(descriptor, size, 0), np.uint8)  # not mapped: it may be made shorter


def _received(connection: socket.socket, end: float) -> dict[str, Any]:
    content, wanted = b"", LENGTH.size
    while len(content) < wanted:
        connection.settimeout(max(0.001, end - time.monotonic()))  # raises TimeoutError
        piece = connection.recv(wanted - len(content))
        if not piece:
            raise EOFError("no answer")
        content += piece
        if len(content) == wanted == LENGTH.size:
            wanted += _length(content)
    return _parsed(content[LENGTH.size :])


def _within(seconds: float, work: Callable[[], T]) -> T:
    """Returns what `work` returns, or raises its error. Raises `TimeoutError` if it takes too long.

    Work that takes too long goes on in a thread that nobody waits for. Reading from a pipe has no limit of
    time of its own. It may even outlast the process at the other end, if a fork holds this end as well.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result(seconds)


def _answer(process: subprocess.Popen[bytes], line: bytes, is_first: bool = True) -> dict[str, Any]:
    """Sends a request, or a further message of a talk, to a worker and returns the answer."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(line)
    if is_first and _read(process.stdout, len(RECEIVED)) != RECEIVED:
        raise BrokenPipeError("the worker ended before this picture came")
    head = _read(process.stdout, LENGTH.size)
    if len(head) != LENGTH.size:
        raise EOFError("no answer")
    return _parsed(_read(process.stdout, _length(head)))


def _read(stream: IO[bytes], size: int) -> bytes:
    """Reads `size` bytes, or fewer at the stream's end."""
    content = b""
    while len(content) < size and (piece := stream.read(size - len(content))):
        content += piece
    return content


def _length(head: bytes) -> int:
    (length,) = LENGTH.unpack(head)
    if length > MAX_MESSAGE:
        raise DecoderFault(f"the answer is too long: {length} bytes")
    return int(length)


def _parsed(content: bytes) -> dict[str, Any]:
    """Reads an answer. Raises `DecoderFault` if it is no object, or holds text that cannot be written."""
    try:
        reply = json.loads(content)
        json.dumps(reply, ensure_ascii=False).encode()  # refuses halves of a character
    except (ValueError, RecursionError) as error:
        raise DecoderFault(f"the answer is no JSON: {error!r}"[:200]) from error
    if not isinstance(reply, dict):
        raise DecoderFault("the answer is no JSON object")
    return reply
