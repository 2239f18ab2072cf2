"""Colours: from the colours that a file means to sRGB (IEC 61966-2-1), which is what screens and networks
expect.

An ICC profile goes through LittleCMS (`PIL.ImageCms`). Code points as in PNG's cICP chunk and in AVIF's and
HEIC's nclx box (ITU-T H.273), and PNG's gAMA and cHRM, go through a curve and a matrix of our own. The order
is that of
browsers: cICP, then the ICC profile, then sRGB, then gAMA and cHRM (PNG specification, third edition, 4.3).
"""

from __future__ import annotations

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

D65 = (0.3127, 0.3290)
PRIMARIES: dict[int, tuple[tuple[float, float], ...]] = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65),  # BT.709, sRGB
    4: ((0.670, 0.330), (0.210, 0.710), (0.140, 0.080), (0.310, 0.316)),  # BT.470 M
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), D65),  # BT.470 BG
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),  # BT.601
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),  # SMPTE 240M
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), (0.310, 0.316)),  # film
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),  # BT.2020
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),  # DCI-P3
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),  # Display P3
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65),  # EBU 3213
}
"""xy of red, green, blue and white, by H.273's code points."""
SRGB_PRIMARIES = 1
SRGB_TRANSFER, PQ, HLG = 13, 16, 18
VIDEO_TRANSFERS = (1, 6, 14, 15)
"""BT.709 and its relatives. Browsers show stills in these as sRGB."""
REFERENCE_WHITE = 203.0
"""Candela per square metre of white text in HDR (BT.2408)."""
PEAK = 1000.0
"""Candela per square metre that become white when HDR is reduced to SDR."""
BLACK_POINT = 0x2000
"""LittleCMS's cmsFLAGS_BLACKPOINTCOMPENSATION."""
MAX_PROFILE = 4 * 2**20
"""Bytes of an ICC profile."""
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

STEPS = 65_535
"""Steps of light between black and white, in the table that turns light into 8-bit values."""

BROKEN_PROFILE = (
    "The file's colour profile is damaged or of another kind than the picture, so it was ignored."
)

Curve = Callable[[NDArray[Any]], Any]


@dataclass(frozen=True)
class Meaning:
    """What a file says about its colours.

    Attributes:
        profile: An ICC profile.
        code: (primaries, transfer) of H.273.
        gamma: The exponent that turns values into light.
        chromaticities: xy of red, green, blue and white, for `gamma`.
    """

    profile: bytes | None = None
    code: tuple[int, int] | None = None
    gamma: float | None = None
    chromaticities: tuple[tuple[float, float], ...] | None = None


Converter = Callable[[Image.Image], Image.Image]
"""Turns a strip of the mode that it was made for into RGB, as sRGB."""


def meaning_of_png(content: Content, profile: bytes | None) -> Meaning:
    """Reads what the chunks before a PNG's pixels say. The first of cICP, iCCP, sRGB and gAMA counts."""
    chunks = _png_chunks(content)
    if len(cicp := chunks.get(b"cICP", b"")) == 4:
        return Meaning(code=(cicp[0], cicp[1]))
    if profile:
        return Meaning(profile=profile)
    if b"sRGB" in chunks or len(gama := chunks.get(b"gAMA", b"")) != 4:
        return Meaning()
    (inverse,) = struct.unpack(">I", gama)
    chromaticities = None
    if len(chrm := chunks.get(b"cHRM", b"")) == 32:
        white, red, green, blue = ((x / 1e5, y / 1e5) for x, y in struct.iter_unpack(">II", chrm))
        chromaticities = (red, green, blue, white)
    return Meaning(gamma=1e5 / inverse if inverse else None, chromaticities=chromaticities)


def meaning_of_avif(content: Content, profile: bytes | None) -> Meaning:
    """Reads AVIF's nclx box. An ICC profile in the same file counts first."""
    at = content.find(b"colrnclx", 0, 64 * 1024)
    if profile or at < 0:
        return Meaning(profile=profile)
    return Meaning(code=struct.unpack_from(">HH", content, at + 8))


def converter(meaning: Meaning, mode: str) -> tuple[Converter | None, str | None]:
    """Returns what turns strips of `mode` ("L", "RGB", "CMYK" or "LAB") into sRGB, and a note for the
    visitor.

    None for a mode whose strips are sRGB already, apart from Pillow's own `convert("RGB")`.
    """
    if mode == "LAB":
        return _through_lcms(ImageCms.createProfile("LAB"), "LAB"), None
    if meaning.profile:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(meaning.profile[:MAX_PROFILE]))
            space = profile.profile.xcolor_space.strip()
            if space == "RGB" and mode == "L":
                inner = _through_profile(profile, "RGB")
                return (lambda strip: inner(strip.convert("RGB"))) if inner else None, None
            if {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}.get(space) == mode:
                return _through_profile(profile, mode), None
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # which the note says
        return None, BROKEN_PROFILE
    if mode == "CMYK":
        return None, None
    curve, xy = _curve_and_primaries(meaning)
    if curve is None:
        return None, None
    return _through_matrix(curve, xy), None


def srgb_chunk() -> bytes:
    """Returns PNG's sRGB chunk (perceptual intent), with its length and checksum."""
    return struct.pack(">I", 1) + b"sRGB\0" + struct.pack(">I", zlib.crc32(b"sRGB\0"))


@functools.cache
def srgb_profile() -> bytes:
    """Returns LittleCMS's sRGB profile, for files that cannot say it more briefly."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


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


def _through_profile(profile: Any, mode: str) -> Converter | None:
    """None for a profile that says sRGB: there is nothing to convert."""
    description = profile.profile.profile_description or ""
    if mode == "RGB" and description.startswith("sRGB"):
        return None
    return _through_lcms(profile, mode, ImageCms.getDefaultIntent(profile))


def _through_lcms(profile: Any, mode: str, intent: int = 1) -> Converter:
    target = ImageCms.createProfile("sRGB")
    chosen = ImageCms.Intent(intent if intent in (0, 1, 2, 3) else 1)
    transform = ImageCms.buildTransform(profile, target, mode, "RGB", chosen, ImageCms.Flags(BLACK_POINT))

    def convert(strip: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(strip, transform)
        assert converted is not None  # only if done in place
        return converted

    return convert


def _curve_and_primaries(meaning: Meaning) -> tuple[Curve | None, tuple[tuple[float, float], ...]]:
    """The curve from values to light, and the primaries. No curve where the picture is sRGB."""
    srgb = PRIMARIES[SRGB_PRIMARIES]
    if meaning.code:
        primaries, transfer = meaning.code
        xy = PRIMARIES.get(primaries, srgb)
        curve = _transfer(transfer)
        return (None, srgb) if xy == srgb and curve is _from_srgb else (curve, xy)
    if meaning.gamma is None or not 0.1 < meaning.gamma < 10:
        return None, srgb
    gamma = meaning.gamma
    if meaning.chromaticities is None and abs(gamma - 2.2) < 0.05:
        return None, srgb
    xy = meaning.chromaticities or srgb
    return (lambda values: values**gamma), xy if _is_possible(xy) else srgb


def _transfer(code: int) -> Curve:
    if code == PQ:
        return _from_pq
    if code == HLG:
        return _from_hlg
    if code == 4:
        return lambda values: values**2.2
    if code == 5:
        return lambda values: values**2.8
    if code == 8:
        return lambda values: values
    if code == 17:
        return lambda values: values**2.6 * 52.37 / 48
    return _from_srgb  # sRGB itself, BT.709 and its relatives, and codes that nobody knows


def _from_srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _to_srgb(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def _from_pq(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084, in units of reference white."""
    power = values ** (1 / 78.84375)
    light = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    return light ** (1 / 0.1593017578125) * 10_000 / REFERENCE_WHITE


def _from_hlg(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """ARIB STD-B67 on a screen of `PEAK`, in units of reference white. Each channel gets the gamma of 1.2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    return scene**1.2 * PEAK / REFERENCE_WHITE


def _reduced_to_sdr(light: NDArray[Any]) -> Any:
    """Reinhard's curve on the brightest channel: `PEAK` becomes 1, and dark values hardly change."""
    brightest = light.max(axis=-1, keepdims=True)
    white = PEAK / REFERENCE_WHITE
    return light * (1 + brightest / white**2) / (1 + brightest)


def _is_possible(xy: tuple[tuple[float, float], ...]) -> bool:
    if min(y for _, y in xy) <= 0:
        return False
    red, green, blue, _ = xy
    area = (green[0] - red[0]) * (blue[1] - red[1]) - (blue[0] - red[0]) * (green[1] - red[1])
    return abs(area) > 1e-3


def _to_xyz(xy: tuple[tuple[float, float], ...]) -> Any:
    """The matrix from linear RGB with these primaries to XYZ adapted to D65 (Bradford)."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in xy]).T
    primaries, white = columns[:, :3], columns[:, 3]
    matrix = primaries * np.linalg.solve(primaries, white)
    x, y = D65
    ratio = (BRADFORD @ np.array([x / y, 1.0, (1 - x - y) / y])) / (BRADFORD @ white)
    return np.linalg.inv(BRADFORD) @ np.diag(ratio) @ BRADFORD @ matrix


def _through_matrix(curve: Curve, xy: tuple[tuple[float, float], ...]) -> Converter:
    """Converts strips of mode L and RGB to light, from these primaries to sRGB's, and to sRGB's curve."""
    light_of = curve(np.arange(256) / 255).astype(np.float32)
    level_of = np.round(_to_srgb(np.arange(STEPS + 1) / STEPS) * 255).astype(np.uint8)
    is_hdr = curve in (_from_pq, _from_hlg)
    matrix = (np.linalg.inv(_to_xyz(PRIMARIES[SRGB_PRIMARIES])) @ _to_xyz(xy)).T.astype(np.float32)

    def convert(strip: Image.Image) -> Image.Image:
        light = light_of[np.asarray(strip.convert("RGB"))] @ matrix
        if is_hdr:
            light = _reduced_to_sdr(np.maximum(light, 0))
        return Image.fromarray(level_of[(light.clip(0, 1) * STEPS + 0.5).astype(np.uint16)])

    return convert
