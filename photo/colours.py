"""Colours: converts the colours that a file means to sRGB (IEC 61966-2-1), which screens and networks expect.

An ICC profile goes through LittleCMS (`PIL.ImageCms`). Other information goes through a curve and a matrix of
our own: the code points of ITU-T H.273, which PNG's cICP chunk and the nclx box of AVIF and HEIC hold, and
PNG's gAMA and cHRM chunks. In a PNG the order is that of browsers: cICP, then the ICC profile, then sRGB, and
last gAMA and cHRM (PNG specification, third edition). In an AVIF or HEIC the ICC profile counts first.

The result is what Chromium paints on a canvas, within 2 levels on average (`tests/photo/test_colours.py`).
Where the standards leave a choice, this module does what Chromium does:
- A profile's perceptual table is used, without black point compensation.
- Before a CMYK profile is applied, the black ink is mixed into the other three inks (`_without_black`).
- The curve of BT.709 and its relatives is a screen's exponent of 2.4 in a PNG, and sRGB's curve in an AVIF.
- A gAMA chunk within 5% of 1 / 2.2 means sRGB, unless the file has a cHRM chunk.
- The profile of an animated WebP is ignored (`photo.sources`).
- PQ and HLG become SDR by one curve on the brightest channel (`_sdr_gain`).
"""

from __future__ import annotations

import contextlib
import functools
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from photo.content import Content

Primaries = tuple[tuple[float, float], ...]
"""xy of red, green, blue and white."""
D65 = (0.3127, 0.3290)
PRIMARIES: dict[int, Primaries] = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65),  # BT.709, sRGB
    4: ((0.670, 0.330), (0.210, 0.710), (0.140, 0.080), (0.310, 0.316)),  # BT.470 M
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), D65),  # BT.470 BG
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),  # BT.601
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),  # SMPTE 240M
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), (0.310, 0.316)),  # film
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),  # BT.2020
    10: ((1, 0), (0, 1), (0, 0), (1 / 3, 1 / 3)),  # XYZ
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),  # DCI-P3
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),  # Display P3
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65),  # EBU 3213
}
"""The primaries by H.273's code points."""
SRGB_PRIMARIES, BT2020_PRIMARIES = 1, 9
SRGB_TRANSFER, PQ, HLG = 13, 16, 18
VIDEO_TRANSFERS = (1, 6, 11, 14, 15)
"""The curves of BT.709 and its relatives."""
RESERVED_TRANSFERS = (0, 3)
REFERENCE_WHITE = 203.0
"""Candela per square metre of white text in HDR (BT.2408)."""
PEAK = 1000.0
"""Candela per square metre that become white when HDR is reduced to SDR."""
BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
"""How much red, green and blue add to the luminance."""
USUAL_GAMMA, GAMMA_TOLERANCE = 2.2, 0.05
MAX_PROFILE = 4 * 2**20
"""Bytes of an ICC profile."""
PROFILE_VERSION, PROFILE_DATE = 8, slice(24, 36)
"""Where an ICC profile's header holds its main version, and the time when it was made."""
LONG_AGO = struct.pack(">6H", 2000, 6, 1, 0, 0, 0)
SPACES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
"""Pillow's mode for the colour space of an ICC profile."""
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

STEPS = 65_535
"""Steps of light between black and white, in the table that turns light into 8-bit values."""

BROKEN_PROFILE = (
    "The file's colour profile is damaged or of another kind than the picture, so it was ignored."
)

PNG_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9}
"""The lengths of chunks that a PNG can do without."""
PNG_MARK = b"\x89PNG\r\n\x1a\n"
BROKEN_CHUNK = (
    "A part of the file that describes its colours or its resolution is damaged, so it was ignored."
)

Curve = Callable[[NDArray[Any]], Any]
"""Turns values, 0 to 1, into light."""


@dataclass(frozen=True)
class Meaning:
    """What a file says about its colours. The first attribute that is set counts.

    Attributes:
        code: (primaries, transfer) of H.273, keys of `PRIMARIES` and `TRANSFERS`.
        profile: An ICC profile.
        gamma: The exponent that turns values into light.
        chromaticities: The primaries for `gamma`. Without them, sRGB's count.
    """

    code: tuple[int, int] | None = None
    profile: bytes | None = None
    gamma: float | None = None
    chromaticities: Primaries | None = None


Converter = Callable[[Image.Image], Image.Image]
"""Turns a strip of the mode that it was made for into RGB, as sRGB."""


def meaning_of_png(content: Content, profile: bytes | None) -> Meaning:
    """Reads the chunks before a PNG's pixels. `profile` is the content of its iCCP chunk.

    A cICP chunk counts if its code points are known, and if it says RGB of the full range.
    """
    chunks = _png_chunks(content)
    cicp = chunks.get(b"cICP", b"")
    known = len(cicp) == 4 and cicp[0] in PRIMARIES and cicp[1] in TRANSFERS and cicp[2:] == b"\0\1"
    gamma = chromaticities = None
    if b"sRGB" not in chunks and len(gama := chunks.get(b"gAMA", b"")) == 4:
        (inverse,) = struct.unpack(">I", gama)
        gamma = 1e5 / inverse if inverse else None
    if len(chrm := chunks.get(b"cHRM", b"")) == 32:
        white, *colours = ((x / 1e5, y / 1e5) for x, y in struct.iter_unpack(">II", chrm))
        chromaticities = (*colours, white)
    return Meaning((cicp[0], cicp[1]) if known else None, profile, gamma, chromaticities)


def without_broken_chunks(content: Content) -> bytes | None:
    """Returns a PNG without the chunks of `PNG_LENGTHS` that have another length. None if there are none.

    Browsers ignore such chunks. Pillow refuses the file.
    """
    if content[:8] != PNG_MARK:
        return None
    kept, start, at = [], 0, 8
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if name == b"IDAT":
            break
        end = at + 12 + length
        if length != PNG_LENGTHS.get(name, length):
            kept.append(content[start:at])
            start = end
        at = end
    return b"".join([*kept, content[start:]]) if kept else None


def meaning_of_avif(content: Content, profile: bytes | None) -> Meaning:
    """Reads AVIF's nclx box. `profile` is the file's ICC profile."""
    at = content.find(b"colrnclx", 0, 64 * 1024)
    code = content[at + 8 : at + 12] if at >= 0 else b""
    if len(code) < 4:
        return Meaning(profile=profile)
    primaries, transfer = struct.unpack(">HH", code)
    return meaning_of_nclx(primaries, transfer, profile)


def meaning_of_bmp(content: Content) -> Meaning:
    """Reads the ICC profile that a BMP's header of version 5 points to. Pillow leaves it out."""
    size, space = content[14:18], content[70:74]
    if size != struct.pack("<I", 124) or space != b"DEBM":  # PROFILE_EMBEDDED
        return Meaning()
    start, length = struct.unpack_from("<II", content, 14 + 112)
    return Meaning(profile=content[14 + start : 14 + start + length])


def meaning_of_nclx(primaries: int, transfer: int, profile: bytes | None) -> Meaning:
    """Returns what the code points in an AVIF or a HEIC mean. An ICC profile in the file counts first."""
    if profile or transfer in RESERVED_TRANSFERS:
        return Meaning(profile=profile)
    if primaries not in PRIMARIES:
        primaries = SRGB_PRIMARIES
    if transfer not in TRANSFERS or transfer in VIDEO_TRANSFERS:
        transfer = SRGB_TRANSFER
    return Meaning(code=(primaries, transfer))


def converter(meaning: Meaning, mode: str) -> tuple[Converter | None, str | None]:
    """Returns what turns strips of `mode` ("L", "RGB", "CMYK" or "LAB") into sRGB, and a note for the
    visitor.

    The converter is None if the strips are sRGB already, apart from Pillow's own `convert("RGB")`.
    """
    if mode == "LAB":
        return _through_lcms(
            ImageCms.createProfile("LAB"), "LAB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        ), None
    if mode == "CMYK" and not meaning.profile:
        return None, None
    if meaning.code:
        primaries, transfer = meaning.code
        if transfer in (PQ, HLG):
            return _through_tone_map(transfer, PRIMARIES[primaries]), None
        if meaning.code == (SRGB_PRIMARIES, SRGB_TRANSFER):
            return None, None
        return _through_matrix(TRANSFERS[transfer], PRIMARIES[primaries]), None
    note = None
    if meaning.profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError, struct.error):
            return _through_profile(meaning.profile, mode)
        note = BROKEN_PROFILE
    return (None if mode == "CMYK" else _through_gamma(meaning)), note


def srgb_chunk() -> bytes:
    """Returns PNG's sRGB chunk (perceptual intent), with its length and checksum."""
    return struct.pack(">I", 1) + b"sRGB\0" + struct.pack(">I", zlib.crc32(b"sRGB\0"))


@functools.cache
def srgb_profile() -> bytes:
    """Returns LittleCMS's sRGB profile, for files that cannot say it more briefly.

    The bytes are the same in every process: LittleCMS's date is replaced.
    """
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[PROFILE_DATE] = LONG_AGO
    return bytes(profile)


def _png_chunks(content: Content) -> dict[bytes, bytes]:
    """Returns the chunks before the pixels, by name. Of chunks with the same name the first counts."""
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if name == b"IDAT":
            break
        chunks.setdefault(name, content[at + 8 : at + 8 + length])
        at += 12 + length
    return chunks


def _through_profile(content: bytes, mode: str) -> tuple[Converter | None, str | None]:
    """Returns a converter as `converter` does. Raises one of many errors for a broken profile."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(content[:MAX_PROFILE]))
    space = SPACES.get(profile.profile.xcolor_space.strip())
    if space is None or (space != mode and (space, mode) != ("RGB", "L")):
        return None, BROKEN_PROFILE
    tables = content[128 : 132 + 12 * struct.unpack_from(">I", content, 128)[0]]
    relative = b"A2B1" in tables and b"A2B0" not in tables
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC if relative else ImageCms.Intent.PERCEPTUAL
    inner = _through_lcms(profile, space, intent)
    if mode == "CMYK":
        return (lambda strip: inner(_without_black(strip))), None
    probe = _probe(mode)
    given, got = (np.asarray(image, np.int16) for image in (probe, inner(probe.convert(space))))
    if np.abs(got - given.reshape(*given.shape[:2], -1)).max() <= 1:
        return None, None
    return (lambda strip: inner(strip.convert(space))), None


def _probe(mode: str) -> Image.Image:
    """Returns a strip with colours from the whole of RGB, or with all greys."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(16, 256, 3))


def _without_black(strip: Image.Image) -> Image.Image:
    """Returns the CMYK strip with its black ink mixed into the other inks, as Chromium does.

    Mixing makes dark colours lighter. By a usual profile for offset print, black ink alone is (55, 53, 53),
    and (67, 68, 71) after mixing. So a photo looks here as it looks in the visitor's browser.
    """
    return strip.convert("RGB").convert("CMYK")


def _through_lcms(profile: Any, mode: str, intent: ImageCms.Intent) -> Converter:
    transform = ImageCms.buildTransform(profile, _target(), mode, "RGB", intent, ImageCms.Flags.NONE)

    def convert(strip: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(strip, transform)
        assert converted is not None  # only if done in place
        return converted

    return convert


def _target() -> ImageCms.ImageCmsProfile:
    """Returns sRGB as a profile of version 2, for which LittleCMS adds no black point compensation."""
    profile = bytearray(srgb_profile())
    profile[PROFILE_VERSION] = 2
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _through_gamma(meaning: Meaning) -> Converter | None:
    """Returns a converter for PNG's gAMA and cHRM, if they are there and mean another thing than sRGB."""
    gamma, primaries = meaning.gamma, meaning.chromaticities
    if gamma is None:
        return None
    if primaries is None:
        if abs(USUAL_GAMMA / gamma - 1) < GAMMA_TOLERANCE:
            return None
        primaries = PRIMARIES[SRGB_PRIMARIES]
    return _through_matrix(lambda values: values**gamma, primaries) if _is_possible(primaries) else None


def _from_srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _from_smpte_240m(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values < 0.0913, values / 4, ((values + 0.1115) / 1.1115) ** (1 / 0.45))


def _from_pq(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084, in units of reference white."""
    power = values ** (1 / 78.84375)
    light = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    return light ** (1 / 0.1593017578125) * 10_000 / REFERENCE_WHITE


def _from_hlg(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """ARIB STD-B67: the light of the scene, from 0 to 1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)


TRANSFERS: dict[int, Curve] = {
    **dict.fromkeys(VIDEO_TRANSFERS, lambda values: values**2.4),  # a screen's curve, BT.1886
    4: lambda values: values**2.2,  # BT.470 M
    5: lambda values: values**2.8,  # BT.470 BG
    7: _from_smpte_240m,
    8: lambda values: values,
    SRGB_TRANSFER: _from_srgb,
    PQ: _from_pq,
    17: lambda values: values**2.6 * (52.37 / 48),  # SMPTE ST 428-1
    HLG: _from_hlg,
}
"""The curves by H.273's code points."""


def _to_srgb(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


LEVELS_OF_LIGHT = np.round(_to_srgb(np.arange(STEPS + 1) / STEPS) * 255).astype(np.uint8)
"""8-bit sRGB, by the step of light."""


def _is_possible(primaries: Primaries) -> bool:
    red, green, blue, white = primaries
    area = (green[0] - red[0]) * (blue[1] - red[1]) - (blue[0] - red[0]) * (green[1] - red[1])
    return abs(area) > 1e-3 and white[1] > 0


def _to_xyz(primaries: Primaries) -> Any:
    """Returns the matrix from linear RGB with these primaries to XYZ adapted to D65 (Bradford)."""
    columns = np.array([[x, y, 1 - x - y] for x, y in primaries]).T
    colours, white = columns[:, :3], columns[:, 3] / columns[1, 3]
    x, y = D65
    ratio = (BRADFORD @ np.array([x / y, 1.0, (1 - x - y) / y])) / (BRADFORD @ white)
    matrix = colours * np.linalg.solve(colours, white)
    return np.linalg.inv(BRADFORD) @ np.diag(ratio) @ BRADFORD @ matrix


def _matrix(source: Primaries, target: int) -> Any:
    """Returns the matrix by which a row of linear RGB must be multiplied, float32."""
    return (np.linalg.inv(_to_xyz(PRIMARIES[target])) @ _to_xyz(source)).T.astype(np.float32)


def _through_matrix(curve: Curve, primaries: Primaries) -> Converter:
    """Converts strips of mode L and RGB to light, from these primaries to sRGB's, and to sRGB's curve."""
    light_of = curve(np.arange(256) / 255).astype(np.float32)
    matrix = _matrix(primaries, SRGB_PRIMARIES)
    return lambda strip: _image(light_of[np.asarray(strip.convert("RGB"))] @ matrix)


def _through_tone_map(transfer: int, primaries: Primaries) -> Converter:
    """Converts strips of mode L and RGB from PQ or HLG to sRGB.

    HLG gets the light of a screen of `PEAK`: the scene's luminance to the power of 1.2 (BT.2100).
    """
    light_of = TRANSFERS[transfer](np.arange(256) / 255).astype(np.float32)
    to_bt2020 = _matrix(primaries, BT2020_PRIMARIES)
    to_srgb = _matrix(PRIMARIES[BT2020_PRIMARIES], SRGB_PRIMARIES)

    def convert(strip: Image.Image) -> Image.Image:
        light = light_of[np.asarray(strip.convert("RGB"))] @ to_bt2020
        if transfer == HLG:
            luminance = np.maximum(light @ BT2020_LUMINANCE, 0)[..., np.newaxis]
            light *= luminance**0.2 * (PEAK / REFERENCE_WHITE)
        light *= _sdr_gain(light.max(axis=-1, keepdims=True))
        return _image(light @ to_srgb)

    return convert


def _sdr_gain(brightest: NDArray[np.float32]) -> Any:
    """Returns the factor that reduces HDR to SDR, from the brightest channel in units of reference white.

    Light up to reference white is halved. From there to `PEAK` a quadratic Bezier curve leads to white, with
    the control points (1, 0.5), (1.65, 0.825) and (PEAK / REFERENCE_WHITE, 1).
    Source: the reference white tone mapping operator of SMPTE ST 2094-50, as Skia has it.
    """
    middle, end = 1.65, PEAK / REFERENCE_WHITE
    a, b = 1 - 2 * middle + end, middle - 1
    t = (np.sqrt(b * b + a * (brightest.clip(1, end) - 1)) - b) / a
    bent = 0.5 * (1 - t) ** 2 + 1.65 * t * (1 - t) + t * t
    return np.where(brightest <= 1, np.float32(0.5), bent / np.maximum(brightest, 1))


def _image(light: Any) -> Image.Image:
    return Image.fromarray(LEVELS_OF_LIGHT[(light.clip(0, 1) * STEPS + 0.5).astype(np.uint16)])
