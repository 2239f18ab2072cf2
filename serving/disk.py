"""Disk: reserves room for a file before the file is written.

Each upload and each export first reserves the largest size that it may have. If the room is missing, the
oldest files are deleted. If there is still too little room, the request is refused before any work. So
several files that are written at once cannot fill the disk together.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from serving import janitor

MEGABYTE = 1024 * 1024
SPARE_BYTES = 100 * MEGABYTE
"""The room that is never reserved. It is for everything that reserves no room, such as the pictures of the
page, logs, and the files of other programs."""
RECENT_SECONDS = 300.0
"""A file that was used within this time is never deleted to make room."""
PAUSE_SECONDS = 1.0
"""The time between two searches for files to delete. A search takes longer the more files there are."""
FULL = "The server's disk is full. Please try again in a few minutes."


class DiskFull(OSError):
    """There is too little room on the disk. The error number is `ENOSPC`."""

    def __init__(self, size: int) -> None:
        super().__init__(errno.ENOSPC, f"There is no room for {size} bytes")


@dataclass(eq=False)
class Reservation:
    """Room on the disk that belongs to somebody.

    Args:
        size: The size in bytes.
        folder: The folder where the room is used. None if nobody knows the folder.
    """

    size: int
    folder: Path | None

    def left(self) -> int:
        """Returns the part of the room that is not used yet, in bytes."""
        return max(0, self.size - (_size(self.folder) if self.folder else 0))


class Disk:
    """Counts the room on the disk of one folder. All methods may be called from any thread.

    Args:
        folder: The folder, which need not exist yet.
        in_use: Returns the files and folders that must not be deleted, because a request needs them.
    """

    def __init__(self, folder: Path, in_use: Callable[[], Iterable[Path]] = tuple) -> None:
        self.folder, self.in_use = folder, in_use
        self._reservations: set[Reservation] = set()
        self._lock = threading.Lock()
        self._searched = float("-inf")

    def reserve(self, size: int, folder: Path | None = None) -> Reservation:
        """Reserves `size` bytes until `release` is called. Deletes old files if that is needed.

        Raises:
            DiskFull: There is too little room.
        """
        with self._lock:
            if self._missing(size) > 0:
                self._make_room(self._missing(size))
            if self._missing(size) > 0:
                raise DiskFull(size)
            reservation = Reservation(size, folder)
            self._reservations.add(reservation)
            return reservation

    def release(self, reservation: Reservation) -> None:
        """Ends a reservation. Has no effect if the reservation has ended already."""
        with self._lock:
            self._reservations.discard(reservation)

    def make_room(self) -> None:
        """Deletes old files if there is less room than `SPARE_BYTES`."""
        with self._lock:
            if (missing := self._missing(0)) > 0:
                self._make_room(missing)

    def _missing(self, size: int) -> int:
        """Returns how many bytes are missing for another reservation of `size`. At most 0 if it fits."""
        there = next(path for path in (self.folder, *self.folder.parents, Path()) if path.exists())
        reserved = sum(reservation.left() for reservation in self._reservations)
        return size + reserved + SPARE_BYTES - shutil.disk_usage(there).free

    def _make_room(self, missing: int) -> None:
        if time.monotonic() >= self._searched + PAUSE_SECONDS:
            janitor.make_room(self.folder, missing, RECENT_SECONDS, self.in_use())
            self._searched = time.monotonic()


def _size(folder: Path) -> int:
    """Returns the size of all files in a folder, in bytes."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(parent, name).lstat().st_size
    return size
