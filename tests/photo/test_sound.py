"""Tests of `photo.sound`: the program that reads a stranger's clip can do nothing else."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from photo.sound import take_sound

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fence is for Linux")


def program(folder: Path, code: str) -> str:
    """Returns a program that runs this shell code in place of ffmpeg. `$CLIP` is the clip."""
    path = folder / "ffmpeg"
    find = 'while [ "$1" != "-i" ]; do shift; done; CLIP=$2\n'
    path.write_text(f"#!/bin/sh\n{find}{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def has_landlock() -> bool:
    try:
        return "landlock" in Path("/sys/kernel/security/lsm").read_text()
    except OSError:
        return False


def test_what_the_program_writes_is_the_sound(tmp_path: Path) -> None:
    clip, out = tmp_path / "a.mp4", tmp_path / "sound.aac"
    clip.write_text("la la")
    assert take_sound(program(tmp_path, 'cat "$CLIP"'), clip, out, 2.0)
    assert out.read_text() == "la la"


@pytest.mark.parametrize("code", ["exit 1", "true", "kill -9 $$", "echo half; exit 3"])
def test_without_sound_there_is_no_file(code: str, tmp_path: Path) -> None:
    out = tmp_path / "sound.aac"
    (tmp_path / "a.mp4").touch()
    assert not take_sound(program(tmp_path, code), tmp_path / "a.mp4", out, 2.0)
    assert not out.exists()


def test_the_program_reads_no_other_file_and_writes_none(tmp_path: Path) -> None:
    if not has_landlock() and not os.environ.get("REQUIRE_LANDLOCK"):
        pytest.skip("the kernel has no Landlock, or does not say so")
    (tmp_path / "secret").write_text("another visitor's clip")
    (tmp_path / "a.mp4").touch()
    code = f'cat "{tmp_path}/secret" && echo read; echo x > "{tmp_path}/new" && echo wrote; echo tried'
    out = tmp_path / "sound.aac"
    assert take_sound(program(tmp_path, code), tmp_path / "a.mp4", out, 2.0)
    assert out.read_text() == "tried\n"


def test_the_sound_has_a_largest_size(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    endless = program(tmp_path, "while :; do echo lalalalalalalalalalalalalalalalala || exit 1; done")
    assert not take_sound(endless, tmp_path / "a.mp4", tmp_path / "sound.aac", 0.1)
