"""Content: the bytes of a file, in memory or mapped."""

from __future__ import annotations

import io
import mmap

Content = bytes | mmap.mmap
"""A mapped file takes no memory of its own, and needs no second open file where no file may be opened."""


LARGE = 64 * 1024
"""Bytes of a piece whose mapped pages are given back after reading."""


class Reader(io.RawIOBase):
    """Content as a file to read from, without a copy."""

    def __init__(self, content: Content) -> None:
        super().__init__()
        self._content, self._at = content, 0

    def read(self, size: int | None = -1) -> bytes:
        end = len(self._content) if size is None or size < 0 else self._at + size
        piece = self._content[self._at : end]
        if isinstance(self._content, mmap.mmap) and len(piece) >= LARGE and hasattr(mmap, "MADV_DONTNEED"):
            start = self._at - self._at % mmap.PAGESIZE
            self._content.madvise(mmap.MADV_DONTNEED, start, len(piece))  # counts no longer as this process's
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._content)}[whence]
        if start + offset < 0:
            raise ValueError("expected a place within the file")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        piece = self.read(len(view))
        view[: len(piece)] = piece
        return len(piece)
