"""Server: a small process that forks a fenced child for each picture, and never sees a picture itself.

    python -m photo.server SOCKET

The app starts it with one end of a Unix socket. The server imports Pillow, NumPy and OpenCV, but not torch.
Children are forked ahead and wait, so a picture does not wait for a fork. The app then talks to the child
directly (`photo.work`): the server only hands out the child's socket.

Systems without fork (Windows) get one long-lived worker with the same messages, `--worker`. There decoding is
apart from the app, but all pictures share the worker's memory.

The app asks in single letters, each with a number:
    C   a child, please. The answer is the child's process id with its socket.
    V   a child for a clip (video), which has other limits. It is forked at once.
    E   how did child N end? The server kills it if it runs, and answers with its wait status and its peak
        memory.
    K   kill child N, without an answer.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass

from photo import fence, work
from photo.messages import CHILD, CLIP_CHILD, END, NUMBER

CHILDREN = 2
"""So many children wait or work. Two photos are read at once. A third picture waits for a fork."""
FORK_SECONDS, REAP_SECONDS = 0.01, 1.0
"""How long the server waits for a message before it forks a missing child, and before it looks which children
have ended."""


@dataclass(frozen=True, slots=True)
class _Spare:
    """A child that waits. A ready one has the memory for a large photo, so it is handed out first."""

    pid: int
    connection: socket.socket
    is_ready: bool


class Server:
    """Hands out children over `control`, until the app closes the other end."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._spares: list[_Spare] = []
        self._running: set[int] = set()
        self._clips: set[int] = set()
        """Those of the running children that read clips. They do not count as `CHILDREN`."""
        self._killed: set[int] = set()
        self._ended: dict[int, tuple[int, int]] = {}
        """How children ended that nobody has asked for yet: wait status, peak memory in kB."""
        self._nowhere = os.open(os.devnull, os.O_RDWR)
        gc.freeze()  # a collection in a child would write to, and so copy, every page of our objects

    def serve(self) -> None:
        while True:
            # No new child takes the processor from two photos that are read, nor from the app at the moment
            # when it gets an answer.
            is_short = len(self._spares) + len(self._running - self._clips) < CHILDREN
            ready, _, _ = select.select([self._control], [], [], FORK_SECONDS if is_short else REAP_SECONDS)
            self._reap()
            if ready:
                try:
                    message = self._control.recv(1 + NUMBER.size)
                    if not message:
                        break
                    self._answer(message[:1], *NUMBER.unpack(message[1:]))
                except OSError:  # the app has ended and left a message unread
                    break
            elif is_short:
                # The memory of a ready child has its price, and one is enough for the usual single photo.
                self._spares.append(self._fork(ready=not any(spare.is_ready for spare in self._spares)))
        for pid in (*(spare.pid for spare in self._spares), *self._running):
            os.kill(pid, signal.SIGKILL)

    def _answer(self, wish: bytes, pid: int) -> None:
        if wish in (CHILD, CLIP_CHILD):
            if wish == CLIP_CHILD:
                spare = self._fork(ready=False, for_clip=True)
                self._clips.add(spare.pid)
            else:
                spare = max(self._spares, key=lambda spare: spare.is_ready, default=None) or self._fork()
            if spare in self._spares:
                self._spares.remove(spare)
            self._running.add(spare.pid)
            with spare.connection:
                socket.send_fds(self._control, [NUMBER.pack(spare.pid)], [spare.connection.fileno()])
        elif wish == b"K":
            self._kill(pid)
            self._ended.pop(pid, None)
        elif wish == b"E":
            self._kill(pid)
            if pid in self._killed:
                self._killed.discard(pid)
                _, status, usage = os.wait4(pid, 0)
                self._ended[pid] = status, usage.ru_maxrss
            self._control.send(END.pack(*self._ended.pop(pid, (-1, 0))))

    def _kill(self, pid: int) -> None:
        if pid in self._running:
            os.kill(pid, signal.SIGKILL)  # has no effect on a child that has ended by itself
            self._running.discard(pid)
            self._killed.add(pid)
        self._clips.discard(pid)

    def _fork(self, ready: bool = False, for_clip: bool = False) -> _Spare:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        pid = os.fork()
        if pid:
            theirs.close()
            return _Spare(pid, ours, ready)
        try:
            ours.close()
            self._control.close()
            for spare in self._spares:
                spare.connection.close()
            for stream in (0, 1, 2):  # decoders write warnings, which may hold parts of the picture
                os.dup2(self._nowhere, stream)
            work.warm_up()
            fence.touch_memory(fence.TOUCHED_BYTES if ready else 0)
            fence.close(for_clip)
            work.serve_one(theirs)
            os._exit(0)
        except MemoryError:  # not even the answer found room
            os._exit(os.EX_OSERR)
        finally:
            os._exit(os.EX_SOFTWARE)

    def _reap(self) -> None:
        for pid in list(self._running):
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                self._running.discard(pid)
                self._clips.discard(pid)
                self._ended[pid] = status, usage.ru_maxrss
        self._killed = {pid for pid in self._killed if not os.waitpid(pid, os.WNOHANG)[0]}
        # A spare that died before it was used, for example for want of memory.
        self._spares = [spare for spare in self._spares if not os.waitpid(spare.pid, os.WNOHANG)[0]]


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the app ends by it, and the server with the app
    if sys.argv[1] == "--worker":
        work.serve_forever(sys.stdin.buffer, sys.stdout.buffer)
    else:
        Server(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
