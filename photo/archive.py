"""Archive: takes the photos out of a ZIP that comes from a stranger.

Nothing that the ZIP claims is believed: not its sizes, not its count of entries, and not its names. Each
photo goes into a file whose name is made here, one after the other, and no more bytes are unpacked than the
limits allow. What is left out is said in one sentence. The photos themselves are read by `photo.images`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from photo.errors import ImageError
from photo.formats import is_zip, picture_suffix
from photo.limits import MAX_FILE_BYTES, MAX_MANY_BYTES, MAX_PHOTOS

MAX_ENTRIES = 1000
"""The number of entries that a ZIP may have, of all kinds."""
DIRECTORY_BYTES = 1024 * 1024
"""The largest size of the list of entries at the end of a ZIP. A thousand ordinary entries take 100 kB."""
PIECE_BYTES = 256 * 1024
"""How much is unpacked at a time."""
START_BYTES = 64
NAME_LENGTH = 60
"""The longest name that a photo's file gets, in characters, without its suffix."""
NAMED = 3
"""How many of the entries that were left out for the same reason are named."""
FILES_OF_SYSTEMS = ("thumbs.db", "desktop.ini", "__macosx")
"""What systems put into ZIPs by themselves, in small letters."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1
"""The bit of an entry's flags that says that it is encrypted."""
DAMAGED = "This ZIP is damaged or incomplete. Please make or download it again."
TOO_MANY = f"This ZIP holds too many files. Please use one with at most {MAX_PHOTOS} photos."
NO_TEXT = "The names in this ZIP are not text. Please pack the photos again with another program."
NO_PHOTO = "There is no photo in this ZIP that can be used."
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""The numbers of errors that are not the ZIP's. A damaged ZIP leads to others, such as a place before 0."""
FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, OverflowError, NotImplementedError)
"""What `zipfile` raises for damaged archives. `ValueError` includes bad dates and bad Unicode."""


@dataclass(frozen=True)
class Unpacked:
    """The photos of a ZIP.

    Args:
        files: Their files, in the order of the ZIP. Their names without suffix differ, also in small letters.
        notes: What was left out and why, in sentences.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def has_zip(path: Path) -> bool:
    """Returns whether a file is a ZIP, told by its first bytes. False if it cannot be read."""
    try:
        with path.open("rb") as file:
            return is_zip(file.read(START_BYTES))
    except OSError:
        return False


def unpack(
    path: Path, folder: Path, on_file: Callable[[int, int], None] = lambda done, all: None
) -> Unpacked:
    """Writes the photos of a ZIP into `folder`, and returns their files.

    Folders, hidden files and what systems add by themselves are skipped in silence. Everything else that is
    left out gets a note. Of equal names each photo gets one of its own.

    Args:
        path: The ZIP.
        folder: An empty folder that exists.
        on_file: Called before each entry, with the number of entries that are done, and of all.

    Raises:
        ImageError: The file is no ZIP, is damaged, holds too many entries, or holds no photo.
        OSError: The disk is full.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_Narrow(path))
            archive = stack.enter_context(zipfile.ZipFile(file))
        except UnicodeDecodeError as error:
            raise ImageError(NO_TEXT) from error
        except _TooLongError as error:
            raise ImageError(TOO_MANY) from error
        except FAULTS as error:
            raise ImageError(DAMAGED) from error
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise ImageError(TOO_MANY)
        return _Unpacking(archive, folder).run(entries, on_file)


def safe_name(name: str) -> str:
    """Returns a name for a photo's file, without suffix, from a name that a stranger chose.

    It holds letters, digits, spaces and - _ ( ) only, and is neither empty nor longer than `NAME_LENGTH`.
    """
    stem = PurePosixPath(name.replace("\\", "/")).stem
    kept = "".join(sign if sign.isalnum() or sign in " -_()" else "_" for sign in stem)
    return kept.strip(" _")[:NAME_LENGTH].rstrip() or "photo"


def unique_names(names: list[str]) -> list[str]:
    """Returns the names, with a number after each name that came before, also in other letters: "a-2"."""
    taken: set[str] = set()
    unique = []
    for name in names:
        count, other = 1, name
        while other.casefold() in taken:
            count += 1
            other = f"{name}-{count}"
        taken.add(other.casefold())
        unique.append(other)
    return unique


class _TooLongError(Exception):
    """The list of entries is longer than `DIRECTORY_BYTES`."""


class _Narrow(io.FileIO):
    """A file that is never read in pieces larger than `DIRECTORY_BYTES`.

    `zipfile` reads the list of entries at once, as long as the ZIP claims.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, self._size - self.tell())
        if size > DIRECTORY_BYTES:
            raise _TooLongError
        return super().read(size) or b""


class _RefusedError(Exception):
    """An entry is left out. The message is the reason, to stand after "was left out: it"."""


class _Unpacking:
    """Takes the entries out of one ZIP."""

    def __init__(self, archive: zipfile.ZipFile, folder: Path) -> None:
        self._archive, self._folder = archive, folder
        self._files: list[Path] = []
        self._left_out: dict[str, list[str]] = {}
        self._bytes = 0

    def run(self, entries: list[zipfile.ZipInfo], on_file: Callable[[int, int], None]) -> Unpacked:
        for k, entry in enumerate(entries):
            on_file(k, len(entries))
            if not entry.filename or entry.is_dir() or _is_hidden(entry.filename):
                continue
            try:
                _check(entry)
                self._take(entry)
            except _RefusedError as reason:
                self._left_out.setdefault(str(reason), []).append(entry.filename)
        notes = tuple(_note(names, reason) for reason, names in self._left_out.items())
        if not self._files:
            raise ImageError(" ".join([NO_PHOTO, *notes[:NAMED]]))
        return Unpacked(tuple(self._files), notes)

    def _take(self, entry: zipfile.ZipInfo) -> None:
        """Unpacks one entry if it is a picture."""
        try:
            with self._archive.open(entry) as source:
                start = source.read(START_BYTES)
                if is_zip(start):
                    raise _RefusedError("is a ZIP itself; please send it by itself")
                suffix = picture_suffix(start)
                if not suffix:
                    raise _RefusedError("is no picture")
                if len(self._files) == MAX_PHOTOS:
                    raise _RefusedError(f"comes after the first {MAX_PHOTOS} photos")
                name = unique_names([*(file.stem for file in self._files), safe_name(entry.filename)])[-1]
                self._copy(source, start, self._folder / f"{name}{suffix}")
        except OSError as error:
            if error.errno in OF_THE_DISK:
                raise
            raise _RefusedError("is damaged") from error
        except (*FAULTS, RuntimeError) as error:  # RuntimeError: encrypted in a way that the flags do not say
            raise _RefusedError("is damaged") from error

    def _copy(self, source: IO[bytes], piece: bytes, path: Path) -> None:
        """Writes the rest of an entry, which begins with `piece`, into a new file."""
        size = 0
        try:
            with path.open("xb") as file:
                while piece:
                    size += len(piece)
                    if size > MAX_FILE_BYTES:
                        raise _RefusedError(f"is larger than {MAX_FILE_BYTES >> 20} MB when it is unpacked")
                    if self._bytes + size > MAX_MANY_BYTES:
                        raise _RefusedError(
                            f"would make the photos larger than {MAX_MANY_BYTES >> 20} MB together"
                        )
                    file.write(piece)
                    piece = source.read(PIECE_BYTES)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._files.append(path)
        self._bytes += size


def _is_hidden(name: str) -> bool:
    parts = [part for part in name.replace("\\", "/").split("/") if part]
    return any(
        part.casefold() in FILES_OF_SYSTEMS or (part.startswith(".") and part not in (".", ".."))
        for part in parts
    )


def _check(entry: zipfile.ZipInfo) -> None:
    """Raises `_RefusedError` for an entry that is not even opened."""
    name = entry.filename.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
        raise _RefusedError("has a name that points outside of the ZIP")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind and not stat.S_ISREG(kind):
        raise _RefusedError("is a link or another thing that is no file")
    if entry.flag_bits & ENCRYPTED:
        raise _RefusedError("is locked with a password; please unpack it and send the photos")
    if entry.compress_type not in METHODS:
        raise _RefusedError("is compressed in a way that is not read; please pack it as an ordinary ZIP")


def _note(names: list[str], reason: str) -> str:
    """Returns a sentence about entries that were left out for one reason."""
    said = ", ".join(f"“{_printable(name)}”" for name in names[:NAMED])
    if len(names) == 1:
        return f"{said} was left out: it {reason}."
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} files were left out ({said}{more}), because each {reason}."


def _printable(name: str) -> str:
    """Returns the last part of a name, short, and with a sign in place of what cannot be printed."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    text = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in last)
    return text if len(text) <= NAME_LENGTH else f"{text[: NAME_LENGTH - 1]}…"
