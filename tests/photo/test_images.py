"""Tests of `photo.images`. The file is long because every format is read through the same helpers."""

from __future__ import annotations

import json
import math
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageFile, TiffImagePlugin

from photo import decoder, strips
from photo.errors import ImageError
from photo.formats import ACCEPTED, READABLE
from photo.images import Photo, read_image, read_photo
from photo.strips import fit_within
from tests.bad_pictures import scans_bomb
from tests.samples import random_image

ORIENTATION = 0x0112
BOMB_WARNING = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
LOSSLESS = {
    "PNG": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},  # nearly lossless
}
FORMATS = ("JPEG", "GIF", *LOSSLESS)
NO_HEIC = pytest.mark.skipif("HEIF" not in READABLE, reason="pillow_heif is not installed")
HEIC = pytest.param("HEIF", marks=NO_HEIC)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes an array or a Pillow image to a file of a given format, and returns the file's path."""

    def save(
        picture: NDArray | Image.Image, format: str = "PNG", name: str = "photo", **options: object
    ) -> Path:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        path = tmp_path / name
        image.save(path, format, **options)
        return path

    return save


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes bytes to a file, and returns the file's path."""

    def write(content: bytes, name: str = "photo.jpg") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def png(width: int, height: int, rows: bytes = b"", *, bits: int = 1, color_type: int = 0) -> bytes:
    """Returns a PNG made by hand. Its header holds the arguments, even if the pixels do not match them."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in chunks)


def decoded(path: Path, longest_side: float = math.inf) -> Photo:
    """Reads a photo in this process, for tests that change the decoder."""
    room = bytearray(3 * 10**6)
    found = decoder.decode(path.read_bytes(), longest_side, memoryview(room))
    pixels = np.frombuffer(room, np.uint8, 3 * math.prod(found.shape)).reshape(*found.shape, 3)
    return Photo(pixels, found.size, found.format, found.animated, found.notes)


UPRIGHT: dict[int, Callable[[NDArray], NDArray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""Turns the stored pixels upright, for each value of the EXIF orientation."""


@pytest.mark.parametrize("format", LOSSLESS)
def test_a_lossless_file_gives_back_its_pixels(format: str, save: Callable[..., Path]) -> None:
    stored = random_image(0, 5, 7)
    read = read_image(save(stored, format, **LOSSLESS[format]))
    assert read.dtype == np.uint8
    assert read.shape == (5, 7, 3)
    np.testing.assert_allclose(read.astype(int), stored, atol=6 if format == "AVIF" else 0)


@pytest.mark.parametrize("format", FORMATS)
def test_an_rgb_picture_is_what_pillow_decodes(format: str, save: Callable[..., Path]) -> None:
    path = save(random_image(1, 32, 48), format)
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(path), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_a_photo_taken_with_a_turned_camera_is_put_upright(
    format: str, orientation: int, save: Callable[..., Path]
) -> None:
    stored = random_image(2, 4, 6)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    read = read_image(save(stored, format, exif=exif, **LOSSLESS[format]))
    np.testing.assert_array_equal(read, UPRIGHT[orientation](stored))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["JPEG", "AVIF"])
def test_a_lossy_photo_taken_with_a_turned_camera_is_put_upright(
    format: str, orientation: int, save: Callable[..., Path]
) -> None:
    quarters = np.array([[[250, 10, 10], [10, 250, 10]], [[10, 10, 250], [240, 240, 240]]], np.uint8)
    stored = quarters.repeat(16, axis=0).repeat(32, axis=1)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    read = read_image(save(stored, format, exif=exif, quality=95))
    upright = UPRIGHT[orientation](stored)
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < 8


def test_an_orientation_that_does_not_exist_is_ignored(save: Callable[..., Path]) -> None:
    stored = random_image(3, 4, 6)
    exif = Image.Exif()
    exif[ORIENTATION] = 9
    np.testing.assert_array_equal(read_image(save(stored, exif=exif)), stored)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_by_its_full_range(format: str, save: Callable[..., Path]) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    read = read_image(save(levels * 257, format))
    np.testing.assert_array_equal(read, np.stack([levels] * 3, axis=2))


def test_dark_16_bit_grey_stays_dark(save: Callable[..., Path]) -> None:
    assert read_image(save(np.array([[0, 1000, 32768]], np.uint16)))[0, :, 0].tolist() == [0, 4, 128]


def test_16_bit_rgb_keeps_its_high_bytes(write: Callable[..., Path]) -> None:
    row = b"\0" + struct.pack(">6H", 65535, 0, 257, 0, 65535, 32768)
    read = read_image(write(png(2, 1, row, bits=16, color_type=2)))
    assert read.tolist() == [[[255, 0, 1], [0, 255, 128]]]


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0.0, 0.2, 1.0], [0, 51, 255]),
        ([0.0, 0.2, 0.4], [0, 51, 102]),
        ([-1.0, 0.0, 4.0], [0, 51, 255]),
        ([0.0, 200.0, 1000.0], [0, 51, 255]),
        ([np.nan, 0.2, 1.0], [0, 51, 255]),
        ([np.inf, 0.2, 1.0], [0, 51, 255]),
    ],
    ids=["0 to 1", "part of 0 to 1", "below 0", "above 1", "not a number", "infinite"],
)
def test_float_grey_is_scaled_by_0_to_1_or_by_its_own_range(
    values: list[float], levels: list[int], save: Callable[..., Path]
) -> None:
    read = read_image(save(np.array([values], np.float32), "TIFF"))
    assert read[0, :, 0].tolist() == levels


def test_32_bit_grey_is_scaled_by_its_own_range(save: Callable[..., Path]) -> None:
    read = read_image(save(np.array([[-100, 0, 400]], np.int32), "TIFF"))
    assert read.tolist() == [[[0] * 3, [51] * 3, [255] * 3]]


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)])
def test_cmyk_jpegs_come_out_in_their_colours(color: tuple[int, int, int], save: Callable[..., Path]) -> None:
    image = Image.new("RGB", (16, 16), color).convert("CMYK")
    np.testing.assert_allclose(
        read_image(save(image, "JPEG")).astype(int), np.full((16, 16, 3), color), atol=3
    )


def test_transparency_is_laid_over_white(save: Callable[..., Path]) -> None:
    rgba = np.array([[[0, 100, 200, 0], [0, 100, 200, 51], [0, 100, 200, 255]]], np.uint8)
    read = read_image(save(rgba)).astype(int)
    np.testing.assert_allclose(read, [[[255] * 3, [204, 224, 244], [0, 100, 200]]], atol=1)


def test_grey_with_transparency_is_laid_over_white(save: Callable[..., Path]) -> None:
    read = read_image(save(Image.fromarray(np.array([[[0, 0], [0, 255], [90, 255]]], np.uint8), "LA")))
    assert read[0, :, 0].tolist() == [255, 0, 90]


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_palettes_transparent_entry_becomes_white(format: str, save: Callable[..., Path]) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    read = read_image(save(image, format, transparency=1))
    assert read.tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]


def test_an_rgb_pngs_transparent_colour_becomes_white(save: Callable[..., Path]) -> None:
    read = read_image(save(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8), transparency=(1, 2, 3)))
    assert read.tolist() == [[[255] * 3, [9] * 3]]


def test_one_bit_pictures_are_black_and_white(save: Callable[..., Path]) -> None:
    read = read_image(save(np.array([[True, False, True]])))
    assert read.tolist() == [[[255] * 3, [0] * 3, [255] * 3]]


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(format: str, save: Callable[..., Path]) -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    path = save(frames[0], format, save_all=True, append_images=frames[1:], duration=100, **options)
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 3
    np.testing.assert_array_equal(read_image(path), np.full((6, 8, 3), [255, 0, 0]))


@pytest.mark.parametrize("name", ["photo.jpg", "photo.txt", "photo", "föto ✓.gif"])
def test_the_content_decides_and_not_the_name(name: str, save: Callable[..., Path]) -> None:
    stored = random_image(4, 3, 3)
    np.testing.assert_array_equal(read_image(save(stored, "PNG", name)), stored)
    np.testing.assert_array_equal(read_image(str(save(stored, "PNG", name))), stored)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (2, 3)])
def test_the_smallest_pictures_are_read(shape: tuple[int, int], save: Callable[..., Path]) -> None:
    assert read_image(save(random_image(5, *shape))).shape == (*shape, 3)


@pytest.mark.parametrize("shape", [(1, 31), (31, 1), (1, 20_000), (20_000, 1), (3, 91)])
def test_pictures_too_narrow_are_refused_with_their_size(
    shape: tuple[int, int], save: Callable[..., Path]
) -> None:
    with pytest.raises(ImageError, match=f"is {shape[1]} x {shape[0]} pixels, too narrow.* 30 times"):
        read_image(save(np.zeros(shape, np.uint8)))


@BOMB_WARNING
@pytest.mark.parametrize(
    ("width", "height"), [(8000, 5001), (13_300, 13_300), (20_001, 1000), (1000, 20_001), (2**31 - 1, 1)]
)
def test_pictures_too_large_are_refused_by_their_header_alone(
    width: int, height: int, write: Callable[..., Path]
) -> None:
    # The file has no pixels. A reader that looks for them would call it damaged.
    path = write(png(width, height))
    with pytest.raises(ImageError, match=r"too large.* at most 40 megapixels and 20000 pixels a side"):
        read_image(path)


@pytest.mark.parametrize(("format", "layout", "offset"), [("BMP", "<ii", 18), ("GIF", "<HH", 6)])
def test_a_size_in_the_header_that_is_not_in_the_file_is_refused(
    format: str, layout: str, offset: int, save: Callable[..., Path], write: Callable[..., Path]
) -> None:
    content = bytearray(save(random_image(6, 8, 8), format).read_bytes())
    struct.pack_into(layout, content, offset, 65_000, 65_000)
    with pytest.raises(ImageError, match="too large"):
        read_image(write(bytes(content)))


@BOMB_WARNING
@pytest.mark.parametrize(("width", "height"), [(8000, 5000), (20_000, 2000), (2000, 20_000)])
def test_the_largest_pictures_pass_the_check_of_the_header(
    width: int, height: int, write: Callable[..., Path]
) -> None:
    path = write(png(width, height))
    with pytest.raises(ImageError, match="damaged"):
        read_image(path)


def test_a_decompression_bomb_is_refused_undecoded(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(png(13_300, 13_300, bytes(13_300 // 8 + 2) * 13_300))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="too large"):
        decoded(path)


@BOMB_WARNING
def test_a_picture_too_large_is_told_its_own_size(write: Callable[..., Path]) -> None:
    with pytest.raises(ImageError, match=r"too large \(8000 x 5001 pixels\)"):
        read_image(write(png(8000, 5001)))


@pytest.mark.parametrize("part", [0.5, 0.9])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_a_truncated_picture_is_called_damaged(
    format: str, part: float, save: Callable[..., Path], write: Callable[..., Path]
) -> None:
    whole = save(random_image(6, 64, 64), format).read_bytes()
    with pytest.raises(ImageError, match=r"damaged or incomplete|not a picture"):
        read_image(write(whole[: int(len(whole) * part)]))


def test_a_broken_checksum_is_called_damaged(write: Callable[..., Path]) -> None:
    content = bytearray(png(8, 8, bytes(16)))
    content[content.index(b"IDAT") + 6] ^= 255
    with pytest.raises(ImageError, match="damaged"):
        read_image(write(bytes(content)))


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"just some words, no picture\n" * 50,
        b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>',
        b"<!DOCTYPE html><html><body>404</body></html>",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
        b"PK\x03\x04" + bytes(100),
        random.Random(0).randbytes(5000),
    ],
    ids=["one byte", "text", "PDF", "SVG", "HTML", "HEIC", "ZIP", "noise"],
)
def test_what_is_no_picture_is_refused_with_the_formats_that_are(
    content: bytes, write: Callable[..., Path]
) -> None:
    with pytest.raises(ImageError, match=rf"not a picture.*{ACCEPTED}.*SVG.*as JPEG") as caught:
        read_image(write(content))
    assert "HEIC" in str(caught.value)  # iPhones write HEIC: it is read, or the message says what to do


@pytest.mark.parametrize("format", ["EPS", "PPM", "ICO", "PCX", "TGA", "JPEG2000", "SGI"])
def test_rare_formats_are_refused_though_pillow_knows_them(format: str, save: Callable[..., Path]) -> None:
    with pytest.raises(ImageError, match="not a picture that can be read here"):
        read_image(save(random_image(7, 16, 16), format))


def test_an_empty_file_is_called_empty(write: Callable[..., Path]) -> None:
    with pytest.raises(ImageError, match="is empty"):
        read_image(write(b""))


def test_a_file_that_is_gone_is_asked_for_again(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"could not be opened.*send it again"):
        read_image(tmp_path / "gone.jpg")


def test_messages_are_sentences_without_paths(write: Callable[..., Path]) -> None:
    for content in (b"", b"junk", png(20_001, 1), png(1, 31), png(8, 8)):
        path = write(content, "secret-name.jpg")
        with pytest.raises(ImageError) as caught:
            read_image(path)
        message = str(caught.value)
        assert message.endswith(".")
        assert "secret-name" not in message
        assert str(path.parent) not in message


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns about parts that it skips
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_a_malformed_file_is_read_or_refused_and_nothing_else(
    format: str, save: Callable[..., Path], write: Callable[..., Path]
) -> None:
    whole = save(random_image(8, 20, 24), format).read_bytes()
    chance = random.Random(0)
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 3, 9])):
            content[chance.randrange(chance.choice([40, len(content)]))] = chance.randrange(256)
        del content[chance.randrange(1, 2 * len(content)) :]
        path = write(bytes(content))
        try:
            read = read_image(path)
        except ImageError:
            continue
        assert read.dtype == np.uint8
        assert read.ndim == 3
        assert read.shape[2] == 3


@pytest.mark.parametrize(
    ("shape", "longest", "expected"),
    [
        ((100, 200), 100, (50, 100)),
        ((200, 100), 100, (100, 50)),
        ((3000, 4000), 1024, (768, 1024)),
        ((333, 1000), 100, (33, 100)),
        ((1, 1000), 10, (1, 10)),
        ((50, 50), 1, (1, 1)),
    ],
)
def test_a_reduced_image_fits_and_keeps_its_ratio(
    shape: tuple[int, int], longest: int, expected: tuple[int, int]
) -> None:
    reduced = fit_within(np.zeros((*shape, 3), np.uint8), longest)
    assert reduced.shape == (*expected, 3)
    assert reduced.dtype == np.uint8


@pytest.mark.parametrize("shape", [(1, 1), (40, 64), (64, 64)])
def test_an_image_that_fits_is_left_as_it_is(shape: tuple[int, int]) -> None:
    image = random_image(9, *shape)
    np.testing.assert_array_equal(fit_within(image, 64), image)


def test_reducing_averages_all_pixels_that_fall_together() -> None:
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 255
    reduced = fit_within(np.stack([checkers.astype(np.uint8)] * 3, axis=2), 16)
    assert reduced.min() >= 120
    assert reduced.max() <= 135


def test_reducing_keeps_one_colour_and_leaves_its_argument_alone() -> None:
    image = np.full((70, 90, 3), (12, 200, 77), np.uint8)
    image.flags.writeable = False
    np.testing.assert_array_equal(fit_within(image, 31), np.full((24, 31, 3), (12, 200, 77)))


@pytest.mark.parametrize("strip_pixels", [1, 700, 10**6])
def test_reducing_in_strips_gives_what_pillow_makes_of_the_whole(strip_pixels, monkeypatch) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", strip_pixels)
    image = random_image(3, 90, 70)
    for longest, size in ((89, (69, 89)), (40, (31, 40)), (7, (5, 7))):
        whole = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(fit_within(image, longest), np.asarray(whole))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_photo_read_at_a_smaller_size_is_the_whole_one_reduced(orientation, save, monkeypatch) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", 300)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(random_image(4, 52, 75), "JPEG", exif=exif)
    whole = decoded(path)
    reduced = decoded(path, 33)
    np.testing.assert_array_equal(reduced.pixels, fit_within(whole.pixels, 33))
    assert max(reduced.pixels.shape) == 33
    assert reduced.size == whole.size == whole.pixels.shape[:2]


@pytest.mark.parametrize("format", [*FORMATS, HEIC])
def test_every_format_is_read_at_a_smaller_size_in_the_same_way(format: str, save) -> None:
    path = save(random_image(5, 40, 60), format)
    np.testing.assert_array_equal(read_photo(path, 25).pixels, fit_within(read_image(path), 25))
    np.testing.assert_array_equal(read_photo(path, 60).pixels, read_image(path))


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "CMYK", "I;16", "F"])
def test_every_kind_of_pixel_is_read_at_a_smaller_size_in_the_same_way(mode: str, save) -> None:
    picture = Image.fromarray(random_image(6, 40, 60))
    if mode in ("I;16", "F"):
        grey = np.asarray(picture.convert("L"))
        picture = Image.fromarray(grey.astype(np.uint16) * 257 if mode == "I;16" else grey.astype(np.float32))
    else:
        picture = picture.convert(mode)
    path = save(picture, "TIFF")
    np.testing.assert_array_equal(read_photo(path, 25).pixels, fit_within(read_image(path), 25))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_an_uncompressed_tiff_of_a_turned_camera_is_put_upright(mode, orientation, save) -> None:
    stored = Image.fromarray(random_image(2, 4, 6)).convert(mode)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    expected = UPRIGHT[orientation](np.asarray(stored.convert("RGB")))
    np.testing.assert_array_equal(read_image(save(stored, "TIFF", exif=exif)), expected)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_exif_that_cannot_be_read_does_not_spoil_the_photo(format, save) -> None:
    path = save(random_image(2, 4, 6), format, exif=b"Exif\0\0garbagegarbage")
    assert read_image(path).shape == (4, 6, 3)


def test_a_malformed_avif_is_read_or_refused_and_nothing_else(save, write) -> None:
    whole = save(random_image(8, 20, 24), "AVIF").read_bytes()
    chance = random.Random(0)
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 3, 9])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            assert read_image(write(bytes(content))).ndim == 3
        except ImageError:
            continue


@pytest.mark.parametrize("format", [*FORMATS, HEIC])
def test_a_photo_tells_its_format_as_people_call_it(format: str, save: Callable[..., Path]) -> None:
    photo = read_photo(save(random_image(2, 16, 24), format))
    assert photo.format == {"WEBP": "WebP", "HEIF": "HEIC"}.get(format, format)
    assert photo.pixels.shape == (16, 24, 3)
    assert photo.animated is False


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF", "TIFF", HEIC])
def test_a_file_of_several_frames_or_pages_is_animated(format: str, save: Callable[..., Path]) -> None:
    frames = [Image.new("RGB", (16, 12), color) for color in ("red", "lime", "blue")]
    photo = read_photo(save(frames[0], format, save_all=True, append_images=frames[1:]))
    assert photo.animated is True
    np.testing.assert_allclose(photo.pixels.astype(int), np.full((12, 16, 3), [255, 0, 0]), atol=3)


def test_a_phones_jpeg_with_a_preview_behind_it_is_an_ordinary_jpeg(save: Callable[..., Path]) -> None:
    whole, preview = (Image.fromarray(random_image(seed, 40, 60)) for seed in (0, 1))
    path = save(whole, "MPO", save_all=True, append_images=[preview.resize((6, 4))])
    photo = read_photo(path)
    assert (photo.format, photo.animated) == ("JPEG", False)
    np.testing.assert_array_equal(photo.pixels, read_image(save(whole, "JPEG", "alone")))


def test_a_gif_whose_second_frame_is_damaged_still_gives_its_first(save, write) -> None:
    frames = [Image.fromarray(random_image(seed, 30, 30)).quantize(200) for seed in (0, 1)]
    first = read_image(save(frames[0], "GIF"))
    whole = save(frames[0], "GIF", save_all=True, append_images=frames[1:]).read_bytes()
    for end in range(len(whole) * 6 // 10, len(whole), 50):
        np.testing.assert_array_equal(read_image(write(whole[:end])), first)


@pytest.mark.parametrize(
    ("format", "plugin"), [("GIF", GifImagePlugin.GifImageFile), ("TIFF", TiffImagePlugin.TiffImageFile)]
)
def test_long_animations_are_not_walked_through(format, plugin, save, monkeypatch) -> None:
    frames = [Image.fromarray(random_image(seed, 8, 8)) for seed in range(60)]
    path = save(frames[0], format, save_all=True, append_images=frames[1:])
    visited: list[int] = []
    seek = plugin._seek
    monkeypatch.setattr(plugin, "_seek", lambda self, to, *rest: (visited.append(to), seek(self, to, *rest)))
    assert decoded(path).animated
    assert max(visited) <= 1


def test_16_bit_greys_transparent_level_becomes_white_and_its_neighbours_do_not(write) -> None:
    row = b"\0" + struct.pack(">3H", 0x1234, 0x12FF, 0xFFFF)
    content = png(3, 1, row, bits=16)
    header_end = content.index(b"IDAT") - 4
    transparent = b"tRNS" + struct.pack(">H", 0x1234)
    chunk = struct.pack(">I", 2) + transparent + struct.pack(">I", zlib.crc32(transparent))
    read = read_image(write(content[:header_end] + chunk + content[header_end:]))
    assert read[0, :, 0].tolist() == [255, 0x12FF * 255 // 65535 + 1, 255]


@pytest.mark.parametrize(
    ("value", "level"), [(0.0, 0), (0.4, 102), (1.0, 255), (3.5, 255), (1e30, 255), (-2.0, 0), (np.nan, 0)]
)
def test_one_float_that_fills_the_picture_is_as_bright_as_it_says(value, level, save) -> None:
    read = read_image(save(np.full((3, 4), value, np.float32), "TIFF"))
    np.testing.assert_array_equal(read, np.full((3, 4, 3), level))


@pytest.mark.parametrize(("value", "level"), [(0, 0), (1, 255), (70_000, 255), (-7, 0)])
def test_one_integer_that_fills_the_picture_is_white_above_0(value, level, save) -> None:
    read = read_image(save(np.full((3, 4), value, np.int32), "TIFF"))
    np.testing.assert_array_equal(read, np.full((3, 4, 3), level))


def test_float_grey_is_scaled_over_the_whole_picture_and_not_strip_by_strip(save, monkeypatch) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", 20)
    values = np.linspace(-50, 205, 200, dtype=np.float32).reshape(20, 10)
    np.testing.assert_allclose(decoded(save(values, "TIFF")).pixels[..., 0], values + 50, atol=0.5)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_turned_photo_read_in_strips_is_whole(orientation, save, monkeypatch) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", 30)
    stored = random_image(2, 13, 9)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    read = decoded(save(stored, exif=exif)).pixels
    np.testing.assert_array_equal(read, UPRIGHT[orientation](stored))
    assert read.flags.c_contiguous


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "GIF"])
def test_pictures_with_alpha_are_laid_over_white_in_every_format(format, save) -> None:
    rgba = np.zeros((16, 32, 4), np.uint8)
    rgba[:, 16:] = [200, 40, 90, 255]
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}, "GIF": {}}[format]
    read = read_image(save(rgba, format, **options)).astype(int)
    np.testing.assert_allclose(read[:, :14], 255, atol=3)
    np.testing.assert_allclose(read[:, 18:], np.full((16, 14, 3), [200, 40, 90]), atol=4)


def test_a_jpeg_that_takes_too_long_is_given_up_and_a_film_behind_a_photo_is_not(save, write) -> None:
    start = time.perf_counter()
    with pytest.raises(ImageError, match="takes too long to read"):
        read_image(write(scans_bomb()))
    # The decoding process may use 4 seconds of a processor. Another test may run beside it.
    assert time.perf_counter() - start < 15
    content = save(random_image(1, 64, 64), "JPEG", progressive=True).read_bytes()
    film = b"\0\0\0\x18ftypmp42" + content[content.rindex(b"\xff\xda") : -2] * 100
    np.testing.assert_array_equal(read_image(write(content + film)), read_image(write(content)))


def test_an_animated_webp_of_more_than_its_decoder_can_hold_is_told_its_limit(save, monkeypatch) -> None:
    frames = [Image.fromarray(random_image(seed, 20, 30)) for seed in (0, 1)]
    path = save(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    monkeypatch.setattr(decoder, "MAX_ANIMATION_PIXELS", 599)
    with pytest.raises(ImageError, match=r"animation is too large \(30 x 20 pixels\).* or a single picture"):
        decoded(path)
    monkeypatch.setattr(decoder, "MAX_ANIMATION_PIXELS", 600)
    assert decoded(path).animated
    assert decoded(save(frames[0], "WEBP")).pixels.shape == (20, 30, 3)


@NO_HEIC
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_heic_of_a_turned_camera_is_put_upright_once(orientation, save) -> None:
    quarters = np.array([[[250, 10, 10], [10, 250, 10]], [[10, 10, 250], [240, 240, 240]]], np.uint8)
    stored = quarters.repeat(32, axis=0).repeat(64, axis=1)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    read = read_image(save(Image.fromarray(stored), "HEIF", exif=exif.tobytes(), quality=95))
    upright = UPRIGHT[orientation](stored)
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < 8


@NO_HEIC
@BOMB_WARNING
def test_a_heic_is_judged_by_its_header(save, write) -> None:
    content = save(random_image(1, 64, 64), "HEIF").read_bytes()
    size = b"ispe\0\0\0\0" + struct.pack(">II", 64, 64)
    assert size in content
    for width, height, reason in [(8000, 5001, "too large"), (64, 2000, "narrow|too large|damaged")]:
        claimed = b"ispe\0\0\0\0" + struct.pack(">II", width, height)
        with pytest.raises(ImageError, match=reason):
            read_image(write(content.replace(size, claimed)))


def test_without_pillow_heif_a_heic_is_refused_with_what_to_do(tmp_path: Path) -> None:
    # Python runs this file when it starts, in the decoding process as well.
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['pillow_heif'] = None\n")
    program = (
        "import pathlib, tempfile\nfrom photo import images\n"
        "path = pathlib.Path(tempfile.mkdtemp(), 'photo.heic')\n"
        "path.write_bytes(bytes.fromhex('00000018') + b'ftypheic' + bytes(4) + b'mif1heic' + bytes(200))\n"
        "try: images.read_image(path)\n"
        "except images.ImageError as error: print(error)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF" in said
    assert "a photo in HEIC" in said
    assert "as JPEG" in said


LARGEST: dict[str, tuple[str, str, dict[str, object]]] = {
    "baseline JPEG": ("RGB", "JPEG", {}),
    "progressive JPEG": ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
    "progressive CMYK JPEG": ("CMYK", "JPEG", {"progressive": True}),
    "RGB PNG": ("RGB", "PNG", {"compress_level": 1}),
    "RGBA PNG": ("RGBA", "PNG", {"compress_level": 1}),
    "16-bit PNG": ("I;16", "PNG", {"compress_level": 1}),
    "palette PNG": ("P", "PNG", {"compress_level": 1, "transparency": 0}),
    "GIF": ("P", "GIF", {}),
    "BMP": ("RGB", "BMP", {}),
    "LZW TIFF of one strip": ("RGB", "TIFF", {"compression": "tiff_lzw", "tiffinfo": {278: 5000}}),
    "turned TIFF": ("RGB", "TIFF", {"tiffinfo": {ORIENTATION: 6}}),
    "float TIFF": ("F", "TIFF", {}),
    "int32 TIFF": ("I", "TIFF", {}),
    "lossy WebP": ("RGB", "WEBP", {"method": 0}),
    "lossless WebP with alpha": ("RGBA", "WEBP", {"method": 0, "lossless": True, "quality": 0}),
    "AVIF": ("RGB", "AVIF", {"speed": 10, "subsampling": "4:4:4"}),
    "AVIF with alpha": ("RGBA", "AVIF", {"speed": 10}),
    "HEIC": ("RGB", "HEIF", {"quality": 40}),
}
"""The mode, Pillow's format and the options of the largest picture of each kind."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", LARGEST)
def test_the_largest_picture_of_every_kind_takes_less_than_550_mb(kind: str, tmp_path: Path) -> None:
    mode, format, options = LARGEST[kind]
    if format not in READABLE:
        pytest.skip("pillow_heif is not installed")
    ramp = np.add.outer(np.arange(5000, dtype=np.uint8), np.arange(8000, dtype=np.uint8))
    ramp[::5, ::3] = random_image(0, 1000, 2667)[..., 0]
    image = Image.fromarray(ramp.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(ramp)
    if image.mode != mode:
        image = image.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(ramp))
    image.save(tmp_path / "photo", format, **options)
    command = [sys.executable, "-m", "tests.bad_pictures", "--folder", str(tmp_path)]
    outcome = json.loads(
        subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout.splitlines()[-1]
    )
    assert outcome["read"] == 1
    print(kind, outcome["peak_mb_over_idle"], "MB,", outcome["slowest_seconds"], "s")
    assert outcome["peak_mb_over_idle"] < 550


def test_an_avif_whose_header_gives_another_size_has_that_size_as_in_browsers(save, write) -> None:
    ramp = np.add.outer(np.arange(1000), np.arange(1000)).astype(np.float64)
    stored = np.repeat((ramp * (255 / ramp.max())).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    content = save(stored, "AVIF", speed=10).read_bytes()
    size, other = (b"ispe\0\0\0\0" + struct.pack(">II", side, side) for side in (1000, 60))
    assert size in content
    read = read_image(write(content.replace(size, other)))
    assert np.abs(read.astype(int) - fit_within(stored, 60)).mean() < 3


def test_private_parts_of_pillow_are_as_the_decoder_expects(save) -> None:
    """Pillow promises nothing about these. If a new release changes them, `photo.sources` must change too."""
    with Image.open(save(random_image(0, 8, 9), "AVIF")) as image:
        pixels, *rest = image._decoder.get_frame(0)  # type: ignore[attr-defined]
        assert isinstance(pixels, bytes) and len(pixels) == 8 * 9 * 3 and rest
    with Image.open(save(random_image(0, 8, 9), "WEBP")) as image:
        assert image._decoder is not None  # type: ignore[attr-defined]
    with Image.open(save(Image.new("P", (9, 8)), "GIF")) as image:
        assert image.tile[0].extents == (0, 0, 9, 8)  # type: ignore[attr-defined]
