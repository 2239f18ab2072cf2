"""AV1: how large the pictures in an AVIF file truly are, which its own header may lie about.

The sizes come from the sequence headers of the stream (AV1 specification, 5.5), found by way of the boxes
of the container (ISO 14496-12, 8.11). The decoder goes by these, and by the container only when it is done.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator


def sequence_sizes(avif: bytes) -> Iterator[tuple[int, int]]:
    """(width, height) that each picture of the file decodes to: tiles, transparency and first frames too.

    Raises:
        ValueError, struct.error, IndexError: It is not built as an AVIF is.
    """
    budget = 2 * len(avif)  # many items may point at the same megabytes
    for stream in [*_items(avif), *_first_samples(avif)]:
        data = b"".join(avif[start:end] for start, end in stream if (budget := budget - (end - start)) >= 0)
        if budget < 0:
            raise ValueError("the pictures hold more than the file")
        yield from _sizes(data)


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and where the content of it starts and ends, of the boxes that lie in a part of the file."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, start)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", content, start + 8)[0], 16
        elif size == 0:
            size = end - start
        if size < head:
            raise ValueError("a box smaller than its own head")
        yield kind, start + head, min(start + size, end)
        start += size


def _within(content: bytes, *path: bytes) -> Iterator[tuple[int, int]]:
    """Where the boxes at the end of a path start and end."""
    parts = [(0, len(content))]
    for name in path:
        skip = 4 if name == b"meta" else 0
        parts = [(s + skip, e) for part in parts for kind, s, e in _boxes(content, *part) if kind == name]
    yield from parts


def _items(avif: bytes) -> Iterator[list[tuple[int, int]]]:
    """The pieces of each item that is a picture."""
    pictures = set()
    for start, end in _within(avif, b"meta", b"iinf"):
        count_size = 4 if avif[start] else 2
        for _, at, _ in _boxes(avif, start + 4 + count_size, end):
            id_size = 4 if avif[at] == 3 else 2
            if avif[at + 4 + id_size + 2 :][:4] == b"av01":
                pictures.add(int.from_bytes(avif[at + 4 : at + 4 + id_size]))
    idat = next(_within(avif, b"meta", b"idat"), (0, 0))[0]
    for at, _ in _within(avif, b"meta", b"iloc"):
        version, sizes = avif[at], avif[at + 4 : at + 6]
        at += 6

        def number(size: int) -> int:
            nonlocal at
            at += size
            if at > len(avif):
                raise ValueError("the table of items ends early")
            return int.from_bytes(avif[at - size : at])

        for _ in range(number(4 if version == 2 else 2)):
            item = number(4 if version == 2 else 2)
            origin = idat if version and number(2) & 15 == 1 else 0
            number(2)
            origin += number(sizes[1] >> 4)
            pieces = []
            for _ in range(number(2)):
                if version:
                    number(sizes[1] & 15)
                start = origin + number(sizes[0] >> 4)
                length = number(sizes[0] & 15)
                pieces.append((start, min(start + length, len(avif)) if length else len(avif)))
            if item in pictures:
                yield pieces


def _first_samples(avif: bytes) -> Iterator[list[tuple[int, int]]]:
    """The first frame of each track of an animation."""
    for table in _within(avif, b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        found = {kind: start for kind, start, _ in _boxes(avif, *table)}
        if b"stsz" not in found or not {b"stco", b"co64"} & found.keys():
            continue
        same, _, first = struct.unpack_from(">III", avif, found[b"stsz"] + 4)
        chunk = found.get(b"stco", found.get(b"co64", 0)) + 8
        (start,) = struct.unpack_from(">I" if b"stco" in found else ">Q", avif, chunk)
        yield [(start, min(start + (same or first), len(avif)))]


def _sizes(stream: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(stream):
        header = stream[at]
        at += 2 if header & 4 else 1
        size, shift = len(stream) - at, 0
        if header & 2:
            size = 0
            while True:
                size |= (stream[at] & 127) << shift
                shift, at = shift + 7, at + 1
                if stream[at - 1] < 128:
                    break
        if header >> 3 & 15 == 1:
            yield _sequence_size(stream[at : at + min(size, 1000)])
        at += size


def _sequence_size(header: bytes) -> tuple[int, int]:
    bits, left = int.from_bytes(header), 8 * len(header)

    def read(count: int) -> int:
        nonlocal left
        left -= count
        if left < 0:
            raise ValueError("the header of a sequence ends early")
        return bits >> left & (1 << count) - 1

    read(4)
    if read(1):  # a still picture's short header
        read(5)
    else:
        delay_bits = 0
        if read(1):  # timing
            read(64)
            if read(1):
                zeros = 0
                while not read(1):
                    zeros += 1
                read(zeros)
            if read(1):  # decoder model
                delay_bits = read(5) + 1
                read(42)
        has_delays = read(1)
        for _ in range(read(5) + 1):  # operating points
            read(12)
            if read(5) > 7:
                read(1)
            if delay_bits and read(1):
                read(2 * delay_bits + 1)
            if has_delays and read(1):
                read(4)
    width_bits, height_bits = read(4) + 1, read(4) + 1
    return read(width_bits) + 1, read(height_bits) + 1
