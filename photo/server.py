"""Server: a small process that forks a fenced child for each picture, and never sees a picture itself.

    python -m photo.server SOCKET

The app starts it with one end of a Unix socket. The server imports Pillow, NumPy and OpenCV, but not torch.
One child is always forked ahead and waits, so a picture does not wait for a fork. The app then talks to the
child directly (`photo.work`): the server only hands out the child's socket.

Systems without fork (Windows) get one long-lived worker with the same messages, `--worker`. There decoding is
apart from the app, but all pictures share the worker's memory.

The app asks in single bytes:
    C   a child, please. The answer is the child's process id with its socket.
    E   how did child N end? The server kills it if it runs, and answers with its wait status and its peak
    memory. K   kill child N, without an answer.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

from photo import fence, work
from photo.messages import END, NUMBER

SPARES = 2
"""Children that are forked ahead, because two photos are read at once."""


class Server:
    """Hands out children over `control`, until the app closes the other end."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._spares: list[tuple[int, socket.socket]] = []
        self._running: set[int] = set()
        self._nowhere = os.open(os.devnull, os.O_RDWR)
        self._memory = fence.memory()

    def serve(self) -> None:
        while True:
            while len(self._spares) < SPARES:
                self._fork()
            ready, _, _ = select.select([self._control], [], [], 1.0)
            if ready:
                message = self._control.recv(1 + NUMBER.size)
                if not message:
                    break
                self._answer(message[:1], message[1:])
            self._reap()
        for pid, _ in self._spares:
            os.kill(pid, signal.SIGKILL)

    def _answer(self, wish: bytes, number: bytes) -> None:
        if wish == b"C":
            pid, connection = self._spares.pop()
            self._running.add(pid)
            socket.send_fds(self._control, [NUMBER.pack(pid)], [connection.fileno()])
            connection.close()
            return
        (pid,) = NUMBER.unpack(number)
        known = pid in self._running
        if known:
            os.kill(pid, signal.SIGKILL)  # has no effect on a child that has ended by itself
        if wish == b"E":
            end = (-1, 0)
            if known:
                _, status, usage = os.wait4(pid, 0)
                self._running.discard(pid)
                end = status, usage.ru_maxrss
            self._control.send(END.pack(*end))

    def _fork(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        pid = os.fork()
        if pid:
            theirs.close()
            self._spares.append((pid, ours))
            return
        try:
            ours.close()
            self._control.close()
            for _, spare in self._spares:
                spare.close()
            for stream in (0, 1, 2):  # decoders write warnings, which may hold parts of the picture
                os.dup2(self._nowhere, stream)
            fence.close(self._memory)
            work.serve_one(theirs)
            os._exit(0)
        except MemoryError:  # not even the answer found room
            os._exit(os.EX_OSERR)
        finally:
            os._exit(os.EX_SOFTWARE)

    def _reap(self) -> None:
        for pid in list(self._running):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._running.discard(pid)
        # A spare that died before it was used, for example for want of memory.
        self._spares = [(pid, spare) for pid, spare in self._spares if not os.waitpid(pid, os.WNOHANG)[0]]


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the app ends by it, and the server with the app
    if sys.argv[1] == "--worker":
        work.serve_forever(sys.stdin.buffer, sys.stdout.buffer)
    else:
        Server(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
