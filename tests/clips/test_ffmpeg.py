"""Tests of `clips.writing` with an `ffmpeg` program: one of our own that counts, and the real one."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clips import writing
from photo.clips import open_clip
from tests.small_clips import moving_frames, write_clip

PROGRAM = """#!{python}
import json, pathlib, sys
if "-encoders" in sys.argv:
    print(" V....D libx264   H.264")
elif {fails}:
    sys.stderr.write("no such thing"); sys.exit(1)
else:
    size = len(sys.stdin.buffer.read())
    pathlib.Path(sys.argv[-1]).write_text(json.dumps([size, sys.argv]))
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Puts a program of our own in the place of ffmpeg."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    writing.ffmpeg.cache_clear()

    def make(fails: bool = False) -> None:
        (folder / "ffmpeg").write_text(PROGRAM.format(python=sys.executable, fails=fails))
        (folder / "ffmpeg").chmod(0o700)

    yield make
    writing.ffmpeg.cache_clear()


def frames() -> list[NDArray[np.uint8]]:
    return moving_frames(5, (33, 64))


def test_ffmpeg_gets_every_frame_and_how_to_write_it(fake: Callable[[], None], tmp_path: Path) -> None:
    fake()
    assert writing.suffix() == ".mp4" and writing.longest_side() == writing.MP4_SIDE
    path = writing.write(frames, 12.5, tmp_path / "a")
    assert path == tmp_path / "a.mp4"
    size, command = json.loads(path.read_text())
    assert size == 5 * 34 * 64 * 3
    assert "64x34" in command and "12.500000" in command and "libx264" in command and "1:a" not in command


def test_if_ffmpeg_fails_opencv_writes(
    fake: Callable[[bool], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake(True)
    with caplog.at_level(logging.WARNING):
        path = writing.write(frames, 10, tmp_path / "a")
    assert path == tmp_path / "a.webm" and "no such thing" in caplog.text
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "programs"]


def test_without_ffmpeg_opencv_writes(fake: object, tmp_path: Path) -> None:
    assert writing.ffmpeg() is None and writing.suffix() == ".webm"
    assert writing.write(frames, 10, tmp_path / "a").suffix == ".webm"


def test_an_ffmpeg_that_hangs_is_given_up(
    fake: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    assert writing.ffmpeg()
    (tmp_path / "programs" / "ffmpeg").write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    monkeypatch.setattr(writing, "PIECE_SECONDS", 0.2)
    assert writing.write(frames, 10, tmp_path / "a").suffix == ".webm"


def test_a_fault_while_drawing_leaves_no_file(fake: Callable[[], None], tmp_path: Path) -> None:
    fake()

    def broken() -> Iterator[NDArray[np.uint8]]:
        yield frames()[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        writing.write(broken, 10, tmp_path / "a")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "programs"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_the_real_ffmpeg_writes_a_clip_that_can_be_read(tmp_path: Path) -> None:
    writing.ffmpeg.cache_clear()
    original = write_clip(tmp_path / "original.avi")
    path = writing.write(frames, 10, tmp_path / "a", sound_of=original, seconds=1.0)
    with open_clip(path, 1024) as clip:
        found = [frame.pixels for group in clip.frames() for frame in group]
    assert path.suffix == ".mp4" and len(found) == 5
    assert np.abs(found[2][:33].astype(int) - frames()[2]).mean() < 8
