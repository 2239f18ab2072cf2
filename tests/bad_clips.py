"""Makes damaged copies of good clips from a seed, and clips that ask for too much, and reads them.

`python -m tests.bad_clips --count 500 --seed 0` reads so many damaged copies, and all bombs. The last line of
its output is a JSON object with the outcomes. Each file must end in a result or in one sentence.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from photo.client import client
from photo.clips import open_clip
from photo.errors import ImageError
from tests.small_clips import HDR, moving_frames, raw_avi, write_clip

SUFFIXES = ("mp4", "mov", "webm", "avi", "mkv", "gif", "webp")


class BadClip(NamedTuple):
    """A file that says it is a clip. `name` says what it tries."""

    name: str
    content: bytes


def damaged_clips(seed: int, count: int) -> Iterator[BadClip]:
    """Yields `count` damaged copies of good clips of all formats in turn. The seed decides the damage."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        good = [
            (suffix, write_clip(Path(folder, f"a.{suffix}"), moving_frames(20)).read_bytes())
            for suffix in SUFFIXES
        ]
    good.append(("hdr.mp4", HDR))
    for number in range(count):
        suffix, content = good[number % len(good)]
        kind = chance.choice(("bytes", "cut", "hole", "head", "numbers", "twice"))
        yield BadClip(f"{number:05}-{kind}.{suffix}", _damaged(chance, content, kind))


def _damaged(chance: random.Random, content: bytes, kind: str) -> bytes:
    changed = bytearray(content)
    if kind == "cut":
        return content[: chance.randrange(len(content))]
    if kind == "twice":
        at = chance.randrange(len(content))
        return content[:at] + content[at // 2 :]
    if kind == "hole":
        at = chance.randrange(len(content))
        del changed[at : at + chance.randrange(1, 2000)]
    elif kind == "numbers":  # sizes and counts, of which headers are full
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(content) - 4)
            number = chance.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1))
            changed[at : at + 4] = struct.pack(chance.choice(("<I", ">I")), number)
    else:
        end = min(len(content), 400) if kind == "head" else len(content)
        for _ in range(chance.randrange(1, 40)):
            changed[chance.randrange(end)] = chance.randrange(256)
    return bytes(changed)


def bombs() -> Iterator[BadClip]:
    """Yields clips that ask for much memory, time or room."""
    for side in (20_000, 65_535, 2**31 - 1):
        yield BadClip(f"{side}x{side}.avi", raw_avi(side, side))
    yield BadClip("endless.avi", raw_avi(64, 64, stated_frames=2**31 - 1))
    yield BadClip("fast.avi", raw_avi(64, 64, stated_frames=2**31 - 1, rate=10**6))
    with tempfile.TemporaryDirectory() as folder:
        gif = write_clip(Path(folder, "a.gif"), moving_frames(3)).read_bytes()
        mkv = write_clip(Path(folder, "a.mkv"), moving_frames(3)).read_bytes()
        mp4 = write_clip(Path(folder, "a.mp4"), moving_frames(3)).read_bytes()
    yield BadClip("65535x65535.gif", gif[:6] + b"\xff\xff\xff\xff" + gif[10:])
    start = gif.index(b"\x21\xf9")
    yield BadClip("200000-frames.gif", gif[:start] + gif[start:-1] * 200_000 + gif[-1:])
    at = mkv.index(b"\x44\x89") + 3
    yield BadClip("endless.mkv", mkv[:at] + struct.pack(">d", 1e300) + mkv[at + 8 :])
    for name in (b"mvhd", b"mdhd", b"tkhd"):
        at = mp4.index(name) + 4
        yield BadClip(f"endless-{name.decode()}.mp4", mp4[:at] + b"\0\0\0\0" + b"\xff" * 28 + mp4[at + 32 :])
    at = mp4.index(b"stts") + 8
    yield BadClip("many-frames.mp4", mp4[:at] + b"\x7f\xff\xff\xff" + mp4[at + 4 :])
    yield BadClip("playlist.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    yield BadClip("concat.mkv", b"ffconcat version 1.0\nfile /etc/passwd\n")


def read_all(clips: Iterator[BadClip]) -> dict[str, Any]:
    """Reads each clip to its end. Returns the number of results, refusals and errors of other types."""
    counts: Counter[str] = Counter(read=0, refused=0, errors=0)
    slowest, slowest_name = 0.0, ""
    client().measures = True
    with tempfile.TemporaryDirectory() as folder:
        for name, content in clips:
            path = Path(folder, name)
            path.write_bytes(content)
            start = time.perf_counter()
            try:
                with open_clip(path, 1024) as clip:
                    for _ in clip.frames(count=8):
                        pass
                counts["read"] += 1
            except ImageError:
                counts["refused"] += 1
            except Exception:
                counts["errors"] += 1
                print(name, traceback.format_exc(limit=-4), flush=True)
            if (seconds := time.perf_counter() - start) > slowest:
                slowest, slowest_name = seconds, name
            path.unlink()
    return {
        **counts,
        "crashes": 0,  # after a crash this line is not reached
        "slowest_seconds": round(slowest, 2),
        "slowest": slowest_name,
        "peak_mb_of_a_child": round(client().peak_kb / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Reads damaged clips, and counts the outcomes.")
    parser.add_argument("--count", type=int, default=500, help="number of damaged copies")
    parser.add_argument("--seed", type=int, default=0, help="decides the damage")
    options = parser.parse_args()
    print(
        json.dumps(
            {"bombs": read_all(bombs()), "damaged": read_all(damaged_clips(options.seed, options.count))}
        )
    )


if __name__ == "__main__":
    main()
