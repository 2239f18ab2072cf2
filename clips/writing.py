"""Writing: encodes frames as a clip that browsers play.

If the `ffmpeg` program is on the PATH and has an encoder for H.264, it writes an MP4 with the original sound.
Otherwise OpenCV writes a WebM (VP8) without sound. No encoder comes with this project.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import shutil
import subprocess  # nosec B404
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from photo.sound import take_sound

MP4_SIDE, WEBM_SIDE = 1920, 1024
"""The longest side of a written clip in pixels. On two cores, VP8 takes 28 ms for 768 x 576 pixels."""
QUALITY = "21"
"""x264's constant rate factor: hardly to be told from the original."""
MOST_RATE = 60.0
PIECE_SECONDS = 60.0
"""ffmpeg is given up if it takes nothing for so long."""
LOOK_UP_SECONDS = 10.0

NO_SOUND = "The server has no ffmpeg with H.264, so the clip is a WebM without sound."

logger = logging.getLogger(__name__)

Image = NDArray[np.uint8]


class EncoderError(RuntimeError):
    """The encoder failed. The clip can be written in another way."""


@functools.cache
def ffmpeg() -> str | None:
    """Returns the path of an `ffmpeg` that writes H.264, or None."""
    found = shutil.which("ffmpeg")
    if found is None:
        return None
    try:
        told = subprocess.run(  # nosec B603
            [found, "-hide_banner", "-encoders"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LOOK_UP_SECONDS,
            check=False,
            text=True,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found if " libx264 " in told else None


def suffix() -> str:
    """Returns the suffix of the clips that are written here, ".mp4" or ".webm"."""
    return ".mp4" if ffmpeg() else ".webm"


def longest_side() -> int:
    """Returns the longest side of the clips that are written here, in pixels."""
    return MP4_SIDE if ffmpeg() else WEBM_SIDE


def write(
    frames: Callable[[], Iterable[Image]],
    rate: float,
    path: Path,
    sound_of: Path | None = None,
    seconds: float = 0.0,
) -> Path:
    """Writes frames as a clip, and returns its path, which ends in ".mp4" or ".webm".

    Args:
        frames: Yields the frames, (H, W, 3) uint8 RGB, all of one size. It is called again if ffmpeg fails.
        rate: Frames per second.
        path: The path without its suffix.
        sound_of: A clip whose sound is taken over.
        seconds: The length of the sound.
    """
    program = ffmpeg()
    if program:
        mp4 = path.with_name(f"{path.name}.mp4")
        try:
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                sound = Path(folder, "sound.aac")
                heard = sound_of is not None and take_sound(program, sound_of, sound, seconds)
                _write_mp4(program, frames(), rate, mp4, sound if heard else None)
            return mp4
        except EncoderError as error:
            mp4.unlink(missing_ok=True)
            logger.warning("ffmpeg wrote no clip: %s", error)
        except BaseException:
            mp4.unlink(missing_ok=True)
            raise
    webm = path.with_name(f"{path.name}.webm")
    try:
        _write_webm(frames(), rate, webm)
    except BaseException:
        webm.unlink(missing_ok=True)
        raise
    return webm


def at_rate(frames: Iterable[tuple[float, Image]], rate: float) -> Iterator[Image]:
    """Yields frames at a constant rate: at each moment the last frame that has begun.

    Args:
        frames: (time in seconds, frame), in order of time.
    """
    written, last = 0, None
    for seconds, frame in frames:
        if last is not None:
            while written < round(seconds * rate):
                yield last
                written += 1
        last = frame
    if last is not None:
        yield last


def rate_of(times: NDArray[np.float64], stride: int, usual: float) -> float:
    """Returns a constant rate at which a clip can be shown: the rate of its closest frames.

    Args:
        times: The times of every `stride`-th frame in seconds.
        usual: The rate if there are fewer than two times.
    """
    steps = np.diff(times)
    rate = stride / float(np.quantile(steps, 0.1)) if len(steps) else usual
    return min(rate, MOST_RATE)


def _write_mp4(program: str, frames: Iterable[Image], rate: float, path: Path, sound: Path | None) -> None:
    iterator = iter(frames)
    first = _even(next(iterator))
    height, width = first.shape[:2]
    heard = ["-i", str(sound), "-map", "0:v", "-map", "1:a", "-c:a", "copy", "-bsf:a", "aac_adtstoasc"]
    command = [
        program, "-nostdin", "-hide_banner", "-loglevel", "error", "-y",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate:.6f}", "-i", "pipe:0",
        *(heard if sound else []),
        "-c:v", "libx264", "-preset", "veryfast", "-crf", QUALITY,
        "-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p",
        "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
        "-map_metadata", "-1", "-movflags", "+faststart", str(path),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(  # nosec B603
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words
        )
        assert process.stdin is not None
        try:
            for frame in _with(first, iterator):
                with _killed_after(process, PIECE_SECONDS):
                    process.stdin.write(_even(frame).data.cast("B"))
            with _killed_after(process, PIECE_SECONDS):
                process.stdin.close()
                process.wait()
        except BrokenPipeError:
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        if process.returncode:
            words.seek(0)
            raise EncoderError(words.read(300).decode(errors="replace") or f"status {process.returncode}")


def _write_webm(frames: Iterable[Image], rate: float, path: Path) -> None:
    iterator = iter(frames)
    first = _even(next(iterator))
    size = (first.shape[1], first.shape[0])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"VP80"), rate, size)
    if not writer.isOpened():
        raise EncoderError("OpenCV has no encoder for VP8")
    try:
        for frame in _with(first, iterator):
            writer.write(cv2.cvtColor(_even(frame), cv2.COLOR_RGB2BGR))
    finally:
        writer.release()


def _with(first: Image, others: Iterator[Image]) -> Iterator[Image]:
    yield first
    yield from others


def _even(frame: Image) -> Image:
    """Returns a frame whose sides are even, as encoders want them. Its last row and column are repeated."""
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    """Kills a process that makes the block last longer than this. The block then ends with an error."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
