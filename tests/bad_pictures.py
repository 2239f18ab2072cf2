"""Makes files from a seed that try to break a reader of pictures, with good pictures between them.

`python -m tests.bad_pictures --count 10000 --seed 0` reads these files, or the files in `--folder`. The last
line of its output is a JSON object with the outcomes. If a file kills the process, the last line is missing.
Then the file is still in the temporary folder that the first line names.

The file is long because each kind of attack is built by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import itertools
import json
import random
import re
import struct
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from photo.client import client
from photo.errors import ImageError
from photo.formats import READABLE
from photo.images import read_photo

ORIENTATION = 0x0112

with contextlib.suppress(ImportError):
    from pillow_heif import register_heif_opener

    register_heif_opener()  # to write such pictures


class BadPicture(NamedTuple):
    """A file with any content.

    Attributes:
        name: Says what the file tries. The suffix may be wrong.
        valid: True for a picture that must be read, False for a file that must be refused. None allows both.
    """

    name: str
    content: bytes
    valid: bool | None


def bad_pictures(seed: int, count: int) -> Iterator[BadPicture]:
    """Yields `count` files, the same files for the same seed: first all bombs, then new damage for ever."""
    chance = random.Random(seed)
    endless = itertools.chain.from_iterable(_round(chance) for _ in itertools.count())
    cases = itertools.chain(_bombs(), _disguises(), endless)
    for number, case in enumerate(itertools.islice(cases, count)):
        yield case._replace(name=f"{number:05}-{case.name}")


def _round(chance: random.Random) -> list[BadPicture]:
    """Returns good pictures of every kind and damaged copies of them, shuffled.

    Each picture is cut at every 64 bytes, and is damaged in some other ways.
    """
    good = _good_pictures(chance)
    cases = list(good)
    for picture in good:
        content = picture.content
        for end in range(64, len(content), 64):
            cases.append(BadPicture(f"cut-at-{end}-{picture.name}", content[:end], None))
        for _ in range(12):
            damage = chance.choice([_flip_bits, _splice, _set_numbers])
            damaged = damage(content, chance.choice(good).content, chance)
            cases.append(BadPicture(f"{damage.__name__.strip('_')}-{picture.name}", damaged, None))
        suffix = chance.choice(["jpg", "png", "gif", "exe", "txt", "svg", "JPEG.pdf"])
        cases.append(BadPicture(f"renamed-{Path(picture.name).stem}.{suffix}", content, True))
    chance.shuffle(cases)
    return cases


def _flip_bits(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Flips up to 20 bits, half the time only in the header."""
    flipped = bytearray(content)
    reach = chance.choice([min(64, len(content)), len(content)])
    for _ in range(chance.randint(1, 20)):
        flipped[chance.randrange(reach)] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def _splice(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Replaces a piece of this file with a piece of another file."""
    start, end = sorted(chance.randrange(len(content)) for _ in range(2))
    from_, to = sorted(chance.randrange(len(other)) for _ in range(2))
    return content[:start] + other[from_:to] + content[end:]


def _set_numbers(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Overwrites two or four bytes with numbers that often cause errors in programs."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        number = chance.choice([b"\0\0", b"\xff\xff", b"\x7f\xff", b"\xff\x7f", b"\0\x80"]) * chance.choice(
            [1, 2]
        )
        at = chance.randrange(min(len(content), chance.choice([64, 400, 10**6])))
        changed[at : at + len(number)] = number
    return bytes(changed)


def _good_pictures(chance: random.Random) -> list[BadPicture]:
    """Returns small pictures of every format, mode and orientation that the app reads."""
    width, height = chance.randint(8, 40), chance.randint(8, 40)

    def noise(mode: str = "RGB") -> Image.Image:
        size = width * height * len(Image.new(mode, (1, 1)).getbands())
        return Image.frombytes(mode, (width, height), chance.randbytes(size))

    grey = np.frombuffer(chance.randbytes(2 * width * height), np.uint16).reshape(height, width)
    palette = noise().quantize(16)
    good = {
        "rgb.jpg": _saved(noise(), "JPEG"),
        "grey.jpg": _saved(noise("L"), "JPEG"),
        "cmyk.jpg": _saved(noise("CMYK"), "JPEG"),
        "progressive.jpg": _saved(noise(), "JPEG", progressive=True),
        "with-preview.jpg": _saved(noise(), "MPO", save_all=True, append_images=[noise()]),
        **{f"{mode}.png".lower(): _saved(noise(mode), "PNG") for mode in ("RGB", "RGBA", "L", "LA")},
        "1-bit.png": _saved(noise("L").convert("1"), "PNG"),
        "16-bit.png": _saved(Image.fromarray(grey), "PNG"),
        "palette.png": _saved(palette, "PNG", transparency=3),
        "palette.gif": _saved(palette, "GIF", transparency=3),
        "rgb.bmp": _saved(noise(), "BMP"),
        "palette.bmp": _saved(palette, "BMP"),
        "lossy.webp": _saved(noise(), "WEBP"),
        "lossless.webp": _saved(noise(), "WEBP", lossless=True),
        "alpha.webp": _saved(noise("RGBA"), "WEBP"),
        **{f"{mode}.tif".lower(): _saved(noise(mode), "TIFF") for mode in ("RGB", "RGBA", "L", "CMYK")},
        **{
            f"{compression}.tif": _saved(noise(), "TIFF", compression=compression)
            for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        },
        "16-bit.tif": _saved(Image.fromarray(grey), "TIFF"),
        "32-bit.tif": _saved(Image.fromarray(grey.astype(np.int32)), "TIFF"),
        "float.tif": _saved(Image.fromarray(grey.astype(np.float32)), "TIFF"),
        "rgb.avif": _saved(noise(), "AVIF"),
        "alpha.avif": _saved(noise("RGBA"), "AVIF"),
        "1x1.png": _saved(Image.new("RGB", (1, 1)), "PNG"),
        "1x30.png": _saved(Image.new("RGB", (1, 30)), "PNG"),
    }
    if "HEIF" in READABLE:
        good["rgb.heic"] = _saved(noise(), "HEIF")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        for format, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif")):
            good[f"turned-{orientation}.{suffix}"] = _saved(noise("L"), format, exif=exif)
    for format in ("GIF", "WEBP", "PNG", "AVIF", "TIFF"):
        frames = [noise() for _ in range(3)]
        name = f"animated.{format.lower()}"
        good[name] = _saved(frames[0], format, save_all=True, append_images=frames[1:], duration=50)
    good["jpeg-and-zip.zip"] = good["rgb.jpg"] + _zip()
    good["png-and-html.html"] = good["rgb.png"] + b"<html><script>alert(1)</script></html>"
    good["gif-and-js.js"] = good["palette.gif"] + b"*/=1;alert(1)"
    return [BadPicture(name, content, True) for name, content in good.items()]


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    # An AVIF sequence holds the time when it was made. Without zeros there, each run would give other bytes.
    return re.sub(
        rb"(?s)(mvhd|tkhd|mdhd)(\x01...).{16}", lambda box: box[1] + box[2] + bytes(16), file.getvalue()
    )


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.txt"), "no picture")
    return file.getvalue()


def _disguises() -> Iterator[BadPicture]:
    """Yields files that are no pictures or have a format that is not read, under misleading names."""
    small = Image.new("RGB", (16, 16), "red")
    jpeg = _saved(small, "JPEG")
    no_pictures = {
        "empty.jpg": b"",
        "one-byte.png": b"\x89",
        "text.jpg": b"just some words, no picture\n" * 50,
        "page.png": b"<!DOCTYPE html><html><body>404</body></html>",
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>',
        "paper.jpg": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
        "pdf-and-jpeg.jpg": b"%PDF-1.7\n1 0 obj\n<< >>\nstream\n" + jpeg + b"endstream\n",
        "html-and-jpeg.jpg": b"<!-- " + jpeg + b" --><script>alert(1)</script>",
        "archive.jpg": _zip(),
        "zeros.gif": bytes(5000),
        "only-a-header.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
        "only-a-header.avif": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(200),
        "only-a-header.webp": b"RIFF\xff\xff\xff\xffWEBPVP8X",
        "only-a-header.png": b"\x89PNG\r\n\x1a\n",
        "only-a-header.gif": b"GIF89a/*",
        "only-a-header.bmp": b"BM" + bytes(12),
        "only-a-header.tif": b"II*\0\x08\0\0\0",
        "only-a-header.jpg": b"\xff\xd8\xff\xe0",
        **{f"{format}.png".lower(): _saved(small, format) for format in ("ICO", "EPS", "PPM", "TGA", "PCX")},
    }
    for name, content in no_pictures.items():
        yield BadPicture(name, content, False)


@functools.cache
def _bombs() -> tuple[BadPicture, ...]:
    return tuple(_make_bombs())


def _make_bombs() -> Iterator[BadPicture]:
    """Yields small files that ask for much memory or time. Those that are still pictures must be read."""
    for width, height in [
        (2**31 - 1, 2**31 - 1),
        (2**31 - 1, 1),
        (65_535, 65_535),
        (20_000, 20_000),
        (1, 20_000),
    ]:
        yield BadPicture(f"header-says-{width}x{height}.png", png(width, height), False)
    yield BadPicture("bomb-13300x13300.png", png(13_300, 13_300, bytes(13_300 // 8 + 2)), False)
    yield BadPicture("bomb-20000x20000.png", png(20_000, 20_000, bytes(20_000 // 8 + 1)), False)
    yield BadPicture("narrow-1x20000.png", png(1, 20_000, bytes(2)), False)
    yield BadPicture("largest-1-bit.png", png(8000, 5000, bytes(1001)), True)
    yield BadPicture("largest-16-bit.png", png(8000, 5000, bytes(1 + 16_000), bits=16), True)
    yield BadPicture("largest-rgba.png", png(8000, 5000, bytes(1 + 32_000), bits=8, color_type=6), True)

    small = Image.new("RGB", (64, 64), "red")
    patches = [
        ("JPEG", b"\xff\xc0\0\x11\x08", 5, struct.pack(">HH", 65_500, 65_500)),
        ("GIF", b"GIF8", 6, struct.pack("<HH", 65_535, 65_535)),
        ("GIF", b"\0,\0\0\0\0", 6, struct.pack("<HH", 65_535, 65_535)),  # the frame's size, not the screen's
        ("BMP", b"BM", 18, struct.pack("<ii", 2**31 - 1, 2**31 - 1)),
        ("BMP", b"BM", 18, struct.pack("<ii", 20_000, -20_000)),
        ("TIFF", struct.pack("<HHLL", 256, 4, 1, 64), 8, struct.pack("<L", 2**32 - 1)),
        ("TIFF", struct.pack("<HHLL", 257, 4, 1, 64), 8, struct.pack("<L", 700_000)),
        ("WEBP", b"\x9d\x01\x2a", 3, struct.pack("<HH", 16_383, 16_383)),
        ("AVIF", b"ispe\0\0\0\0", 8, struct.pack(">LL", 65_535, 65_535)),
    ]
    for format, mark, offset, size in patches:
        content = bytearray(_saved(small, format))
        at = content.index(mark) + offset
        content[at : at + len(size)] = size
        yield BadPicture(f"header-says-{size.hex()}.{format.lower()}", bytes(content), False)
    canvas = b"VP8X" + struct.pack("<L", 10) + bytes(4) + b"\xff" * 6 + _saved(small, "WEBP")[12:]
    webp = b"RIFF" + struct.pack("<L", len(canvas) + 4) + b"WEBP" + canvas
    yield BadPicture("header-says-16777216x16777216.webp", webp, False)

    zeros = zlib.compress(bytes(1_000_000), 9)
    wide = zlib.compress(("\U0001f600" * 240_000).encode(), 9)
    texts = {
        "text": [(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000), 9))],
        "profile": [(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000), 9))],
        "texts": [(b"zTXt", b"%d\0\0" % number + zeros) for number in range(63)],
        "smileys": [(b"iTXt", b"%d\0\1\0\0\0" % number + wide) for number in range(100)],
    }
    for name, chunks in texts.items():
        yield BadPicture(f"bomb-of-{name}.png", png(8, 8, bytes(2), chunks=chunks), False)
    profile = b"a\0\0" + zlib.compress(random.Random(0).randbytes(1_500_000) + bytes(500_000))
    yield BadPicture("large-profile.png", png(8, 8, bytes(2), chunks=[(b"iCCP", profile)]), True)

    overlapping = b"II*\0" + _tags([(40_000 + number, 1, 59_999, 1) for number in range(4900)])
    segment = b"\xff\xe1" + struct.pack(">H", 60_008) + b"Exif\0\0" + overlapping.ljust(60_000, b"\0")
    jpeg = _saved(small, "JPEG")
    yield BadPicture("exif-of-300-mb.jpg", jpeg[:2] + segment + jpeg[2:], True)
    exif = overlapping.ljust(60_000, b"\0")
    yield BadPicture("exif-of-300-mb.png", png(8, 8, bytes(2), chunks=[(b"eXIf", exif)]), True)
    yield BadPicture(
        "tags-of-2-gb.tif", tiff([(40_000 + n, 1, 500_000, 8) for n in range(4000)], 500_000), None
    )
    for count in (300_000, 3_000_000):
        table = [(273, 3, count, 8), (278, 4, 1, 1), (279, 3, count, 8)]
        yield BadPicture(f"{count}-strips.tif", tiff(table, 2 * count), None)
    strips = [(273, 4, 1, 8), (278, 4, 1, 64), (279, 4, 1, 2**32 - 1)]
    yield BadPicture("strip-of-4-gb.tif", tiff(strips, 4096), None)
    tile = zlib.compress(bytes(10**8), 9)
    tags = [(259, 3, 1, 8), (322, 4, 1, 20_000), (323, 4, 1, 20_000), (324, 4, 1, 0), (325, 4, 1, len(tile))]
    start = len(tiff(tags, 0))
    tags[3] = (324, 4, 1, start)
    yield BadPicture("tile-of-400-mb.tif", tiff(tags, 0) + tile, False)
    many = b"".join(struct.pack("<HHQQ", number % 65_536, 3, 1, 1) for number in range(200_000))
    header = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 200_000)
    yield BadPicture("200000-tags.tif", header + many + bytes(8), False)
    circle = bytearray(_saved(small, "TIFF", save_all=True, append_images=[small]))
    (count,) = struct.unpack_from("<H", circle, 8)
    struct.pack_into("<L", circle, 10 + 12 * count, 8)
    yield BadPicture("pages-in-a-circle.tif", bytes(circle), True)

    yield BadPicture("2000-scans.jpg", scans_bomb(), False)


def scans_bomb() -> bytes:
    """Returns a JPEG of 4000 x 4000 pixels that repeats its shortest scan 2000 times.

    The scan has 30 bytes and costs 10 ms each time.
    """
    jpeg = _saved(Image.new("L", (4000, 4000)), "JPEG", progressive=True, quality=30)
    shortest = min(jpeg[:-2].split(b"\xff\xda")[1:], key=len)
    return jpeg[:-2] + (b"\xff\xda" + shortest) * 2000 + b"\xff\xd9"


def png(
    width: int,
    height: int,
    row: bytes = b"",
    *,
    bits: int = 1,
    color_type: int = 0,
    chunks: list[tuple[bytes, bytes]] | None = None,
) -> bytes:
    """Returns a PNG made by hand: its header holds the arguments, and all its rows, if any, are `row`."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(height if row else 0)) + packer.flush()
    parts = [(b"IHDR", header), *(chunks or []), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(tags: list[tuple[int, int, int, int]], room: int) -> bytes:
    """Returns a grey TIFF of 64 x 64 pixels made by hand, with these tags added.

    Args:
        tags: The number, the type, the count, and the value or offset of each tag. A tag with the number of a
            usual tag replaces the usual tag.
        room: The number of zeros at the end of the file. Tags can point at them.
    """
    own = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    own += [(273, 4, 1, 8), (278, 4, 1, 64), (279, 4, 1, 4096)]
    told = {tag[0] for tag in tags}
    if 324 in told:  # the picture has tiles, so it has no strips
        told |= {273, 278, 279}
    return b"II*\0" + _tags([tag for tag in own if tag[0] not in told] + tags) + bytes(room + 4096)


def _tags(tags: list[tuple[int, int, int, int]]) -> bytes:
    packed = b"".join(struct.pack("<HHLL", *tag) for tag in sorted(tags))
    return struct.pack("<LH", 8, len(tags)) + packed + bytes(4)


def _folder(folder: Path) -> Iterator[BadPicture]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield BadPicture(path.name, path.read_bytes(), None)


def _read_all(cases: Iterator[BadPicture]) -> dict[str, object]:
    """Writes every case to a file and reads the file. Returns the counts of the outcomes and the costs."""
    counts = dict.fromkeys(("cases", "read", "refused", "untyped", "wrong"), 0)
    slowest, slowest_name = 0.0, ""
    idle_kb = _memory_kb("VmRSS")
    decoding = client()
    decoding.measures = True
    with tempfile.TemporaryDirectory() as folder:
        print(folder, flush=True)
        path = Path(folder, "photo")
        path.write_bytes(png(1, 1, bytes(2)))
        read_photo(path)
        idle_child_kb = decoding.peak_kb
        for name, content, valid in cases:
            counts["cases"] += 1
            path.write_bytes(content)
            del content  # this memory must not count as the reader's
            start = time.perf_counter()
            try:
                read_photo(path)
                outcome = "read"
            except ImageError:
                outcome = "refused"
            except Exception:
                outcome = "untyped"
                print(name, traceback.format_exc(), flush=True)
            seconds = time.perf_counter() - start
            counts[outcome] += 1
            if valid is not None and outcome != ("read" if valid else "refused"):
                counts["wrong"] += 1
                print(name, "was", outcome, flush=True)
            if seconds > slowest:
                slowest, slowest_name = seconds, name
    return {
        **counts,
        "crashes": 0,  # after a crash this line is not reached
        "slowest_seconds": round(slowest, 3),
        "slowest": slowest_name,
        "peak_mb_over_idle": round((_memory_kb("VmHWM") - idle_kb + decoding.peak_kb - idle_child_kb) / 1024),
    }


def _memory_kb(name: str) -> int:
    """Returns a field of /proc/self/status in kB.

    The peak of `getrusage` would start at the memory of the parent process, because the parent forks.
    """
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Reads bad pictures, and counts the outcomes.")
    parser.add_argument("--count", type=int, default=10_000, help="number of files to make")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same files")
    parser.add_argument("--folder", type=Path, help="read the files in this folder instead")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow warns about parts that it skips
    Image.init()
    cases = _folder(options.folder) if options.folder else bad_pictures(options.seed, options.count)
    print(json.dumps(_read_all(cases)))


if __name__ == "__main__":
    main()
