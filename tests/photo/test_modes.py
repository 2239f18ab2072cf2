"""Modes: every kind of pixel in every format is read as what was written, or refused with the true reason.

Pillow writes most files. tifffile writes the TIFFs that Pillow cannot write, and some files are made by hand.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from photo import colours, decoder
from photo.errors import ImageError
from photo.formats import READABLE
from photo.images import Photo
from tests.photo.test_colours import power, rgb_profile
from tests.photo.test_images import decoded
from tests.samples import random_image

HEIGHT, WIDTH = 48, 64
Y, X = np.mgrid[:HEIGHT, :WIDTH]
RGB = np.stack([X * 4, Y * 5, 255 - X * 2 - Y * 2], axis=2).astype(np.uint8)
GREY = RGB[..., 0]
ALPHA = ((X * 4 + Y) % 256).astype(np.uint8)
RGB_16, GREY_16, ALPHA_16 = (array.astype(np.uint16) * 257 for array in (RGB, GREY, ALPHA))


def grey_as_rgb(grey: NDArray) -> NDArray:
    return np.stack([grey] * 3, axis=2)


def over_white(rgb: NDArray, alpha: NDArray) -> NDArray:
    part = alpha[..., np.newaxis] / 255
    return rgb * part + 255 * (1 - part)


@pytest.fixture
def photo_of(tmp_path: Path) -> Callable[..., Photo]:
    """Reads a photo from bytes, in this process."""

    def photo_of(content: bytes, longest_side: float = math.inf) -> Photo:
        path = tmp_path / "photo"
        path.write_bytes(content)
        return decoded(path, longest_side)

    return photo_of


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def picture(mode: str) -> Image.Image:
    """Returns the chart in a mode of Pillow's."""
    rgb, grey, alpha = (Image.fromarray(array) for array in (RGB, GREY, ALPHA))
    if mode == "LA":
        return Image.merge("LA", [grey, alpha])
    if mode == "RGBA":
        return Image.merge("RGBA", [*rgb.split(), alpha])
    if mode == "P":
        return rgb.quantize(200)
    if mode == "PA":
        image = rgb.quantize(200).convert("PA")
        image.putalpha(alpha)
        return image
    if mode == "I;16":
        return Image.fromarray(GREY_16)
    if mode == "I;16B":
        return Image.fromarray(GREY_16.astype(">u2"))
    if mode == "I":
        return Image.fromarray(GREY.astype(np.int32) * 1000 - 100_000)
    if mode == "F":
        return Image.fromarray((GREY / 255).astype(np.float32))
    if mode == "LAB":
        return Image.merge("LAB", [grey, *[Image.new("L", grey.size, 128)] * 2])
    return grey.convert(mode) if mode in ("1", "L") else rgb.convert(mode)


def expected(image: Image.Image) -> NDArray:
    """What a person sees in an image, as floats."""
    if image.mode in ("LA", "PA", "RGBA"):
        return over_white(np.asarray(image.convert("RGBA"))[..., :3], np.asarray(image.getchannel("A")))
    if image.mode in ("I;16", "I;16B", "F"):
        return grey_as_rgb(GREY)
    if image.mode == "I":
        return grey_as_rgb(GREY * (255 / GREY.max()))
    if image.mode == "LAB":
        lightness = GREY / 255 * 100
        light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness * 27 / 24389)
        return grey_as_rgb(
            255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        )
    return np.asarray(image.convert("RGB"), np.float64)


TIFF_MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"]
WRITTEN: dict[str, tuple[str, dict[str, Any], list[str], float]] = {
    "PNG": ("PNG", {}, ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"], 0),
    "TIFF": ("TIFF", {}, [*TIFF_MODES, "I;16B"], 0),
    "TIFF LZW": ("TIFF", {"compression": "tiff_lzw"}, TIFF_MODES, 0),
    "TIFF Deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}, TIFF_MODES, 0),
    "TIFF PackBits": ("TIFF", {"compression": "packbits"}, TIFF_MODES, 0),
    "TIFF JPEG": (
        "TIFF",
        {"compression": "jpeg", "quality": 95},
        ["L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"],
        4,
    ),
    "TIFF CCITT group 4": ("TIFF", {"compression": "group4"}, ["1"], 0),
    "BigTIFF": ("TIFF", {"big_tiff": True}, TIFF_MODES, 0),
    "JPEG": ("JPEG", {"quality": 95, "subsampling": 0}, ["1", "L", "RGB", "RGBX", "CMYK", "YCbCr"], 6),
    "progressive JPEG": ("JPEG", {"quality": 95, "progressive": True}, ["L", "RGB", "CMYK", "YCbCr"], 12),
    "lossless WebP": (
        "WEBP",
        {"lossless": True, "exact": True},
        ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"],
        0,
    ),
    "WebP": ("WEBP", {"quality": 95}, ["L", "LA", "P", "RGB", "RGBA", "CMYK"], 24),
    "GIF": ("GIF", {}, ["1", "L", "P"], 0),
    "BMP": ("BMP", {}, ["1", "L", "P", "RGB"], 0),
    "AVIF": (
        "AVIF",
        {"quality": 100, "subsampling": "4:4:4"},
        ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK"],
        4,
    ),
    "grey AVIF": ("AVIF", {"quality": 100, "subsampling": "4:0:0"}, ["1", "L", "LA"], 4),
    "HEIC": (
        "HEIF",
        {"quality": 100, "chroma": 444},
        ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"],
        5,
    ),
}
"""For each kind of file: Pillow's format, its options, its modes, and the largest difference."""


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, row in WRITTEN.items() for mode in row[2]])
def test_every_mode_in_every_format_is_read_as_what_was_written(kind: str, mode: str, photo_of) -> None:
    format, options, _, tolerance = WRITTEN[kind]
    if format not in READABLE:
        pytest.skip("pillow_heif is not installed")
    image = picture(mode)
    photo = photo_of(saved(image, format, **options))
    assert photo.notes == ()
    if mode in ("YCbCr", "LAB", "LA", "PA", "RGBA"):
        tolerance += 1.5  # rounding
    np.testing.assert_allclose(photo.pixels, expected(image), atol=tolerance + 0.5)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_gif_of_many_colours_is_read_as_its_palette_has_them(mode: str, photo_of) -> None:
    content = saved(picture(mode), "GIF")
    stored = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))
    np.testing.assert_array_equal(photo_of(content).pixels, over_white(stored[..., :3], stored[..., 3]))


def tiff_of(array: NDArray, photometric: str, **options: Any) -> bytes:
    """Returns a TIFF that tifffile writes."""
    file = io.BytesIO()
    with tifffile.TiffWriter(
        file, bigtiff=options.pop("bigtiff", False), byteorder=options.pop("byteorder", "<")
    ) as writer:
        writer.write(array, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def planes(array: NDArray) -> NDArray:
    return np.moveaxis(array, -1, 0)


STRAIGHT, ASSOCIATED = {"extrasamples": ["unassalpha"]}, {"extrasamples": ["assocalpha"]}
APART, TILED, DEFLATE = {"planarconfig": "separate"}, {"tile": (16, 16)}, {"compression": "zlib"}
TOGETHER = {"planarconfig": "contig"}
FLOAT_RGB, FLOAT_GREY, FLOAT_ALPHA = (array.astype(np.float32) / 255 for array in (RGB, GREY, ALPHA))
OVER_WHITE = over_white(RGB, ALPHA)
GREY_RGB, GREY_OVER_WHITE = grey_as_rgb(GREY), over_white(grey_as_rgb(GREY), ALPHA)
PREMULTIPLIED = (RGB_16 * (ALPHA[..., np.newaxis] / 255)).round().astype(np.uint16)
STRETCHED = grey_as_rgb(GREY * (255 / GREY.max()))
"""Grey values that are scaled by their own extremes."""
INKS_16 = 65535 - np.dstack([RGB_16, np.full_like(GREY_16, 65535)])
RARE: dict[str, tuple[bytes, NDArray]] = {
    "16 bits, planes": (tiff_of(planes(RGB_16), "rgb", **APART), RGB),
    "16 bits, planes, big endian": (tiff_of(planes(RGB_16), "rgb", byteorder=">", **APART), RGB),
    "16 bits, planes, tiles": (tiff_of(planes(RGB_16), "rgb", **APART, **TILED), RGB),
    "16 bits, planes, Deflate": (tiff_of(planes(RGB_16), "rgb", **APART, **DEFLATE), RGB),
    "16 bits, planes, BigTIFF": (tiff_of(planes(RGB_16), "rgb", bigtiff=True, **APART), RGB),
    "16 bits, planes, alpha": (
        tiff_of(planes(np.dstack([RGB_16, ALPHA_16])), "rgb", **APART, **STRAIGHT),
        OVER_WHITE,
    ),
    "16 bits": (tiff_of(RGB_16, "rgb"), RGB),
    "16 bits, big endian": (tiff_of(RGB_16, "rgb", byteorder=">"), RGB),
    "16 bits, tiles": (tiff_of(RGB_16, "rgb", **TILED), RGB),
    "16 bits, Deflate": (tiff_of(RGB_16, "rgb", **DEFLATE), RGB),
    "16 bits, alpha": (tiff_of(np.dstack([RGB_16, ALPHA_16]), "rgb", **STRAIGHT), OVER_WHITE),
    "16 bits, associated alpha": (
        tiff_of(np.dstack([PREMULTIPLIED, ALPHA_16]), "rgb", **ASSOCIATED),
        OVER_WHITE,
    ),
    "16 bits, a fourth sample": (
        tiff_of(np.dstack([RGB_16, ALPHA_16]), "rgb", extrasamples=["unspecified"]),
        RGB,
    ),
    "16 bits, six samples": (tiff_of(np.dstack([RGB_16, RGB_16]), "rgb"), RGB),
    "8 bits, associated alpha": (
        tiff_of(np.dstack([PREMULTIPLIED // 257, ALPHA]).astype(np.uint8), "rgb", **ASSOCIATED),
        OVER_WHITE,
    ),
    "8 bits, a fourth sample": (tiff_of(np.dstack([RGB, ALPHA]), "rgb", extrasamples=["unspecified"]), RGB),
    "8 bits, planes": (tiff_of(planes(RGB), "rgb", **APART), RGB),
    "8 bits, planes, Deflate": (tiff_of(planes(RGB), "rgb", **APART, **DEFLATE), RGB),
    "8 bits, planes, tiles": (tiff_of(planes(RGB), "rgb", **APART, **TILED), RGB),
    "8 bits, planes, alpha": (
        tiff_of(planes(np.dstack([RGB, ALPHA])), "rgb", **APART, **STRAIGHT),
        OVER_WHITE,
    ),
    "8 bits, tiles": (tiff_of(RGB, "rgb", **TILED), RGB),
    "8 bits, tiles beyond the edge": (tiff_of(RGB, "rgb", tile=(32, 48)), RGB),
    "8 bits, BigTIFF": (tiff_of(RGB, "rgb", bigtiff=True), RGB),
    "8 bits, BigTIFF, big endian": (tiff_of(RGB, "rgb", bigtiff=True, byteorder=">"), RGB),
    "grey": (tiff_of(GREY, "minisblack"), GREY_RGB),
    "grey, white is 0": (tiff_of(255 - GREY, "miniswhite"), GREY_RGB),
    "grey, five samples": (tiff_of(np.dstack([GREY] * 5), "minisblack", **TOGETHER), GREY_RGB),
    "grey of 16 bits, big endian": (tiff_of(GREY_16, "minisblack", byteorder=">"), GREY_RGB),
    "grey of 16 bits, tiles": (tiff_of(GREY_16, "minisblack", **TILED), GREY_RGB),
    "grey of 16 bits, BigTIFF": (tiff_of(GREY_16, "minisblack", bigtiff=True), GREY_RGB),
    "grey of 16 bits, white is 0": (tiff_of(65535 - GREY_16, "miniswhite"), GREY_RGB),
    "grey of 16 bits, alpha": (
        tiff_of(np.dstack([GREY_16, ALPHA_16]), "minisblack", **TOGETHER, **STRAIGHT),
        GREY_OVER_WHITE,
    ),
    "grey of 16 bits, associated alpha": (
        tiff_of(np.dstack([PREMULTIPLIED[..., 0], ALPHA_16]), "minisblack", **TOGETHER, **ASSOCIATED),
        GREY_OVER_WHITE,
    ),
    "float": (tiff_of(FLOAT_RGB, "rgb"), RGB),
    "float, Deflate": (tiff_of(FLOAT_RGB, "rgb", **DEFLATE), RGB),
    "float, planes": (tiff_of(planes(FLOAT_RGB), "rgb", **APART), RGB),
    "float, BigTIFF": (tiff_of(FLOAT_RGB, "rgb", bigtiff=True), RGB),
    "float, alpha": (tiff_of(np.dstack([FLOAT_RGB, FLOAT_ALPHA]), "rgb", **STRAIGHT), OVER_WHITE),
    "float of 16 bits": (tiff_of(FLOAT_RGB.astype(np.float16), "rgb"), RGB),
    "float of 64 bits": (tiff_of(FLOAT_RGB.astype(np.float64), "rgb"), RGB),
    "grey float, big endian": (tiff_of(FLOAT_GREY, "minisblack", byteorder=">"), GREY_RGB),
    "grey float of 16 bits": (tiff_of(FLOAT_GREY.astype(np.float16), "minisblack"), GREY_RGB),
    "grey float of 64 bits": (tiff_of(FLOAT_GREY.astype(np.float64), "minisblack"), GREY_RGB),
    "grey float, white is 0": (tiff_of(1 - FLOAT_GREY, "miniswhite"), GREY_RGB),
    "grey float, alpha": (
        tiff_of(np.dstack([FLOAT_GREY, FLOAT_ALPHA]), "minisblack", **TOGETHER, **STRAIGHT),
        GREY_OVER_WHITE,
    ),
    "signed 8 bits": (tiff_of((GREY.astype(int) - 128).astype(np.int8), "minisblack"), STRETCHED),
    "signed 16 bits": (tiff_of((GREY.astype(int) * 100 - 12_000).astype(np.int16), "minisblack"), STRETCHED),
    "signed 16 bits, big endian": (
        tiff_of((GREY.astype(int) * 100 - 12_000).astype(np.int16), "minisblack", byteorder=">"),
        STRETCHED,
    ),
    "signed 32 bits": (tiff_of(GREY.astype(np.int32) * 1000 - 100_000, "minisblack"), STRETCHED),
    "32 bits": (tiff_of(GREY.astype(np.uint32) * 16_843_009, "minisblack"), STRETCHED),
    "32 bits, big endian": (
        tiff_of(GREY.astype(np.uint32) * 16_843_009, "minisblack", byteorder=">"),
        STRETCHED,
    ),
    "64 bits": (tiff_of(GREY.astype(np.uint64) * 1000, "minisblack"), STRETCHED),
    "RGB of signed 16 bits": (tiff_of((RGB.astype(int) * 100 - 12_000).astype(np.int16), "rgb"), RGB),
    "RGB of signed 8 bits": (tiff_of((RGB.astype(int) - 128).astype(np.int8), "rgb"), RGB),
    "CMYK": (tiff_of((INKS_16 // 257).astype(np.uint8), "separated"), RGB),
    "CMYK, planes": (tiff_of(planes((INKS_16 // 257).astype(np.uint8)), "separated", **APART), RGB),
    "CMYK of 16 bits": (tiff_of(INKS_16, "separated"), RGB),
    "black and white": (tiff_of(GREY > 100, "minisblack"), grey_as_rgb((GREY > 100) * 255)),
    "black and white, white is 0": (tiff_of(GREY <= 100, "miniswhite"), grey_as_rgb((GREY > 100) * 255)),
    "two pages": (tiff_of(np.stack([GREY, 255 - GREY]), "minisblack"), GREY_RGB),
}
"""TIFFs that Pillow cannot write, and what a person sees in them."""


@pytest.mark.parametrize("kind", RARE)
def test_rare_tiffs_are_read_as_what_was_written(kind: str, photo_of) -> None:
    content, seen = RARE[kind]
    photo = photo_of(content)
    assert photo.notes == ()
    tolerance = 2 if "alpha" in kind else 1 if "signed 16 bits" in kind or "signed 8" in kind else 0.5
    np.testing.assert_allclose(photo.pixels, seen, atol=tolerance)


@pytest.mark.parametrize("kind", ["16 bits, planes, alpha", "float, alpha", "grey of 16 bits, white is 0"])
def test_rare_tiffs_are_read_at_a_smaller_size_in_the_same_way(kind: str, photo_of) -> None:
    content, _ = RARE[kind]
    whole = Image.fromarray(photo_of(content).pixels)
    smaller = np.asarray(whole.resize((16, 12), Image.Resampling.BILINEAR), int)
    np.testing.assert_allclose(photo_of(content, 16).pixels, smaller, atol=1)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda a: tiff_of(a, "rgb"), id="RGB"),
        pytest.param(lambda a: tiff_of(planes(a), "rgb", **APART), id="planes"),
        pytest.param(
            lambda a: tiff_of(np.dstack([a, np.full_like(GREY_16, 65535)]), "rgb", **STRAIGHT), id="RGBA"
        ),
        pytest.param(lambda a: tiff_of(a[..., 0], "minisblack"), id="grey"),
        pytest.param(lambda a: tiff_of(a[..., 0], "minisblack", byteorder=">"), id="grey, big endian"),
        pytest.param(lambda a: cv2.imencode(".png", a[..., ::-1])[1].tobytes(), id="PNG"),
        pytest.param(lambda a: saved(Image.fromarray(a[..., 0].copy()), "PNG"), id="grey PNG"),
    ],
)
def test_values_of_fewer_bits_than_their_16_come_out_at_full_brightness(bits, write, photo_of) -> None:
    photo = photo_of(write(RGB_16 >> (16 - bits)))
    grey = (photo.pixels == photo.pixels[..., :1]).all()
    np.testing.assert_allclose(photo.pixels, GREY_RGB if grey else RGB, atol=1)
    assert photo.notes == (f"The picture fills {bits} of its 16 bits; it was scaled to full brightness.",)


def packed(values: NDArray, bits: int) -> bytes:
    """Values of so many bits, without gaps. Each row starts at a whole byte."""
    rows = []
    for row in values.reshape(len(values), -1):
        text = "".join(f"{int(value):0{bits}b}" for value in row)
        rows.append(int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8)))
    return b"".join(rows)


def lzw(content: bytes) -> bytes:
    """LZW as in TIFF, without a single repetition."""
    codes = [[256, *content[start : start + 200]] for start in range(0, len(content), 200)]
    text = "".join(f"{code:09b}" for part in [*codes, [257]] for code in part)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))


def tiff_by_hand(data: bytes | Sequence[bytes], **tags: int | Sequence[int]) -> bytes:
    """Returns a TIFF of the chart's size with these strips. The tags' names are keys of `TAGS`."""
    strips = [data] if isinstance(data, bytes) else list(data)
    values: dict[int, Sequence[int]] = {256: [WIDTH], 257: [HEIGHT], 278: [HEIGHT]}
    values |= {TAGS[name]: [value] if isinstance(value, int) else value for name, value in tags.items()}
    values |= {273: [0] * len(strips), 279: [len(strip) for strip in strips]}
    start = 8 + 2 + 12 * len(values) + 4
    for _ in range(2):  # the offsets of the strips are known after the first round
        entries, rest = b"", b""
        for tag in sorted(values):
            kind = "I" if tag in (273, 279) else "H"
            content = struct.pack(f"<{len(values[tag])}{kind}", *values[tag])
            entries += struct.pack("<HHI", tag, 4 if kind == "I" else 3, len(values[tag]))
            entries += content.ljust(4, b"\0") if len(content) <= 4 else struct.pack("<I", start + len(rest))
            rest += content if len(content) > 4 else b""
        ends = np.cumsum([start + len(rest), *(len(strip) for strip in strips)])
        values[273] = [int(end) for end in ends[:-1]]
    return struct.pack("<2sHIH", b"II", 42, 8, len(values)) + entries + bytes(4) + rest + b"".join(strips)


TAGS = {"bits": 258, "compression": 259, "kind": 262, "samples": 277, "planes": 284, "colours": 320,
        "extra": 338, "format": 339, "subsampling": 530}  # fmt: skip
GREY_KIND, RGB_KIND, PALETTE_KIND, YCBCR_KIND = 1, 2, 3, 6
LZW, PACKBITS = 5, 32773


@pytest.mark.parametrize("white_is_0", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14])
def test_grey_of_any_number_of_bits_is_read(bits: int, white_is_0: bool, photo_of) -> None:
    highest = 2**bits - 1
    values = GREY.astype(int) * highest // 255
    content = tiff_by_hand(
        packed(highest - values if white_is_0 else values, bits),
        bits=bits, compression=1, kind=0 if white_is_0 else GREY_KIND, samples=1,
    )  # fmt: skip
    np.testing.assert_allclose(photo_of(content).pixels, grey_as_rgb(values * 255 / highest), atol=0.51)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_of_any_size_is_read(bits: int, photo_of) -> None:
    palette = random_image(3, 1, 2**bits)[0]
    values = GREY.astype(int) * (2**bits - 1) // 255
    content = tiff_by_hand(
        packed(values, bits),
        bits=bits, compression=1, kind=PALETTE_KIND, samples=1,
        colours=(palette.T.astype(int) * 257).ravel().tolist(),
    )  # fmt: skip
    np.testing.assert_array_equal(photo_of(content).pixels, palette[values])


FLOATS = {"bits": [32] * 3, "compression": LZW, "kind": RGB_KIND, "samples": 3, "format": [3] * 3}
WORDS = {"bits": [16] * 3, "compression": LZW, "kind": RGB_KIND, "samples": 3}
BY_HAND: dict[str, tuple[bytes, NDArray]] = {
    "float, LZW": (tiff_by_hand(lzw(FLOAT_RGB.astype("<f4").tobytes()), **FLOATS), RGB),
    "float, alpha, LZW": (
        tiff_by_hand(
            lzw(np.dstack([FLOAT_RGB, FLOAT_ALPHA]).astype("<f4").tobytes()),
            **FLOATS | {"bits": [32] * 4, "samples": 4, "format": [3] * 4, "extra": 2},
        ),
        OVER_WHITE,
    ),
    "16 bits, LZW": (tiff_by_hand(lzw(RGB_16.tobytes()), **WORDS), RGB),
    "16 bits, alpha, LZW": (
        tiff_by_hand(
            lzw(np.dstack([RGB_16, ALPHA_16]).tobytes()),
            **WORDS | {"bits": [16] * 4, "samples": 4, "extra": 2},
        ),
        OVER_WHITE,
    ),
    "16 bits, associated alpha, LZW": (
        tiff_by_hand(
            lzw(np.dstack([PREMULTIPLIED, ALPHA_16]).tobytes()),
            **WORDS | {"bits": [16] * 4, "samples": 4, "extra": 1},
        ),
        OVER_WHITE,
    ),
    "grey of 16 bits, white is 0, LZW": (
        tiff_by_hand(lzw((65535 - GREY_16).tobytes()), bits=16, compression=LZW, kind=0, samples=1),
        GREY_RGB,
    ),
    "8 bits, planes, LZW": (
        tiff_by_hand(
            [lzw(RGB[..., channel].tobytes()) for channel in range(3)],
            bits=[8] * 3, compression=LZW, kind=RGB_KIND, samples=3, planes=2,
        ),
        RGB,
    ),
    "signed 8 bits, PackBits": (
        tiff_by_hand(
            b"".join(bytes([WIDTH - 1]) + (row.astype(int) - 128).astype(np.int8).tobytes() for row in GREY),
            bits=8, compression=PACKBITS, kind=GREY_KIND, samples=1, format=2,
        ),
        STRETCHED,
    ),
    "YCbCr, not compressed": (
        tiff_by_hand(
            np.asarray(picture("YCbCr")).tobytes(),
            bits=[8] * 3, compression=1, kind=YCBCR_KIND, samples=3, subsampling=[1, 1],
        ),
        RGB,
    ),
    "RGB of 12 bits without gaps": (
        tiff_by_hand(packed(RGB_16 >> 4, 12), bits=[12] * 3, compression=1, kind=RGB_KIND, samples=3),
        RGB,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BY_HAND)
def test_tiffs_made_by_hand_are_read_as_what_was_written(kind: str, photo_of) -> None:
    content, seen = BY_HAND[kind]
    tolerance = 3 if "YCbCr" in kind else 2 if "alpha" in kind else 1
    np.testing.assert_allclose(photo_of(content).pixels, seen, atol=tolerance)


CFA_TAGS = [(33421, "H", 2, (2, 2)), (33422, "B", 4, bytes([0, 1, 1, 2]))]
DNG_VERSION = (50706, "B", 4, bytes([1, 4, 0, 0]))
REFUSED: dict[str, tuple[bytes, str]] = {
    "16 bits, planes, LZW": (
        tiff_by_hand([lzw(RGB_16[..., channel].tobytes()) for channel in range(3)], **WORDS, planes=2),
        "16-bit unsigned numbers, each colour apart, compression LZW",
    ),
    "JPEG 2000": (
        tiff_by_hand(RGB.tobytes(), bits=[8] * 3, compression=34712, kind=RGB_KIND, samples=3),
        "compression JPEG2000",
    ),
    "24 bits": (
        tiff_by_hand(packed(GREY_16.astype(int), 24), bits=24, compression=1, kind=GREY_KIND, samples=1),
        "24-bit unsigned numbers",
    ),
    "RGB of 4 bits": (
        tiff_by_hand(packed(RGB >> 4, 4), bits=[4] * 3, compression=1, kind=RGB_KIND, samples=3),
        "4-bit unsigned numbers",
    ),
    "complex": (tiff_of(GREY.astype(np.complex64), "minisblack"), "64-bit complex numbers"),
    "Lab of 16 bits": (
        tiff_of(np.dstack([GREY_16, GREY_16, GREY_16]), "cielab"),
        "16-bit unsigned numbers, colours as CIELAB",
    ),
    "a palette of 16 bits": (
        tiff_by_hand(
            GREY_16.tobytes(), bits=16, compression=1, kind=PALETTE_KIND, samples=1, colours=[0] * 3 * 65536
        ),
        "colours as PALETTE",
    ),
    "a mosaic": (tiff_of(GREY_16, "cfa", extratags=CFA_TAGS), r"a camera's raw picture"),
    "linear raw values": (tiff_of(RGB_16, "linear_raw", extratags=[DNG_VERSION]), r"a camera's raw picture"),
    "cut off": (tiff_of(planes(RGB_16), "rgb", **APART)[:-3000], "damaged or incomplete"),
    "cut off, Deflate": (tiff_of(planes(RGB_16), "rgb", **APART, **DEFLATE)[:-100], "damaged or incomplete"),
    "cut off, float": (tiff_of(FLOAT_RGB, "rgb")[:-3000], "damaged or incomplete"),
    "cut off, 16 bits": (tiff_of(RGB_16, "rgb")[:-3000], "damaged or incomplete"),
    "cut off, grey of 16 bits": (tiff_of(GREY_16, "minisblack")[:-3000], "damaged or incomplete"),
}
"""TIFFs that are not read, and what the refusal says."""


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read_is_refused_with_the_true_reason(kind: str, photo_of) -> None:
    content, reason = REFUSED[kind]
    with pytest.raises(ImageError, match=reason) as caught:
        photo_of(content)
    assert "TIFF" not in str(caught.value).partition("Please")[2]  # it is one already


def with_preview(
    full: NDArray, photometric: str = "rgb", *, sub: bool, dng: bool = False, bigtiff: bool = False,
    kind: int = 1, **options: Any,
) -> bytes:  # fmt: skip
    """Returns a TIFF whose first picture is small, and whose full picture is its second one or its SubIFD."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=bigtiff) as writer:
        writer.write(
            np.zeros((12, 16, 3), np.uint8), photometric="rgb", subfiletype=kind, metadata=None,
            subifds=1 if sub else 0, extratags=[DNG_VERSION] if dng else [],
        )  # fmt: skip
        writer.write(full, photometric=photometric, subfiletype=0, metadata=None, **options)
    return file.getvalue()


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("sub", [False, True])
def test_a_tiff_whose_first_picture_is_a_preview_shows_its_full_picture(sub, bigtiff, photo_of) -> None:
    np.testing.assert_array_equal(photo_of(with_preview(RGB, sub=sub, bigtiff=bigtiff)).pixels, RGB)
    np.testing.assert_array_equal(photo_of(with_preview(RGB_16, sub=sub, bigtiff=bigtiff)).pixels, RGB)
    content = with_preview(planes(RGB_16), sub=sub, bigtiff=bigtiff, **APART)
    np.testing.assert_array_equal(photo_of(content).pixels, RGB)


@pytest.mark.parametrize("full", [RGB, RGB_16, planes(RGB_16)], ids=["8 bits", "16 bits", "planes"])
def test_a_picture_below_the_first_has_its_orientation_and_its_colours(full, photo_of) -> None:
    profile, turned = rgb_profile("Adobe", power(563 / 256)), (274, "H", 1, 6, True)
    options = APART if full.shape[0] == 3 else {}

    def below(first: list[Any], second: list[Any]) -> Photo:
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            writer.write(
                np.zeros((12, 16, 3), np.uint8), photometric="rgb", subfiletype=1, metadata=None, subifds=1,
                extratags=first,
            )  # fmt: skip
            writer.write(full, photometric="rgb", metadata=None, extratags=second, **options)
        return photo_of(file.getvalue())

    icc = (34675, 7, len(profile), profile, True)
    plain, adobe = below([], []), below([], [icc])
    assert not np.array_equal(plain.pixels, adobe.pixels)
    np.testing.assert_array_equal(below([icc], []).pixels, adobe.pixels)
    np.testing.assert_array_equal(below([turned], []).pixels, np.rot90(plain.pixels, -1))
    upright = (274, "H", 1, 1, True)
    np.testing.assert_array_equal(below([turned], [upright]).pixels, plain.pixels)


def test_a_larger_picture_below_the_first_is_the_full_one_though_the_first_is_not_called_a_preview(
    photo_of,
) -> None:
    np.testing.assert_array_equal(photo_of(with_preview(RGB, sub=True, kind=0)).pixels, RGB)


def test_a_picture_with_smaller_copies_below_it_is_shown_itself(photo_of) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(RGB, photometric="rgb", metadata=None, subifds=2)
        for step in (2, 4):
            writer.write(255 - RGB[::step, ::step], photometric="rgb", metadata=None, subfiletype=1)
    np.testing.assert_array_equal(photo_of(file.getvalue()).pixels, RGB)


def test_the_first_page_of_several_is_shown_though_a_later_one_is_larger(photo_of) -> None:
    assert photo_of(with_preview(RGB, sub=False, kind=0)).size == (12, 16)


def test_a_tiff_whose_only_picture_is_called_a_preview_shows_it(photo_of) -> None:
    np.testing.assert_array_equal(photo_of(tiff_of(RGB, "rgb", subfiletype=1)).pixels, RGB)


def test_a_mask_is_not_the_full_picture(photo_of) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(RGB[::4, ::4], photometric="rgb", metadata=None, subfiletype=1)
        writer.write(np.full((99, 99), True), photometric="mask", metadata=None, subfiletype=4)
        writer.write(RGB, photometric="rgb", metadata=None, subfiletype=0)
    np.testing.assert_array_equal(photo_of(file.getvalue()).pixels, RGB)


@pytest.mark.parametrize("dng", [False, True])
def test_a_preview_of_a_raw_picture_is_never_shown_for_it(dng: bool, photo_of) -> None:
    mosaic = with_preview(GREY_16, "cfa", sub=True, dng=dng, extratags=CFA_TAGS)
    linear = with_preview(RGB_16, "linear_raw", sub=True, dng=dng)
    for content in (mosaic, linear):
        with pytest.raises(ImageError, match="a camera's raw picture" if dng else "holds a small preview"):
            photo_of(content)
    with pytest.raises(ImageError, match="a camera's raw picture"):
        photo_of(tiff_of(RGB, "rgb", subfiletype=1, extratags=[DNG_VERSION]))


def png(values: NDArray, bits: int, *chunks: tuple[bytes, bytes], kind: int | None = None) -> bytes:
    """Returns a PNG of (H, W) grey or (H, W, 3) RGB values, with chunks before its pixels."""
    if kind is None:
        kind = 0 if values.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, kind, 0, 0, 0)
    rows = b"".join(b"\0" + packed(row[np.newaxis], bits) for row in values)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


@pytest.mark.parametrize("length", [0, 3, 5])
@pytest.mark.parametrize("name", [b"gAMA", b"cHRM", b"sRGB", b"pHYs"])
def test_a_png_chunk_of_a_wrong_length_is_ignored_with_a_note(name: bytes, length: int, photo_of) -> None:
    grey = np.arange(32).reshape(4, 8) * 8
    photo = photo_of(png(grey, 8, (b"tEXt", b"a\0b"), (name, bytes(length)), (b"tEXt", b"c\0d")))
    np.testing.assert_array_equal(photo.pixels, grey_as_rgb(grey))
    assert photo.notes == (colours.BROKEN_CHUNK,)


@pytest.mark.parametrize("above", [0, 0xF000], ids=["", "bits above the depth"])
@pytest.mark.parametrize("value", ["lowest", "middle", "highest"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_white_and_no_other_is(bits, value, above, photo_of) -> None:
    highest = 2**bits - 1
    transparent = {"lowest": 0, "middle": highest // 2, "highest": highest}[value]
    values = np.array([0, highest // 2, highest, *np.linspace(0, highest, 29)]).astype(int).reshape(4, 8)
    chunk = (b"tRNS", struct.pack(">H", transparent | (above if 1 < bits < 16 else 0)))
    read = photo_of(png(values, bits, chunk)).pixels
    levels = np.where(values == transparent, 255, values * 255 / highest)
    np.testing.assert_allclose(read, grey_as_rgb(levels), atol=0.51)


@pytest.mark.parametrize("above", [0, 0xF000], ids=["", "bits above the depth"])
@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_is_white_and_no_other_is(bits: int, above: int, photo_of) -> None:
    step = 1 if bits == 8 else 257
    colour = np.array([10, 20, 30]) * step
    others = [(11, 20, 30), (10, 20, 31), (0, 0, 0), (255, 255, 255)]
    values = np.array([[colour, *(np.array(other) * step for other in others)]])
    chunk = (b"tRNS", struct.pack(">3H", *(colour | (above if bits == 8 else 0))))
    read = photo_of(png(values, bits, chunk)).pixels
    assert read[0, 0].tolist() == [255] * 3
    np.testing.assert_allclose(read[0, 1:], values[0, 1:] / step, atol=0.51)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_palette_of_a_png_has_transparent_colours(bits: int, photo_of) -> None:
    palette, alpha = random_image(5, 1, 2**bits)[0], [0, 100]
    values = np.arange(256).reshape(16, 16) % 2**bits
    chunks = (b"PLTE", palette.tobytes()), (b"tRNS", bytes(alpha))
    opacity = np.full(2**bits, 255)
    opacity[:2] = alpha
    seen = over_white(palette, opacity)[values]
    np.testing.assert_allclose(photo_of(png(values, bits, *chunks, kind=3)).pixels, seen, atol=1)


@pytest.mark.parametrize("background", [0, 2, 255])
@pytest.mark.parametrize("transparent", [None, 0, 2])
def test_the_canvas_that_no_frame_of_a_gif_covers_is_white(transparent, background, photo_of) -> None:
    palette = np.array([[10, 20, 30], [200, 0, 0], [0, 0, 90], [5, 99, 5]], np.uint8)
    values = np.arange(40).reshape(5, 8) % 4
    frame = Image.fromarray(values.astype(np.uint8))
    frame.putpalette(palette.tobytes())
    options = {} if transparent is None else {"transparency": transparent}
    content = bytearray(saved(frame, "GIF", optimize=False, **options))
    content[6:10] = struct.pack("<HH", 20, 10)  # the canvas
    content[11] = background
    at = content.index(b"\x2c\0\0\0\0\x08\0\x05\0")
    content[at + 1 : at + 5] = struct.pack("<HH", 3, 2)  # where the frame lies
    seen = np.full((10, 20, 3), 255)
    seen[2:7, 3:11] = palette[values]
    if transparent is not None:
        seen[2:7, 3:11][values == transparent] = 255
    np.testing.assert_array_equal(photo_of(bytes(content)).pixels, seen)


@pytest.mark.parametrize(("masks", "seen"), [(True, OVER_WHITE), (False, RGB)], ids=["masks", "no masks"])
def test_the_fourth_channel_of_a_bmp_is_alpha_if_its_header_says_so(masks, seen, photo_of) -> None:
    data = np.dstack([RGB[..., ::-1], ALPHA])[::-1].tobytes()
    fields = (56 if masks else 40, WIDTH, HEIGHT, 1, 32, 3 if masks else 0, len(data), 0, 0, 0, 0)
    header = struct.pack("<IiiHHIIiiII", *fields)
    header += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if masks else b""
    content = (
        b"BM" + struct.pack("<IHHI", 14 + len(header) + len(data), 0, 0, 14 + len(header)) + header + data
    )
    np.testing.assert_allclose(photo_of(content).pixels, seen, atol=1)


JPEGS = {
    "baseline": (RGB, {}),
    "grey": (GREY, {}),
    "CMYK": ((INKS_16 // 257).astype(np.uint8), {}),
    "progressive": (RGB, {"progressive": True}),
    "progressive grey": (GREY, {"progressive": True}),
}


def a_jpeg(kind: str) -> bytes:
    pixels, options = JPEGS[kind]
    mode = {2: "L", 3: "RGB" if pixels.shape[-1] == 3 else "CMYK"}[pixels.ndim]
    return saved(Image.frombytes(mode, (WIDTH, HEIGHT), pixels.tobytes()), "JPEG", quality=90, **options)


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_its_end_mark_is_read(kind: str, missing: int, photo_of) -> None:
    content = a_jpeg(kind)
    np.testing.assert_array_equal(photo_of(content[:-missing]).pixels, photo_of(content).pixels)


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_whose_data_ends_early_is_refused(kind: str, photo_of) -> None:
    content = a_jpeg(kind)
    data = content.index(b"\xff\xda") + 20
    for end in {*range(data, len(content) - 8, 7), len(content) - 8}:
        with pytest.raises(ImageError, match="damaged or incomplete"):
            photo_of(content[:end])


def test_a_progressive_jpeg_that_ends_between_two_scans_is_refused(photo_of) -> None:
    content = a_jpeg("progressive")
    scans = [at for at in range(len(content)) if content[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for scan in scans[1:]:
        end = content.rindex(b"\xff\xc4", 0, scan)  # a scan's tables come before it
        with pytest.raises(ImageError, match="damaged or incomplete"):
            photo_of(content[: max(end, 0)])
        with pytest.raises(ImageError, match="damaged or incomplete"):
            photo_of(content[:scan])


def test_a_jpeg_that_lacks_the_scan_of_a_component_is_refused(photo_of) -> None:
    """Each component has a scan of its own. The scans come from three grey JPEGs."""
    parts = [saved(channel, "JPEG", quality=90) for channel in picture("YCbCr").split()]
    frame, scan = (parts[0].index(marker) for marker in (b"\xff\xc0", b"\xff\xda"))
    tables = parts[0][frame + 13 : scan]
    header = b"\xff\xc0\0\x11\x08" + struct.pack(">HHB", HEIGHT, WIDTH, 3)
    header += b"".join(bytes([component, 0x11, 0]) for component in (1, 2, 3))
    scans = [
        part[:5] + bytes([component]) + part[6:-2]
        for component, part in enumerate((part[part.index(b"\xff\xda") :] for part in parts), 1)
    ]
    whole = b"".join([parts[0][:frame], header, tables, *scans])
    np.testing.assert_allclose(photo_of(whole + b"\xff\xd9").pixels, RGB, atol=12)
    np.testing.assert_array_equal(photo_of(whole).pixels, photo_of(whole + b"\xff\xd9").pixels)
    for missing in (1, 2):
        with pytest.raises(ImageError, match="damaged or incomplete"):
            photo_of(whole[: -sum(map(len, scans[-missing:]))])


def test_junk_behind_a_jpeg_without_its_end_mark_is_never_a_bug_of_ours() -> None:
    content = a_jpeg("baseline")[:-2]
    room = memoryview(bytearray(3 * WIDTH * HEIGHT))
    for junk in (
        b"\xff\xda",
        b"\xff\xda\0",
        b"\xff\xda\0\0",
        b"\xff\xda\0\2",
        b"\xff\xda\0\3\1",
        b"\xff\xc0\0\3",
    ):
        try:
            assert decoder.decode(content + junk, math.inf, room).shape == (HEIGHT, WIDTH)
        except ImageError as error:
            assert "damaged" in str(error)
