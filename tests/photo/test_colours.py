"""Colours: what a file means is converted to sRGB once, as Chromium paints it on a canvas.

The files are made here: a chart of 256 colours, or all 256 greys, with every kind of colour information. ICC
profiles are written by hand (ICC.1:2010), because LittleCMS makes few kinds.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import math
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from playwright.sync_api import Browser

from photo import colours, decoder, strips
from photo.colours import BROKEN_PROFILE
from photo.errors import ImageError
from photo.formats import READABLE
from photo.images import Photo, read_image
from tests.photo.test_images import decoded

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / "shared" / "cases"
LARGEST_MEAN = 2.0
"""Levels by which our picture may differ from Chromium's, averaged over the pixels of a channel."""

STEPS = np.array([0, 51, 102, 153, 204, 255])
CUBE = np.stack(np.meshgrid(STEPS, STEPS, STEPS, indexing="ij"), axis=-1).reshape(-1, 3)
GREYS = np.stack([np.linspace(0, 255, 40).round().astype(int)] * 3, axis=-1)
CHART = np.concatenate([CUBE, GREYS]).astype(np.uint8).reshape(16, 16, 3)
"""216 colours, of which the first is black, and 40 greys, of which the last is white."""
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COARSE_CHART, COARSE_RAMP = (picture.repeat(4, axis=0).repeat(4, axis=1) for picture in (CHART, RAMP))
"""The same in squares of 4 x 4 pixels, for formats that lose detail."""
INKS = np.concatenate([255 - COARSE_CHART, np.zeros((64, 64, 1), np.uint8)], axis=2)
INKS[32:, :, 3] = np.arange(64, dtype=np.uint8) // 4 * 16
"""CMYK: the chart, and black ink over its lower half."""

SRGB_CHUNK = colours.srgb_chunk()
P3, BT709, BT2020 = 12, 1, 9
SRGB_CURVE, LINEAR, PQ, HLG = 13, 8, 16, 18
WHITE_AND_PRIMARIES = {
    "BT.709": ((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "P3": ((0.3127, 0.3290), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    "ProPhoto": ((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)),
}
COLORANTS = {
    "sRGB": ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
    "P3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
    "Adobe": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "ProPhoto": ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)),
}
"""XYZ of red, green and blue under D50, as in the profiles of these names."""
D50 = (0.96420, 1.0, 0.82491)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(pixels: NDArray, *chunks: bytes, bits: int = 8) -> bytes:
    """Returns a PNG of (H, W) or (H, W, 2, 3 or 4) pixels, with chunks between its header and its pixels."""
    kind = 0 if pixels.ndim == 2 else {2: 4, 3: 2, 4: 6}[pixels.shape[2]]
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2" if bits == 16 else np.uint8).tobytes() for row in pixels)
    parts = (chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def cicp(primaries: int, transfer: int, matrix: int = 0, full_range: int = 1) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, matrix, full_range]))


def gama(value: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", value))


def chrm(name: str) -> bytes:
    return chunk(
        b"cHRM", struct.pack(">8I", *(round(v * 1e5) for xy in WHITE_AND_PRIMARIES[name] for v in xy))
    )


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))


def saved(picture: NDArray | Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, format, **options)
    return file.getvalue()


def jpeg(picture: NDArray | Image.Image, **options: object) -> bytes:
    return saved(picture, "JPEG", quality=100, subsampling=0, **options)


def avif(picture: NDArray, subsampling: str = "4:4:4", **options: object) -> bytes:
    return saved(picture, "AVIF", quality=100, speed=10, subsampling=subsampling, **options)


def bmp(profile: bytes) -> bytes:
    """Returns a BMP of the chart with a header of version 5."""
    data, size = CHART[::-1, :, ::-1].tobytes(), 124
    header = struct.pack("<IiiHHIIiiII16x4s48xIIII", size, 16, 16, 1, 24, 0, len(data), 0, 0, 0, 0, b"DEBM",
                         4, size + len(data), len(profile), 0)  # fmt: skip
    return struct.pack("<2sIII", b"BM", 14 + size + len(data), 0, 14 + size) + header + data + profile


def with_nclx(content: bytes, primaries: int, transfer: int) -> bytes:
    at = content.index(b"colrnclx") + 8
    return content[:at] + struct.pack(">HH", primaries, transfer) + content[at + 4 :]


def fixed(*values: float) -> bytes:
    """ICC's s15Fixed16Number."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def power(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def table(curve: Callable[[NDArray], NDArray], steps: int = 1024) -> bytes:
    values = np.round(65535 * curve(np.linspace(0, 1, steps))).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", steps) + values.tobytes()


def parametric(kind: int, *values: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + fixed(*values)


SRGB_PARAMETERS = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(space: bytes, tags: dict[bytes, bytes], version: int = 2, pcs: bytes = b"XYZ ") -> bytes:
    """Returns an ICC profile with these tags, a name and a white point."""
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    if version == 4:
        name = b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", 8, 28) + "test".encode("utf-16-be")
    tags = {b"desc": name, b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50), **tags}
    at = 132 + 12 * len(tags)
    listing, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        listing += tag + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4xI4s4s4s", at + len(body), version << 24, b"mntr", space, pcs)
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*D50)
    return header.ljust(128, b"\0") + listing + body


def rgb_profile(name: str, curve: bytes, version: int = 2) -> bytes:
    colorants = zip((b"rXYZ", b"gXYZ", b"bXYZ"), COLORANTS[name], strict=True)
    tags = {tag: b"XYZ \0\0\0\0" + fixed(*xyz) for tag, xyz in colorants}
    return profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve), version)


def grey_profile(curve: bytes, version: int = 2) -> bytes:
    return profile(b"GRAY", {b"kTRC": curve}, version)


def lab_of(rgb: NDArray) -> NDArray:
    """CIE Lab under D50 of sRGB, both as floats."""
    light = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    relative = light @ np.array(COLORANTS["sRGB"]) / np.array(D50)
    f = np.where(relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def lut(channels: int, rgb_of: Callable[[NDArray], NDArray], nodes: int) -> bytes:
    """Returns an ICC table of 8 bits (lut8Type) from device colours to Lab."""
    axis = np.linspace(0, 1, nodes)
    grid = np.stack(np.meshgrid(*[axis] * channels, indexing="ij"), axis=-1).reshape(-1, channels)
    lab = lab_of(rgb_of(grid)) * [2.55, 1, 1] + [0, 128, 128]
    head = b"mft1\0\0\0\0" + bytes([channels, 3, nodes, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    curves = [bytes(range(256)) * count for count in (channels, 3)]
    return head + curves[0] + lab.round().clip(0, 255).astype(np.uint8).tobytes() + curves[1]


def lut_profile(
    space: bytes, rgb_of: Callable[[NDArray], NDArray], nodes: int, tag: bytes = b"A2B0"
) -> bytes:
    channels = 4 if space == b"CMYK" else 3
    return profile(space, {tag: lut(channels, rgb_of, nodes)}, pcs=b"Lab ")


def ideal_inks(cmyk: NDArray) -> NDArray:
    return (1 - cmyk[:, :3]) * (1 - cmyk[:, 3:])


def real_inks(cmyk: NDArray) -> NDArray:
    """Paper that is not quite white, and ink that is not quite black."""
    return 0.1 + 0.86 * ideal_inks(cmyk) ** 0.9


RGB_PROFILES = {
    "Display P3, version 4": rgb_profile("P3", SRGB_PARAMETERS, 4),
    "Adobe RGB": rgb_profile("Adobe", power(563 / 256)),
    "ProPhoto": rgb_profile("ProPhoto", power(1.8)),
    "linear": rgb_profile("sRGB", power(1)),
    "a table": rgb_profile("P3", table(lambda values: values**2.2)),
    "parameters 0": rgb_profile("P3", parametric(0, 2.2), 4),
    "parameters 1": rgb_profile("P3", parametric(1, 2.2, 1.05, -0.05), 4),
    "parameters 2": rgb_profile("P3", parametric(2, 2.2, 0.95, -0.05, 0.05), 4),
    "parameters 4": rgb_profile("Adobe", parametric(4, 2.4, 0.9, 0.1, 0.08, 0.04, 0, 0), 4),
    "Lab tables": lut_profile(b"RGB ", lambda rgb: rgb**1.3, 17),
    "Lab tables with a light black": lut_profile(b"RGB ", lambda rgb: 0.1 + 0.9 * rgb, 17),
    "a colorimetric table alone": lut_profile(b"RGB ", lambda rgb: 0.1 + 0.9 * rgb, 17, b"A2B1"),
}
GREY_PROFILES = {
    "exponent 1.8": grey_profile(power(1.8)),
    "exponent 1.8, version 4": grey_profile(parametric(0, 1.8), 4),
    "exponent 1": grey_profile(power(1)),
    "a table": grey_profile(table(lambda values: values**3)),
}
CMYK_PROFILES = {
    "ideal inks": lut_profile(b"CMYK", ideal_inks, 9),
    "real inks": lut_profile(b"CMYK", real_inks, 9),
}
ADOBE, DISPLAY_P3 = RGB_PROFILES["Adobe RGB"], RGB_PROFILES["Display P3, version 4"]
SRGB_PROFILES = {
    "LittleCMS's": colours.srgb_profile(),
    "parameters": rgb_profile("sRGB", SRGB_PARAMETERS, 4),
    "a table": rgb_profile(
        "sRGB", table(lambda v: np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4), 4096)
    ),
}


@functools.cache
def kinds() -> dict[str, bytes]:
    """Returns a file for every kind of colour information that Chromium knows, by name."""
    inks = Image.fromarray(INKS, "CMYK")
    translucent = np.dstack([CHART, RAMP])
    palette = Image.fromarray(CHART).quantize(256)
    chart_avif, ramp_avif = avif(COARSE_CHART), avif(COARSE_RAMP, "4:0:0")
    files = {
        "PNG": png(CHART),
        "PNG, grey": png(RAMP),
        "GIF": saved(palette, "GIF"),
        "JPEG": jpeg(COARSE_CHART),
        "JPEG, CMYK": jpeg(inks),
        "JPEG, CMYK with an RGB profile": jpeg(inks, icc_profile=DISPLAY_P3),
        "AVIF": chart_avif,
        "AVIF, grey": ramp_avif,
        "AVIF, grey, nclx P3 linear": with_nclx(ramp_avif, P3, LINEAR),
        "AVIF, grey, nclx PQ": with_nclx(ramp_avif, BT2020, PQ),
        "AVIF, reserved transfer": with_nclx(chart_avif, BT2020, 3),
        "AVIF, unknown primaries": with_nclx(chart_avif, 99, LINEAR),
        "PNG, grey, cICP P3 linear": png(RAMP, cicp(P3, LINEAR)),
        "PNG, grey, cICP PQ": png(RAMP, cicp(BT2020, PQ)),
        "PNG, grey, cICP HLG": png(RAMP, cicp(BT2020, HLG)),
        "PNG, cICP of 16 bits": png(CHART.astype(int) * 257, cicp(P3, SRGB_CURVE), bits=16),
        "PNG, cICP of the limited range": png(CHART, cicp(P3, SRGB_CURVE, full_range=0)),
        "PNG, cICP with unknown primaries": png(CHART, cicp(99, LINEAR)),
        "PNG, cICP with an unknown transfer, and iCCP": png(CHART, iccp(ADOBE), cicp(P3, 2)),
        "PNG, cICP that is too short": png(CHART, chunk(b"cICP", bytes([P3, SRGB_CURVE, 0]))),
        "PNG, cICP and iCCP": png(CHART, iccp(ADOBE), cicp(P3, SRGB_CURVE)),
        "PNG, cICP and sRGB": png(CHART, cicp(P3, SRGB_CURVE), SRGB_CHUNK),
        "PNG, iCCP and sRGB": png(CHART, iccp(ADOBE), SRGB_CHUNK),
        "PNG, iCCP, gAMA and cHRM": png(CHART, iccp(ADOBE), gama(100_000), chrm("P3")),
        "PNG, sRGB, gAMA and cHRM": png(CHART, SRGB_CHUNK, gama(100_000), chrm("P3")),
        "PNG, gAMA and cHRM that are impossible": png(CHART, gama(100_000), chunk(b"cHRM", bytes(32))),
        "PNG, gAMA and a broken profile": png(CHART, iccp(bytes(200)), gama(100_000)),
        "PNG, gAMA and a profile of another space": png(
            CHART, iccp(GREY_PROFILES["exponent 1.8"]), gama(100_000)
        ),
        "PNG, cHRM alone": png(CHART, chrm("P3")),
        "PNG, gAMA of 0": png(CHART, gama(0)),
        "PNG, gAMA, palette": saved(palette, "PNG").replace(b"\0\0\3\0PLTE", gama(100_000) + b"\0\0\3\0PLTE"),
        "PNG, iCCP, palette": saved(palette, "PNG", icc_profile=ADOBE),
        "PNG, iCCP, 16 bits": png(CHART.astype(int) * 257, iccp(ADOBE), bits=16),
        "PNG, iCCP, alpha": png(translucent, iccp(ADOBE)),
        "PNG, gAMA, alpha": png(translucent, gama(100_000)),
        "PNG, PQ, alpha": png(translucent, cicp(BT2020, PQ)),
        "PNG, PQ, alpha of 16 bits": png(translucent.astype(int) * 257, cicp(BT2020, PQ), bits=16),
        "PNG, grey with alpha, iCCP": png(np.dstack([RAMP, RAMP[::-1]]), iccp(GREY_PROFILES["exponent 1.8"])),
        "WebP, alpha, profile": saved(
            Image.fromarray(translucent), "WEBP", lossless=True, exact=True, icc_profile=DISPLAY_P3
        ),
        "WebP, animated, profile": saved(
            CHART,
            "WEBP",
            lossless=True,
            icc_profile=ADOBE,
            save_all=True,
            duration=60_000,
            append_images=[Image.fromarray(255 - CHART)],
        ),
        "PNG, gAMA and cHRM that are too short": png(CHART, chunk(b"gAMA", b"\0"), chunk(b"cHRM", bytes(31))),
        "PNG, sRGB that is too short, and gAMA": png(CHART, chunk(b"sRGB", b""), gama(100_000)),
        "BMP, profile": bmp(ADOBE),
        "AVIF, profile and nclx": with_nclx(avif(COARSE_CHART, icc_profile=ADOBE), P3, LINEAR),
    }
    for primaries in colours.PRIMARIES:
        files[f"PNG, cICP {primaries}, {SRGB_CURVE}"] = png(CHART, cicp(primaries, SRGB_CURVE))
        files[f"AVIF, nclx {primaries}, {SRGB_CURVE}"] = with_nclx(chart_avif, primaries, SRGB_CURVE)
    for transfer in colours.TRANSFERS:
        files[f"PNG, cICP {BT709}, {transfer}"] = png(CHART, cicp(BT709, transfer))
        files[f"PNG, cICP {BT2020}, {transfer}"] = png(CHART, cicp(BT2020, transfer))
        if transfer != 11:  # Chromium does not open such an AVIF
            files[f"AVIF, nclx {BT2020}, {transfer}"] = with_nclx(chart_avif, BT2020, transfer)
            files[f"AVIF, nclx {P3}, {transfer}"] = with_nclx(chart_avif, P3, transfer)
    for value in (45_455, 100_000, 55_556, 1000, 43_000, 44_000, 47_500, 48_000, 10**6, 10**7):
        files[f"PNG, gAMA {value}"] = png(CHART, gama(value))
        files[f"PNG, grey, gAMA {value}"] = png(RAMP, gama(value))
    for name in WHITE_AND_PRIMARIES:
        files[f"PNG, gAMA 45455, cHRM {name}"] = png(CHART, gama(45_455), chrm(name))
        files[f"PNG, gAMA 55556, cHRM {name}"] = png(CHART, gama(55_556), chrm(name))
    for name, icc in RGB_PROFILES.items():
        files[f"PNG, profile: {name}"] = png(CHART, iccp(icc))
        files[f"PNG, grey, RGB profile: {name}"] = png(RAMP, iccp(icc))
    for name in ("Display P3, version 4", "Lab tables"):
        icc = RGB_PROFILES[name]
        files[f"JPEG, profile: {name}"] = jpeg(COARSE_CHART, icc_profile=icc)
        files[f"AVIF, profile: {name}"] = avif(COARSE_CHART, icc_profile=icc)
        files[f"WebP, profile: {name}"] = saved(COARSE_CHART, "WEBP", quality=100, icc_profile=icc)
        files[f"WebP, lossless, profile: {name}"] = saved(CHART, "WEBP", lossless=True, icc_profile=icc)
    for name, icc in GREY_PROFILES.items():
        files[f"PNG, grey profile: {name}"] = png(RAMP, iccp(icc))
        files[f"JPEG, grey profile: {name}"] = jpeg(COARSE_RAMP, icc_profile=icc)
        files[f"AVIF, grey profile: {name}"] = avif(COARSE_RAMP, "4:0:0", icc_profile=icc)
    for name, icc in CMYK_PROFILES.items():
        files[f"JPEG, CMYK profile: {name}"] = jpeg(inks, icc_profile=icc)
    return files


PAINT = """async sources => {
    const painted = [];
    for (const source of sources) {
        const image = new Image();
        image.src = source;
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext("2d", {willReadFrequently: true});
        context.fillStyle = "white";
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.drawImage(image, 0, 0);
        const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
        let text = "";
        for (let start = 0; start < data.length; start += 8192)
            text += String.fromCharCode(...data.subarray(start, start + 8192));
        painted.push([canvas.height, canvas.width, btoa(text)]);
    }
    return painted;
}"""


def painted_by(browser: Browser, files: dict[str, bytes]) -> dict[str, NDArray[np.uint8]]:
    """Returns what Chromium paints on a white sRGB canvas for each file, (H, W, 3)."""
    page = browser.new_page()
    sources = ["data:image/png;base64," + base64.b64encode(file).decode() for file in files.values()]
    painted = page.evaluate(PAINT, sources)  # which tells the kind by the content
    page.close()
    return {
        name: np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., :3]
        for name, (height, width, data) in zip(files, painted, strict=True)
    }


@pytest.fixture
def photo_of(tmp_path: Path) -> Callable[..., Photo]:
    """Reads a photo from bytes, in this process."""

    def photo_of(content: bytes, longest_side: float = math.inf) -> Photo:
        path = tmp_path / "photo"
        path.write_bytes(content)
        return decoded(path, longest_side)

    return photo_of


def mean_difference(ours: NDArray, theirs: NDArray) -> float:
    """The mean difference in levels, of the channel where it is largest."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours.astype(int) - theirs).mean(axis=(0, 1)).max())


@pytest.fixture(scope="module")
def painted(browser: Browser) -> dict[str, NDArray[np.uint8]]:
    return painted_by(browser, kinds())


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_of_colour_information_is_converted_as_chromium_does(kind, painted, photo_of) -> None:
    difference = mean_difference(photo_of(kinds()[kind]).pixels, painted[kind])
    assert difference <= LARGEST_MEAN


@pytest.mark.skipif(not CASES.exists(), reason="the files of reports are not here")
@pytest.mark.parametrize("name", ["coffee-p3.jpg", "coffee-cmyk.jpg", "png-cicp-p3.png", "grey.avif"])
def test_files_of_reports_are_read_as_chromium_shows_them(name: str, browser: Browser) -> None:
    path = CASES / name
    painted = painted_by(browser, {name: path.read_bytes()})
    assert mean_difference(read_image(path), painted[name]) <= LARGEST_MEAN


UNUSUAL = (
    "light black",
    "colorimetric",
    "parameters 2",
    "real inks",
    "grey",
    "alpha",
    "CMYK",
    "WebP, profile",
)
"""Kinds whose file says something else about black or white, shows something else than the chart, or loses
too much of its small squares."""


@pytest.mark.parametrize("kind", [kind for kind in kinds() if not any(word in kind for word in UNUSUAL)])
def test_white_stays_white_black_stays_black_and_greys_stay_grey(kind: str, photo_of) -> None:
    pixels = photo_of(kinds()[kind]).pixels
    side = len(pixels) // 16
    pixels = pixels[side // 2 :: side, side // 2 :: side].reshape(-1, 3).astype(int)
    exact = kind.startswith(("PNG", "GIF"))
    assert pixels[0].max() <= (0 if exact else 1)
    assert pixels[-1].min() >= (255 if exact else 254)
    assert np.ptp(pixels[-len(GREYS) :], axis=1).max() <= 3


@pytest.mark.parametrize("kind", [kind for kind in kinds() if "grey" in kind and "RGB" not in kind])
def test_a_grey_picture_stays_grey_from_black_to_white(kind: str, photo_of) -> None:
    pixels = photo_of(kinds()[kind]).pixels.astype(int)
    assert np.ptp(pixels, axis=2).max() <= 3
    if "alpha" not in kind:
        assert (pixels.min(), pixels.max()) == (0, 255)
        assert (np.diff(pixels[2::4, 2::4] if len(pixels) > 16 else pixels, axis=1) >= 0).all()


CHART_FORMATS = {
    "PNG": lambda icc: png(CHART, iccp(icc)),
    "JPEG": lambda icc: jpeg(COARSE_CHART, icc_profile=icc),
    "WEBP": lambda icc: saved(CHART, "WEBP", lossless=True, icc_profile=icc),
    "AVIF": lambda icc: avif(COARSE_CHART, icc_profile=icc),
    "TIFF": lambda icc: saved(CHART, "TIFF", icc_profile=icc),
}
"""Each writes the chart with a profile."""
PLAIN = {
    "PNG": lambda: png(CHART),
    "JPEG": lambda: jpeg(COARSE_CHART),
    "WEBP": lambda: saved(CHART, "WEBP", lossless=True),
    "AVIF": lambda: avif(COARSE_CHART),
    "TIFF": lambda: saved(CHART, "TIFF"),
}
"""Each writes the chart without a profile."""


@pytest.mark.parametrize("format", CHART_FORMATS)
@pytest.mark.parametrize(
    "icc",
    [
        pytest.param(ADOBE[:300], id="truncated"),
        pytest.param(bytes(300), id="zeros"),
        pytest.param(b"junk" * 100, id="junk"),
        pytest.param(ADOBE[:36] + b"nope" + ADOBE[40:], id="without its mark"),
        pytest.param(GREY_PROFILES["exponent 1.8"], id="for greys"),
        pytest.param(CMYK_PROFILES["ideal inks"], id="for inks"),
        pytest.param(profile(b"RGB ", {}), id="without tables"),
    ],
)
def test_a_profile_that_cannot_be_used_is_ignored_with_a_note(format: str, icc: bytes, photo_of) -> None:
    photo = photo_of(CHART_FORMATS[format](icc))
    np.testing.assert_array_equal(photo.pixels, photo_of(PLAIN[format]()).pixels)
    assert photo.notes == (BROKEN_PROFILE,)


@pytest.mark.parametrize("icc", [ADOBE, CMYK_PROFILES["ideal inks"][:900], GREY_PROFILES["exponent 1.8"]])
def test_a_cmyk_picture_with_a_profile_that_cannot_be_used_is_converted_without_it(icc, photo_of) -> None:
    inks = Image.fromarray(INKS, "CMYK")
    photo = photo_of(jpeg(inks, icc_profile=icc))
    np.testing.assert_array_equal(photo.pixels, photo_of(jpeg(inks)).pixels)
    assert photo.notes == (BROKEN_PROFILE,)


@pytest.mark.parametrize("format", CHART_FORMATS)
@pytest.mark.parametrize("icc", SRGB_PROFILES.values(), ids=SRGB_PROFILES)
def test_a_profile_of_srgb_changes_nothing(format: str, icc: bytes, photo_of) -> None:
    photo = photo_of(CHART_FORMATS[format](icc))
    np.testing.assert_array_equal(photo.pixels, photo_of(PLAIN[format]()).pixels)
    assert photo.notes == ()


@pytest.mark.parametrize("icc", [*SRGB_PROFILES.values(), *RGB_PROFILES.values()])
def test_only_profiles_of_srgb_are_left_out(icc: bytes) -> None:
    for mode in ("RGB", "L"):
        convert, note = colours.converter(colours.Meaning(profile=icc), mode)
        assert note is None
        assert (convert is None) == (icc in SRGB_PROFILES.values() or (mode == "L" and icc == DISPLAY_P3))


def test_a_profile_that_is_called_srgb_and_is_not_counts(photo_of) -> None:
    icc = ADOBE.replace(b"test\0", b"sRGB\0")
    np.testing.assert_array_equal(
        photo_of(png(CHART, iccp(icc))).pixels, photo_of(png(CHART, iccp(ADOBE))).pixels
    )


def test_the_srgb_profile_has_the_same_bytes_in_every_process() -> None:
    program = "import sys, photo.colours as c; sys.stdout.buffer.write(c.srgb_profile())"
    there = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True).stdout
    assert there == colours.srgb_profile()
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(there))).startswith("sRGB")
    assert struct.unpack(">H", there[24:26]) == (2000,)  # and not the year of this run


Y, X = np.mgrid[0:1:96j, 0:1:128j]
SMOOTH = np.round(255 * np.stack([X, Y, 1 - X * Y], axis=2)).astype(np.uint8)
SMOOTH_INKS = Image.fromarray(np.dstack([255 - SMOOTH, SMOOTH[..., 0] // 2]), "CMYK")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(jpeg(SMOOTH, icc_profile=DISPLAY_P3), id="Display P3"),
        pytest.param(jpeg(SMOOTH, icc_profile=RGB_PROFILES["ProPhoto"]), id="ProPhoto"),
        pytest.param(jpeg(SMOOTH, icc_profile=RGB_PROFILES["Lab tables"]), id="Lab tables"),
        pytest.param(jpeg(SMOOTH[..., 0], icc_profile=GREY_PROFILES["exponent 1.8"]), id="grey"),
        pytest.param(jpeg(SMOOTH_INKS), id="CMYK"),
        pytest.param(jpeg(SMOOTH_INKS, icc_profile=CMYK_PROFILES["real inks"]), id="CMYK with a profile"),
        pytest.param(png(SMOOTH, cicp(P3, SRGB_CURVE)), id="cICP"),
        pytest.param(png(SMOOTH, cicp(BT2020, PQ)), id="PQ"),
        pytest.param(png(SMOOTH, cicp(BT2020, HLG)), id="HLG"),
        pytest.param(png(SMOOTH, gama(55_556)), id="gAMA"),
        pytest.param(png(np.dstack([SMOOTH, SMOOTH[..., 1]]), cicp(P3, SRGB_CURVE)), id="alpha"),
        pytest.param(avif(SMOOTH, icc_profile=ADOBE), id="AVIF"),
    ],
)
def test_a_reduced_picture_agrees_with_the_whole_one(content: bytes, photo_of, monkeypatch) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", 1000)
    reduced, whole = photo_of(content, 40), photo_of(content)
    assert reduced.size == whole.size == (96, 128)
    assert reduced.pixels.shape == (30, 40, 3)
    difference = np.abs(reduced.pixels.astype(int) - strips.fit_within(whole.pixels, 40))
    assert difference.mean(axis=(0, 1)).max() <= LARGEST_MEAN


@pytest.mark.skipif("HEIF" not in READABLE, reason="pillow_heif is not installed")
@pytest.mark.parametrize("code", [(P3, SRGB_CURVE), (BT2020, PQ), (BT2020, HLG), (P3, LINEAR), (BT709, 1)])
def test_a_heic_means_what_an_avif_with_the_same_code_points_means(code: tuple[int, int], photo_of) -> None:
    heic, like = saved(COARSE_CHART, "HEIF", quality=100, chroma=444), avif(COARSE_CHART)
    ours = photo_of(with_nclx(heic, *code)).pixels
    assert mean_difference(ours, photo_of(with_nclx(like, *code)).pixels) < 3
    assert (mean_difference(ours, photo_of(like).pixels) > 5) == (code != (BT709, 1))


def test_lab_is_converted(photo_of) -> None:
    """Chromium reads no TIFF. The oracle is the formula of CIE Lab under D50."""
    lab = np.round(lab_of(CHART.reshape(-1, 3) / 255) * [2.55, 1, 1]).astype(int)
    stored = np.stack([lab[:, 0], lab[:, 1] % 256, lab[:, 2] % 256], axis=1).astype(np.uint8)
    content = saved(Image.frombytes("LAB", (16, 16), stored.tobytes()), "TIFF")
    again = lab_of(photo_of(content).pixels.reshape(-1, 3) / 255)
    np.testing.assert_allclose(again, lab / [2.55, 1, 1], atol=3)  # Lab was rounded
    assert np.abs(again - lab / [2.55, 1, 1]).mean() < 0.5


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 6])
def test_a_cicp_chunk_of_another_length_says_nothing(length: int, photo_of) -> None:
    content = png(CHART, chunk(b"cICP", bytes([P3, SRGB_CURVE, 0, 1, 0, 0])[:length]))
    np.testing.assert_array_equal(photo_of(content).pixels, CHART)


@pytest.mark.parametrize("length", range(4))
def test_an_nclx_box_that_the_file_cuts_off_says_nothing(length: int, photo_of) -> None:
    content = avif(COARSE_CHART).replace(b"colrnclx", b"colrnope") + b"colrnclx" + bytes(length)
    np.testing.assert_array_equal(photo_of(content).pixels, photo_of(avif(COARSE_CHART)).pixels)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # impossible white points
def test_malformed_colour_information_is_never_a_bug_of_ours() -> None:
    chance = random.Random(0)
    wholes = [
        *(
            png(CHART[:2, :2], chunk)
            for chunk in (cicp(P3, PQ), gama(50_000) + chrm("P3"), gama(1) + chrm("P3"))
        ),
        *(jpeg(CHART[:2, :2], icc_profile=icc) for icc in RGB_PROFILES.values() if len(icc) < 3000),
        jpeg(RAMP[:2, :2], icc_profile=GREY_PROFILES["a table"]),
        with_nclx(avif(CHART[:4, :4]), BT2020, HLG),
        bmp(ADOBE)[:200],
        bmp(ADOBE),
    ]
    room = memoryview(bytearray(1000))
    for _ in range(300):
        content = bytearray(chance.choice(wholes))
        for _ in range(chance.choice([1, 3, 9])):
            content[chance.randrange(20, min(len(content), 600))] = chance.choice(
                [0, 1, 255, chance.randrange(256)]
            )
        with contextlib.suppress(ImageError):
            decoder.decode(mended(bytes(content)), math.inf, room)


def mended(content: bytes) -> bytes:
    """Returns a PNG whose chunks have their right checksums, and every other file as it is."""
    if not content.startswith(b"\x89PNG"):
        return content
    at, parts = 8, [content[:8]]
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        parts.append(chunk(content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join(parts)
