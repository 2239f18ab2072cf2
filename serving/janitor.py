"""Janitor: keeps the files in a temporary folder below an age and a total size, and makes room on the disk.

The janitor reads the folder itself and not a list of known files. So it also deletes the files that a killed
process or an aborted upload left behind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


def sweep(folder: Path, keep_seconds: float, keep_bytes: int, now: float | None = None) -> int:
    """Deletes files older than `keep_seconds`, then the oldest files until at most `keep_bytes` are left.

    A file's age counts from the last write to the file or the last call of `touch`. `sweep` also removes
    folders that have been empty for longer than `keep_seconds`. A folder that has not been empty for so long
    stays, because somebody may be about to write there. `folder` itself stays. Links are deleted and not
    followed.

    Args:
        folder: The folder to clean, with all folders below it.
        keep_seconds: The age that files and empty folders may reach.
        keep_bytes: The total size that the files may have.
        now: The time to compare with, in seconds since the epoch. The default is the clock's time.

    Returns:
        The total size of the files that are left, in bytes.
    """
    now = time.time() if now is None else now
    files = sorted(_files(folder))
    for path in _folders(folder):
        with contextlib.suppress(OSError):  # the folder is not empty, or somebody wrote there just now
            if path.is_symlink():
                path.unlink()
            elif path.stat().st_mtime < now - keep_seconds:
                path.rmdir()
    left = sum(size for _, size, _ in files)
    for written, size, path in files:
        if written >= now - keep_seconds and left <= keep_bytes:
            break
        if _delete(path):
            left -= size
    return left


def make_room(
    folder: Path,
    missing_bytes: int,
    recent_seconds: float,
    in_use: Iterable[Path] = (),
    now: float | None = None,
) -> int:
    """Deletes the oldest files until they have made room for `missing_bytes`.

    Args:
        folder: The folder to clean, with all folders below it.
        missing_bytes: The room that is needed.
        recent_seconds: A file stays if its last write, or the last call of `touch`, is not older than this.
        in_use: Files that stay, and folders whose files stay.
        now: As for `sweep`.

    Returns:
        The total size of the files that were deleted, in bytes.
    """
    now = time.time() if now is None else now
    kept = {path.resolve() for path in in_use}
    made = 0
    for written, size, path in sorted(_files(folder)):
        if made >= missing_bytes or written >= now - recent_seconds:
            break
        here = path.parent.resolve() / path.name  # a link counts as itself
        if kept.isdisjoint((here, *here.parents)) and _delete(path):
            made += size
    return made


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Yields the time of the last write, the size and the path of each file in `folder`, at any depth."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                yield status.st_mtime, status.st_size, path


def _folders(folder: Path) -> Iterator[Path]:
    """Yields each folder in `folder`, at any depth, after the folders in it. Includes links to folders."""
    for parent, folders, _ in os.walk(folder, topdown=False):
        yield from (Path(parent, name) for name in folders)


def _delete(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # Windows does not delete open files
        logger.warning("a temporary file could not be deleted: %s", error.strerror)
        return False
    return True


def touch(path: Path) -> None:
    """Makes a file that is still in use count as new. Does not create a file that is gone."""
    with contextlib.suppress(OSError):
        os.utime(path)


def claim(folder: Path) -> None:
    """Creates `folder` if it does not exist, and closes it to all other users.

    Raises:
        PermissionError: `folder` is a link or belongs to another user. It may hold files that are not ours to
            delete.
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
    """Starts a thread that sweeps `folder` at once and then again and again.

    Args:
        folder: A folder that `claim` has prepared.
        keep_seconds: As for `sweep`.
        keep_bytes: As for `sweep`.
        every_seconds: The time between two sweeps.
        after: A function to call after each sweep.

    Returns:
        A function that stops the thread.
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
