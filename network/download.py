"""Download: fetches one file from an address, and gives either the complete, correct file or an error.

The bytes are written to `NAME.part` beside the final name. After a broken connection or a killed process the
download continues where it stopped. Only a file with the right SHA-256 gets the final name. One process
downloads while the other processes wait. They share a lock on `NAME.lock`, which the operating system frees
when the process that holds it dies.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filelock import FileLock, Timeout
from tqdm import tqdm

TIMEOUT_SECONDS = 20.0
"""The longest wait for a connection, and for each next piece of the file."""
STALL_SECONDS, STALL_BYTES = 20.0, 100_000
"""A server that sends fewer bytes than this in so many seconds has stalled, even if it still sends some."""
PAUSES_SECONDS = (1.0, 2.0, 4.0)
"""The pause before each further attempt, after a server failed or a connection broke."""
LOCK_SECONDS = 600.0
"""How long one process waits while another one downloads the file."""
MAX_BYTES = 2_000_000_000
"""The largest file that is accepted. No weights file is larger; such a file would only fill the disk."""
CHUNK_BYTES = 1 << 20
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger(__name__)


class DownloadError(RuntimeError):
    """The file could not be downloaded. The message is a sentence for people that says why."""


class _BrokenOff(ConnectionError):
    """The response ended too early. The received bytes are kept, and the rest can be requested."""


class _Refused(OSError):
    """The server did something that we do not accept. The received bytes are deleted."""


def download(url: str, path: Path, sha256: str) -> None:
    """Downloads the file at `url` to `path`. Does nothing if the correct file is already there.

    Args:
        url: An http or https address.
        path: Where the file goes. The folder is created if it does not exist. A wrong file at `path` is
            renamed to `.bad`.
        sha256: The SHA-256 of the file in hexadecimal digits: all 64, or at least the first 8.

    Raises:
        DownloadError: The server, the connection or the disk failed, or the server sent another file.
        ValueError: `sha256` is too short.
    """
    if len(sha256) < 8:
        raise ValueError(f"sha256: expected 8 digits or more, got {sha256!r}")
    failed = f"{path.name} could not be fetched from {urlsplit(url).hostname}"
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            if not _fits(path, sha256):
                _set_aside(path)
                _complete(url, part, sha256)
                part.replace(path)
                _sync_folder(path.parent)
    except Timeout as error:
        raise DownloadError(
            f"{failed}: another process has been at it for {LOCK_SECONDS:.0f} seconds; try again later."
        ) from error
    except NotImplementedError as error:  # from filelock, if the file system has no locks
        raise DownloadError(f"{failed}: the cache folder's file system has no locks.") from error
    except OSError as error:  # urllib's errors and time-outs are OSErrors too
        raise DownloadError(f"{failed}: {_reason(error)}.") from error


def _fits(path: Path, sha256: str) -> bool:
    """Whether the file exists and has this SHA-256."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest().startswith(sha256)
    except OSError:  # the file does not exist, or the disk cannot read it
        return False


def _set_aside(path: Path) -> None:
    if path.exists():
        path.replace(path.with_suffix(".bad"))
        logger.warning("%s was damaged and has been set aside; fetching it again", path.name)


def _complete(url: str, part: Path, sha256: str) -> None:
    """Downloads what is missing in `part` and forces it to the disk.

    If a file from several responses is wrong, it is downloaded once more from the beginning. `part` is
    deleted if the file is still wrong, if we refuse the server's response, or if the disk is full.
    """
    try:
        if not _fits(part, sha256):  # it does fit if a process died just before the renaming
            pieced = _receive(url, part)
            if pieced and not _fits(part, sha256):
                part.unlink()
                _receive(url, part)
            if not _fits(part, sha256):
                part.unlink()
                raise DownloadError(
                    f"{part.stem} arrived damaged: its hash is not the one in its name. Try again later."
                )
        with part.open("rb+") as file:
            os.fsync(file.fileno())
    except OSError as error:
        if isinstance(error, _Refused) or error.errno in DISK_FULL:
            part.unlink(missing_ok=True)
        raise


def _receive(url: str, part: Path) -> bool:
    """Requests the missing bytes of `part` until it is complete.

    Returns True if the last response continued bytes of an earlier one.
    """
    pauses = iter(PAUSES_SECONDS)
    while True:
        kept = part.stat().st_size if part.exists() else 0
        try:
            response, start = _ask(url, kept)
            with response:
                _write(response, part, start)
            return start > 0
        except (HTTPError, _BrokenOff) as error:
            pause = next(pauses, None)
            final = isinstance(error, HTTPError) and error.code < 500
            if final or pause is None:
                raise
            logger.info("%s: %s; asking again", part.stem, error)
            time.sleep(pause)


def _ask(url: str, start: int) -> tuple[HTTPResponse, int]:
    """Returns the server's response and the position of its first byte in the file: `start`, or 0."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise _Refused("its address is neither http nor https")
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = cast(HTTPResponse, build_opener(_Redirects).open(request, timeout=TIMEOUT_SECONDS))
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return _ask(url, 0)
        raise
    except (HTTPException, ConnectionError) as error:
        raise _BrokenOff("the connection broke off") from error
    except ValueError as error:
        raise _Refused("the server sent us on to what is no address") from error
    if response.status != 206:
        return response, 0
    if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        response.close()
        return _ask(url, 0)
    return response, start


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme not in ("https", req.type):
            raise _Refused("the server sent us on to an address that is not safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _write(response: HTTPResponse, part: Path, start: int) -> None:
    """Writes the body of a response that begins at byte `start` of the file to `part`.

    Appends the bytes, or replaces `part` if `start` is 0.
    """
    total = None if response.length is None else start + response.length
    size = start
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem) as bar,
    ):
        for chunk in _chunks(response):
            size += len(chunk)
            if max(size, total or 0) > MAX_BYTES:
                raise _Refused(f"the server sends more than {MAX_BYTES / 1e9:g} GB")
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and size < total:
        raise _BrokenOff("the connection broke off")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """Yields the body as it arrives. It does not wait for full chunks, so a very slow server is noticed."""
    began, received = time.monotonic(), 0
    try:
        while chunk := response.read1(CHUNK_BYTES):
            yield chunk
            received += len(chunk)
            if time.monotonic() - began > STALL_SECONDS:
                if received < STALL_BYTES:
                    raise TimeoutError
                began, received = time.monotonic(), 0
    except TimeoutError as error:
        raise _BrokenOff("the server did not answer in time") from error
    except (HTTPException, OSError) as error:
        raise _BrokenOff("the connection broke off") from error


def _sync_folder(folder: Path) -> None:
    """Makes sure that a renaming in `folder` survives a power cut."""
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    """Returns what went wrong, in words for people."""
    if isinstance(error, HTTPError):
        return f"the server answered {error.code}"
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, (_BrokenOff, _Refused)):
        return str(error)
    if isinstance(error, URLError):
        return "no connection"
    if error.errno in DISK_FULL:
        return "the disk is full; free some space and try again"
    return f"the cache folder cannot be used ({error.strerror or type(error).__name__})"
