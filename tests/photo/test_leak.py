"""Tests that no picture shows anything that lay in memory before: not the app's, and not another visitor's.

libtiff leaves parts of a strip unwritten when the strip's data ends early, and reports no error. Whatever lay
there becomes a part of the picture. So each file here is read by two servers that start with different bytes
in their fresh memory (MALLOC_PERTURB_). Both must give the same pixels or the same refusal.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from photo import client as client_module
from photo.client import Client
from photo.errors import ImageError
from photo.formats import READABLE
from tests.calls import FILE_DATA, call
from tests.samples import random_image

ROOT = Path(__file__).resolve().parents[2]
PERTURBATIONS = ("185", "203")
"""Of the same length, so that the environment takes the same memory."""
LONGEST_SIDE = 1024
WIDTH, HEIGHT, FILL_ORDER, STRIP_OFFSETS, STRIP_ROWS, STRIP_SIZES = 256, 257, 266, 273, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES = 322, 323, 324, 325
COPIED_TAGS = (258, 259, 262, 277, 317, 338, 347, 530)
"""The layout of samples, the compression and its tables."""
COMPRESSIONS = {
    "raw": ("1", "RGB"),
    "packbits": ("L",),
    "tiff_lzw": ("RGB",),
    "tiff_adobe_deflate": ("L",),
    "jpeg": ("L", "RGB"),
    "group3": ("1",),
    "group4": ("1",),
    "tiff_ccitt": ("1",),
    "zstd": ("RGB",),
}
"""Pillow's modes for each of its compressions."""
LEAKING = {"jpeg", "group3", "group4", "tiff_ccitt"}
"""Those whose decoders in libtiff may leave a part of a strip unwritten."""
with contextlib.suppress(ImportError):
    from pillow_heif import register_heif_opener

    register_heif_opener()  # to write such pictures

REVERSED_BITS = bytes(int(f"{number:08b}"[::-1], 2) for number in range(256))

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc fills its memory")


@dataclass(frozen=True)
class Tiff:
    """A TIFF made by hand, of strips or of tiles.

    Attributes:
        tags: The values of each tag, or its bytes.
        pieces: The compressed strips or tiles.
        sizes: How long the file says that its pieces are, if this is not true.
    """

    tags: dict[int, list[int] | bytes]
    pieces: list[bytes]
    sizes: list[int] = field(default_factory=list)

    def __bytes__(self) -> bytes:
        tiled = TILE_WIDTH in self.tags
        sizes = self.sizes or [len(piece) for piece in self.pieces]
        tags = self.tags | {TILE_SIZES if tiled else STRIP_SIZES: sizes}
        places = TILE_OFFSETS if tiled else STRIP_OFFSETS
        entries, values = self._table(tags | {places: [0] * len(self.pieces)})
        start = 8 + len(entries) + len(values)
        offsets = [start + sum(map(len, self.pieces[:number])) for number in range(len(self.pieces))]
        entries, values = self._table(tags | {places: offsets})
        return b"II*\0" + struct.pack("<L", 8) + entries + values + b"".join(self.pieces)

    @staticmethod
    def _table(tags: dict[int, list[int] | bytes]) -> tuple[bytes, bytes]:
        entries, values = struct.pack("<H", len(tags)), b""
        for tag, value in sorted(tags.items()):
            content = value if isinstance(value, bytes) else struct.pack(f"<{len(value)}L", *value)
            kind = 7 if isinstance(value, bytes) else 4
            entries += struct.pack("<HHL", tag, kind, len(value))
            if len(content) <= 4:
                entries += content.ljust(4, b"\0")
            else:
                entries += struct.pack("<L", 8 + 2 + 12 * len(tags) + 4 + len(values))
                values += content
        return entries + bytes(4), values

    def with_numbers(self, **numbers: int) -> Tiff:
        named = {"width": WIDTH, "height": HEIGHT, "rows": STRIP_ROWS, "fill_order": FILL_ORDER}
        named |= {"tile_width": TILE_WIDTH, "tile_height": TILE_HEIGHT}
        return replace(self, tags=self.tags | {named[name]: [value] for name, value in numbers.items()})


def compressed(image: Image.Image, compression: str) -> tuple[dict[int, list[int] | bytes], bytes]:
    """Returns the tags of a compression that Pillow writes, and the image as its only strip."""
    file = io.BytesIO()
    image.save(file, "TIFF", compression=compression, strip_size=2**30, tiffinfo={STRIP_ROWS: image.height})
    with Image.open(file) as saved:
        tags = saved.tag_v2  # type: ignore[attr-defined]
        (offset,), (size,) = tags[STRIP_OFFSETS], tags[STRIP_SIZES]
        copied: dict[int, list[int] | bytes] = {}
        for tag in COPIED_TAGS:
            if (value := tags.get(tag)) is not None:
                copied[tag] = value if isinstance(value, bytes) else [*np.atleast_1d(value).tolist()]
    return copied, file.getvalue()[offset : offset + size]


def make_tiff(image: Image.Image, compression: str, layout: str) -> Tiff:
    """Returns an image as a TIFF of one "strip", of several "strips", or of "tiles"."""
    width, height = image.size
    rows, columns = {"strip": (height, width), "strips": (height // 3 // 8 * 8, width)}.get(
        layout, ((height // 2 + 15) // 16 * 16, (width // 2 + 15) // 16 * 16)
    )
    pieces = []
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            bottom = top + rows if layout == "tiles" else min(top + rows, height)
            copied, piece = compressed(image.crop((left, top, left + columns, bottom)), compression)
            pieces.append(piece)
    made = Tiff(copied, pieces).with_numbers(width=width, height=height)
    if layout == "tiles":
        return made.with_numbers(tile_width=columns, tile_height=rows)
    return made.with_numbers(rows=rows)


def damaged_tiffs(tiff: Tiff, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yields the TIFF, and files whose data ends early in different ways, or is wrong."""
    pieces, tiled = tiff.pieces, TILE_WIDTH in tiff.tags
    width, height = (int(tiff.tags[tag][0]) for tag in (WIDTH, HEIGHT))
    whole = bytes(tiff)
    yield "good", whole
    yield "cut", whole[: -sum(map(len, pieces)) * 2 // 3]
    yield "last piece short", bytes(replace(tiff, sizes=[*map(len, pieces[:-1]), len(pieces[-1]) // 2]))
    yield "pieces of 8 bytes", bytes(replace(tiff, sizes=[min(8, len(piece)) for piece in pieces]))
    short = replace(tiff, pieces=[piece[: len(piece) // 3 + 1] for piece in pieces])
    yield "pieces short", bytes(short)
    reversed_bits = replace(short, pieces=[piece.translate(REVERSED_BITS) for piece in short.pieces])
    yield "other fill order, pieces short", bytes(reversed_bits.with_numbers(fill_order=2))
    if tiled:
        side, up = (int(tiff.tags[tag][0]) for tag in (TILE_WIDTH, TILE_HEIGHT))
        yield "taller tiles", bytes(tiff.with_numbers(height=5 * height, tile_height=5 * up))
        yield "wider tiles", bytes(tiff.with_numbers(width=3 * width, tile_width=3 * side))
    else:
        one = replace(tiff, pieces=pieces[:1])
        yield "taller strip", bytes(one.with_numbers(height=5 * height, rows=5 * height))
        yield "wider strip", bytes(one.with_numbers(width=3 * width))
    flipped = [bytearray(piece) for piece in pieces]
    for piece in flipped:
        for _ in range(3):
            piece[chance.randrange(len(piece))] = chance.randrange(256)
    yield "flipped", bytes(replace(tiff, pieces=[*map(bytes, flipped)]))


def smooth(chance: random.Random, width: int, height: int, mode: str) -> Image.Image:
    small = Image.frombytes("RGB", (8, 8), chance.randbytes(3 * 8 * 8))
    return small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def leaking_g4(side: int = 4000) -> bytes:
    """Returns a TIFF of less than 200 bytes whose only strip says nothing about its rows."""
    tags: dict[int, list[int] | bytes] = {258: [1], 259: [4], 262: [0], 277: [1]}
    return bytes(Tiff(tags, [b"\xff" * 20]).with_numbers(width=side, height=side, rows=side))


def leaking_jpeg(side: int = 2000) -> bytes:
    """Returns a TIFF whose strip is much larger than the JPEG in it."""
    file = io.BytesIO()
    Image.fromarray(random_image(3, 16, 16)).convert("L").save(file, "JPEG")
    tags: dict[int, list[int] | bytes] = {258: [8], 259: [7], 262: [1], 277: [1]}
    return bytes(Tiff(tags, [file.getvalue()]).with_numbers(width=side, height=side, rows=side))


def other_formats(chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yields a picture of each format and mode but TIFF, and damaged copies."""
    kinds: list[tuple[str, str, dict[str, object]]] = [
        ("JPEG", "RGB", {}), ("JPEG", "L", {}), ("JPEG", "CMYK", {}), ("JPEG", "RGB", {"progressive": True}),
        ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "P", {}), ("PNG", "1", {}), ("PNG", "I;16", {}),
        ("GIF", "P", {}), ("GIF", "P", {"save_all": True}),
        ("BMP", "RGB", {}), ("BMP", "P", {}), ("BMP", "1", {}),
        ("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True}), ("WEBP", "RGB", {"save_all": True}),
        ("AVIF", "RGB", {}), ("AVIF", "RGBA", {"save_all": True}), ("HEIF", "RGB", {}),
    ]  # fmt: skip
    for format, mode, options in kinds:
        if format not in READABLE:
            continue
        first, second = (smooth(chance, 72, 56, "I" if mode == "I;16" else mode) for _ in range(2))
        if mode == "I;16":
            first = Image.fromarray(np.asarray(first).astype(np.uint16) * 257)
        more = {"append_images": [second]} if "save_all" in options else {}
        file = io.BytesIO()
        first.save(file, format, **options, **more)
        content = file.getvalue()
        name = f"{format} {mode} {' '.join(options)}"
        yield f"{name} good", content
        for end in (len(content) * 2 // 3, len(content) - 3):
            yield f"{name} cut at {end}", content[:end]
        flipped = bytearray(content)
        for _ in range(4):
            flipped[chance.randrange(len(content) // 4, len(content))] = chance.randrange(256)
        yield f"{name} flipped", bytes(flipped)


def all_files() -> Iterator[tuple[str, bytes]]:
    chance = random.Random(0)
    for compression, modes in COMPRESSIONS.items():
        for mode in modes:
            for layout in ("strip", "strips", "tiles") if compression in LEAKING else ("strips", "tiles"):
                side = chance.choice([40, 150, 400])
                tiff = make_tiff(smooth(chance, side + 8, side, mode), compression, layout)
                for name, content in damaged_tiffs(tiff, chance):
                    yield f"TIFF {compression} {mode} {layout} {name}", content
    yield "TIFF leaking-g4", leaking_g4()
    yield "TIFF leaking-jpeg", leaking_jpeg()
    yield from other_formats(chance)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for name, content in all_files():
        made[name] = folder / name.replace(" ", "_").replace(";", "")
        made[name].write_bytes(content)
    assert len(made) > 250
    return made


# --- The same pixels, whatever lies in memory


def read_all(client: Client, files: dict[str, Path], perturbation: str) -> dict[str, str]:
    """Returns the sum of each picture's pixels, or its refusal, from a server with this MALLOC_PERTURB_."""
    found = {}
    try:
        for name, path in files.items():
            request = {"kind": "photo", "longest_side": LONGEST_SIDE}
            try:
                reply, pixels = client.ask(path, request, 3 * LONGEST_SIDE**2)
                found[name] = f"{reply} {hashlib.sha256(pixels).hexdigest()}"
            except ImageError as error:
                found[name] = str(error)
        assert client._process is not None
        environment = Path(f"/proc/{client._process.pid}/environ").read_bytes()
        assert f"MALLOC_PERTURB_={perturbation}".encode() in environment.split(b"\0")
    finally:
        client.stop()
    return found


@needs_glibc
def test_every_file_gives_the_same_pixels_or_the_same_refusal_whatever_lies_in_memory(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PASSED_ON", (*client_module.PASSED_ON, "MALLOC_"))
    with ThreadPoolExecutor(len(PERTURBATIONS)) as threads:
        running = []
        for perturbation in PERTURBATIONS:
            monkeypatch.setenv("MALLOC_PERTURB_", perturbation)
            client = Client()
            client.start()
            running.append(threads.submit(read_all, client, files, perturbation))
        found = [one.result() for one in running]
    one, other = found
    assert {name: (one[name], other[name]) for name in files if one[name] != other[name]} == {}
    refused = {name for name in files if not one[name].startswith("{")}
    assert {name for name in refused if name.endswith("good")} == set()
    assert len(refused) > 100


IN_PROCESS = """
import hashlib, json, pathlib, sys, warnings
from PIL import Image
warnings.simplefilter("ignore")
found = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    if path.name.startswith("TIFF"):
        try:
            with Image.open(path) as image:
                found[path.name] = hashlib.sha256(image.tobytes()).hexdigest()
        except Exception as error:
            found[path.name] = repr(error)
print(json.dumps(found))
"""


@needs_glibc
def test_without_the_fence_some_of_these_files_show_what_lies_in_memory(files: dict[str, Path]) -> None:
    folder = next(iter(files.values())).parent
    running = [
        subprocess.Popen(
            [sys.executable, "-c", IN_PROCESS, str(folder)],
            env=os.environ | {"MALLOC_PERTURB_": perturbation},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for perturbation in PERTURBATIONS
    ]
    one, other = (json.loads(process.communicate()[0]) for process in running)
    leaking = {name for name in one if one[name] != other[name]}
    assert {"TIFF_leaking-g4", "TIFF_leaking-jpeg"} <= leaking
    for kind in ("group4", "jpeg_L", "jpeg_RGB"):
        for layout in ("strip_", "tiles"):
            assert any(f"TIFF_{kind}" in name and layout in name for name in leaking), (kind, layout)


# --- Two visitors


def words_of(content: bytes) -> NDArray[np.uint64]:
    """Returns every run of 8 bytes, without the runs of one byte."""
    words = np.concatenate(
        [np.frombuffer(content[start:], np.uint64, (len(content) - start) // 8) for start in range(8)]
    )
    words = np.unique(words)
    return words[words != (words & 255) * 0x0101010101010101]


def annotated(server: str, name: str, content: bytes) -> bytes:
    """Returns the pixels of /annotate for a file, with nothing drawn over them, or the refusal."""
    with httpx.Client(timeout=60) as http:
        uploaded = http.post(f"{server}gradio_api/upload", files={"files": (name, content)})
        image = {"path": uploaded.raise_for_status().json()[0], "meta": FILE_DATA}
        answer = call(server, "annotate", {"image": image, "score_threshold": 1, "show": []}, http)
        if answer.event != "complete":
            assert answer.sentence.startswith("This "), answer
            return answer.sentence.encode()
        picture = http.get(answer.data[0]["url"]).raise_for_status().content
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).tobytes()


def test_a_visitor_sees_nothing_of_another_visitors_photo(server: str) -> None:
    pixels = random_image(7, 120, 180)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    in_memory = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])  # as Pillow holds it
    secrets = np.unique(
        np.concatenate(
            [words_of(content) for content in (file.getvalue(), pixels.tobytes(), in_memory.tobytes())]
        )
    )
    leaks = {"g4.tif": leaking_g4(1000), "jpeg.tif": leaking_jpeg(600)}
    seen: dict[str, list[bytes]] = {name: [] for name in leaks}

    def visit() -> None:
        for name, content in leaks.items():
            seen[name].append(annotated(server, name, content))

    visit()
    assert annotated(server, "photo.png", file.getvalue()) == pixels.tobytes()
    visit()
    visit()
    for answers in seen.values():
        assert len(set(answers)) == 1
        grey = answers[0][::3]
        bits = np.packbits(np.frombuffer(grey, np.uint8) > 127)
        for shown in (answers[0], grey, bits.tobytes(), (~bits).tobytes()):
            assert not np.isin(words_of(shown), secrets).any()
    assert np.isin(words_of(pixels[100:102].tobytes()), secrets).all()  # the search would find the photo
