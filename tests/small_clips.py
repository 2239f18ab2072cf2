"""Makes small clips of every kind for tests, also clips that OpenCV alone does not write."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

CODECS = {"mp4": "mp4v", "mov": "mp4v", "webm": "VP80", "avi": "MJPG", "mkv": "MJPG"}
"""A codec for each container, both as OpenCV names them."""
QUARTERS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
"""The upper left of an MP4's matrix, for a clip that is shown turned clockwise by these degrees."""
HDR = zlib.decompress(
    base64.b85decode(
        "c-oCrL5n0c6i&~K%ed@e#W{EwFs^&>u-#Kt-7}62ft7Kw4+>sfL4+ceq`G1!l}wWE>7LUHdzc>}d-AZS{Q+LQD9mB;vWPczM"
        "GzH45%ef7X#3LBv)!|<VyM*n^4|Ae^4?1oLI{^(Vx>14p%oM*%#4m$s%<Al2(6b+2(aDNoCc7$&pk1ne(=q;pFjEWe($4OSH"
        "8mcpa1o@akkUJP0WlFINjL>*lU4m>-9ITz1r;Hm#^=EjSB{bJ!2<IlmTZ+(r#u+7THw@w!5`;aB$EXNiK|{b<4Q^R*c)Kf>y"
        "vWHb_(ZE@rf#jHK9!lC&`wg)(eF(r(gCFs-SYctMhJyPJ&Dw2ieOl^A0`EC9WTt)GA^ymQA%+DgC)URcYq;CYOgf=BLX-4`U"
        "?!K`vd(;Qq=9Gp-}dO*A5UCsgkwy#M7N1*)B)PiK`l{CdA^&z)@AZ=uv1lYH^DN8Q`X=XT74m@HYWz2w9u*erWuOt%-MS^QL"
        "+k;6>Lp+D9gK&xh3G{^;Iy%Xj(Ut~SGbmATRMrpzh>k{1>8KVSidE!x0$6gA0j8YVm_?BnlE$65bYhm*fsp+w6o8Bsb>24?t"
        "S3qft^+ZF*d*Id<}lZ?CTW5_6SZK&KspJY?H)_&gs;HevHW4W(e4;wuEe^4y2i9%L9%u$!TT{8lC*XJ+8B5y>6q-M0DKUZbg"
        ";D0B)AaJLx@H9q5rX)=my-`4RLf6JvII7_oHXCd-9L&m+#)$_!gnnb#2TD>`IR+j?RqLpWww&1I1@C8fRILuCJp194qj=1w|"
        "MDekTlOd#*kv8vlpq|JfJMCqkD64<6*EP(Cbq@P%*VbIm1<9-2Rz`wKAF(3^K>i)O`@JGI1bahZ8New#g7b0s3DaR}WhW5Gv"
        "y7IgWTm-&fplfxBQI@E=sQ}_fox;_*N@E1OKzQp-7{(%0a6ftRxdLVnJj0>*;A1hhJ-^Jq^@yv7z@0WnJ*Qn9?>33+e5Ax1u"
        "@83Fp`{vQw?bsJM)auH6-@o$VaRZ&Je)-|vrQ<&zJc#a3GoxJ1)EGU9F2aOy(Nb^cr;Bp~Zt=YIUmu_D>cgxpXu(^HcoVW^X"
        "Z4FXU^|@Oo{twgW|sH~OfuvlwsTvHnT+GP<<>#F9ko_1mtkGP{rDSOVqcy"
    )
)
"""One white frame of 32 x 32 pixels: MP4, H.264 with 10 bits, BT.2020 with PQ. Made with x264."""


def moving_frames(count: int = 12, size: tuple[int, int] = (48, 64)) -> list[NDArray[np.uint8]]:
    """Returns frames, (h, w, 3) uint8 RGB: grey, with a red square that moves right by 2 pixels a frame.

    The upper half is lighter than the lower one, so that a turned frame shows.
    """
    frames = []
    for k in range(count):
        frame = np.full((*size, 3), 70, np.uint8)
        frame[: size[0] // 2] = 190
        at = (4 + 2 * k) % (size[1] - 12)
        frame[18:30, at : at + 12] = (230, 20, 20)
        frames.append(frame)
    return frames


def write_clip(
    path: Path,
    frames: Sequence[NDArray[np.uint8]] | None = None,
    rate: float = 10.0,
    codec: str | None = None,
) -> Path:
    """Writes frames as a clip whose format the suffix tells, and returns `path`."""
    frames = moving_frames() if frames is None else frames
    suffix = path.suffix[1:]
    if suffix in ("gif", "webp"):
        first, *others = (Image.fromarray(frame) for frame in frames)
        durations = round(1000 / rate)
        first.save(path, save_all=True, append_images=others, duration=durations, lossless=True)
        return path
    fourcc = cv2.VideoWriter.fourcc(*(codec or CODECS[suffix]))
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, rate, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def turned(mp4: bytes, degrees: int) -> bytes:
    """Returns an MP4 that is shown turned clockwise by 90, 180 or 270 degrees."""
    a, b, c, d = (value << 16 for value in QUARTERS[degrees])
    at = mp4.index(b"tkhd") + 44  # version 0: the matrix begins 40 bytes behind the flags
    return mp4[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + mp4[at + 36 :]


def uneven(mp4: bytes, runs: Sequence[tuple[int, int]]) -> bytes:
    """Returns an MP4 whose frames have other durations: (number of frames, ticks) for each run."""
    table = struct.pack(">I", len(runs)) + b"".join(struct.pack(">II", *run) for run in runs)
    at = mp4.index(b"stts")
    size = struct.unpack_from(">I", mp4, at - 4)[0]
    new = struct.pack(">I", 12 + len(table)) + b"stts" + bytes(4) + table
    whole = bytearray(mp4[: at - 4] + new + mp4[at - 4 + size :])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = whole.index(name) - 4
        struct.pack_into(">I", whole, place, struct.unpack_from(">I", whole, place)[0] + len(new) - size)
    return bytes(whole)


def raw_avi(width: int, height: int, stated_frames: int = 1, rate: int = 10) -> bytes:
    """Returns an AVI with one frame of 64 x 64 raw pixels, whose header may state anything else.

    The rows begin at the top. At rows that begin at the bottom, OpenCV 5.0 overruns its memory.
    """

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content

    main = struct.pack("<14I", 10**6 // rate, 0, 0, 0, stated_frames, 0, 1, 0, width, height, 0, 0, 0, 0)
    stream = struct.pack(
        "<4s4sIHHIIIIIIII4H", b"vids", b"DIB ", 0, 0, 0, 0, 1, rate, 0, stated_frames, 0, 0, 0, 0, 0, 64, 64
    )
    format = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 24, 0, 12_288, 0, 0, 0, 0)
    lists = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", format))
    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + lists)
    return chunk(b"RIFF", b"AVI " + header + chunk(b"LIST", b"movi" + chunk(b"00db", bytes(12_288))))
