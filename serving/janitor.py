"""Janitor: keeps a folder of temporary files within an age and a size.

It looks at the folder itself and not at anybody's list of files, so that what a killed process or an aborted
upload left goes as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)


def sweep(folder: Path, keep_seconds: float, keep_bytes: int, now: float | None = None) -> int:
    """Deletes files older than `keep_seconds`, then the oldest until at most `keep_bytes` are left.

    A file's age counts from when it was last written or `touch` was called. Folders that have been empty for
    as long go too, not sooner: somebody may be about to write there. `folder` itself stays. Links are deleted
    and not followed.

    Args:
        now: Seconds since the epoch; the clock's time by default.

    Returns:
        The bytes that are left.
    """
    now = time.time() if now is None else now
    files: list[tuple[float, int, Path]] = []
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                files.append((status.st_mtime, status.st_size, path))
        for name in folders:
            path = Path(parent, name)
            with contextlib.suppress(OSError):  # not empty, or used again just now
                if path.is_symlink():
                    path.unlink()
                elif path.stat().st_mtime < now - keep_seconds:
                    path.rmdir()
    left = sum(size for _, size, _ in files)
    for written, size, path in sorted(files):
        if written >= now - keep_seconds and left <= keep_bytes:
            break
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # Windows keeps files that are open
            logger.warning("a temporary file could not be deleted: %s", error.strerror)
            continue
        left -= size
    return left


def touch(path: Path) -> None:
    """Makes a file that is still used count as new; one that is gone stays away."""
    with contextlib.suppress(OSError):
        os.utime(path)


def claim(folder: Path) -> None:
    """Makes `folder` if it is not there, and readable by nobody else.

    Raises:
        PermissionError: It is a link, or another user's: not everything in it may be ours to delete.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()):
        raise PermissionError(f"{folder} is a link or another user's. Name another in GRADIO_TEMP_DIR.")
    folder.chmod(0o700)


def start(
    folder: Path,
    keep_seconds: float,
    keep_bytes: int,
    every_seconds: float,
    after: Callable[[], object] = lambda: None,
) -> Callable[[], None]:
    """Sweeps `folder` now, and from now on in a thread of its own.

    Args:
        folder: As `claim` left it.
        after: Called after each sweep.

    Returns:
        What stops it.
    """
    stopped = threading.Event()

    def work() -> None:
        while True:
            try:
                sweep(folder, keep_seconds, keep_bytes)
                after()
            except Exception:
                logger.exception("temporary files could not be swept")
            if stopped.wait(every_seconds):
                return

    threading.Thread(target=work, name="janitor", daemon=True).start()
    return stopped.set
