"""Sound: takes the sound out of a clip, with the `ffmpeg` program inside a fence.

    python -m photo.sound FFMPEG CLIP SECONDS > sound.aac

The clip comes from a stranger. So this process first gives up its rights (`photo.fence`) and then becomes
`ffmpeg`, which can read the clip and its own libraries and nothing else, and writes to its standard output.
"""

from __future__ import annotations

import os
import subprocess  # nosec B404
import sys
from pathlib import Path

from photo import fence

PROCESSOR_SECONDS = 20
WALL_SECONDS = 40.0
BYTES_PER_SECOND = 32_000
"""More than `RATE` needs."""
RATE = "128k"
LIBRARIES = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")
"""Where programs and their libraries lie."""
FORMATS = "mov,matroska,avi"
"""What ffmpeg may take a clip for. A playlist could name other files."""


def take_sound(ffmpeg: str, clip: Path, out: Path, seconds: float) -> bool:
    """Writes the clip's sound into `out` as AAC in ADTS. Returns False, without a file, if it has none.

    Args:
        ffmpeg: The program's path.
        seconds: Only so much of the beginning is taken.
    """
    if not hasattr(os, "fork"):  # there is no fence on Windows
        return False
    command = [sys.executable, "-m", "photo.sound", ffmpeg, str(clip.resolve()), str(seconds)]
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")}
    try:
        with out.open("wb") as file:
            ended = subprocess.run(  # nosec B603
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.DEVNULL,
                timeout=WALL_SECONDS,
                check=False,
                env=environment,
                cwd=Path(__file__).resolve().parent.parent,
            )
        good = ended.returncode == 0 and out.stat().st_size > 0
    except subprocess.TimeoutExpired:
        good = False
    if not good:
        out.unlink(missing_ok=True)
    return good


def main() -> None:
    ffmpeg, clip, seconds = sys.argv[1:]
    program = Path(ffmpeg).resolve()
    readable = [Path(name) for name in (*LIBRARIES, clip)] + [program]
    fence.close_around(readable, PROCESSOR_SECONDS, int(float(seconds) * BYTES_PER_SECOND) + 100_000)
    os.execv(  # nosec B606
        program,
        [
            "ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file,pipe",
            "-format_whitelist", FORMATS, "-t", seconds, "-i", clip, "-vn", "-map", "0:a:0",
            "-map_metadata", "-1", "-c:a", "aac", "-b:a", RATE, "-ac", "2", "-f", "adts", "pipe:1",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
