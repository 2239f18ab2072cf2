"""Tests of `photo.clips` and `photo.video`: clips of every kind are read upright, in time, within limits."""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from photo import client, clips, video
from photo.client import Client, DecoderFault
from photo.clips import ClipFacts, open_clip
from photo.errors import ImageError, damaged, too_much_memory, too_slow
from photo.video import CUT, HDR, Frame, Video
from tests import small_clips as made
from tests.small_clips import moving_frames, raw_avi, turned, uneven, write_clip


@pytest.fixture(scope="module")
def odd() -> Iterator[Client]:
    other = Client()
    other._module = "tests.photo.odd_server"
    yield other
    other.stop()


def read(
    path: Path, longest_side: int = 1024, stride: int = 1, count: int = 1, seconds: float = 60.0
) -> tuple[ClipFacts, list[Frame], tuple[str, ...]]:
    """Returns the facts, all frames and all notes of a clip."""
    with open_clip(path, longest_side, seconds, count) as clip:
        frames = [frame for group in clip.frames(stride, count) for frame in group]
        return clip.facts, frames, clip.notes


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm", "avi", "mkv", "gif", "webp"])
def test_every_format_gives_its_frames_and_times(suffix: str, tmp_path: Path) -> None:
    facts, frames, notes = read(write_clip(tmp_path / f"a.{suffix}"))
    assert facts.format.lower() == suffix
    assert facts.size == facts.shape == (48, 64) and facts.frames == 12 and not facts.is_cut
    assert [frame.number for frame in frames] == list(range(12))
    assert [frame.seconds for frame in frames] == pytest.approx(np.arange(12) / 10)
    for frame, drawn in zip(frames, moving_frames(), strict=True):
        assert np.abs(frame.pixels.astype(int) - drawn).mean() < 6, suffix
    assert notes == ()


def test_the_content_tells_the_format_and_not_the_name(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.webm").rename(tmp_path / "a.jpg")
    assert read(path)[0].format == "WebM"


@pytest.mark.parametrize("stride, count", [(1, 8), (5, 2), (100, 1)])
def test_every_nth_frame_comes_in_groups(stride: int, count: int, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi")
    with open_clip(path, 1024, count=count) as clip:
        groups = [[frame.number for frame in group] for group in clip.frames(stride, count)]
    wanted = list(range(0, 12, stride))
    assert groups == [wanted[k : k + count] for k in range(0, len(wanted), count)]


def test_frames_stay_as_they_are_while_later_ones_are_decoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi")
    frames = read(path, count=2)[1]
    at = [int(np.argmax(frame.pixels[24, :, 0] > 200)) for frame in frames]
    assert at == sorted(set(at))


def test_a_large_frame_is_reduced_and_its_size_is_told(tmp_path: Path) -> None:
    frames = [np.zeros((60, 200, 3), np.uint8)] * 2
    facts, found, _ = read(write_clip(tmp_path / "a.avi", frames), longest_side=50)
    assert facts.size == (60, 200) and found[0].pixels.shape == (15, 50, 3)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_clip_comes_upright(degrees: int, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    path.write_bytes(turned(path.read_bytes(), degrees))
    facts, frames, _ = read(path)
    upright = np.rot90(moving_frames()[0], -degrees // 90)
    assert facts.size == upright.shape[:2]
    assert np.abs(frames[0].pixels.astype(int) - upright).mean() < 6


def test_frames_of_uneven_duration_have_their_true_times(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", rate=10)
    content = path.read_bytes()
    (ticks,) = struct.unpack_from(">I", content, content.index(b"stts") + 16)
    path.write_bytes(uneven(content, [(4, ticks // 2), (4, 2 * ticks), (4, ticks // 2)]))
    times = [frame.seconds for frame in read(path)[1]]
    assert times == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.4, 0.6, 0.8, 1, 1.05, 1.1, 1.15], abs=0.001)


def test_an_animation_has_the_times_that_browsers_show(tmp_path: Path) -> None:
    pictures = [Image.fromarray(frame) for frame in moving_frames(4)]
    path = tmp_path / "a.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[50, 0, 10, 500])
    assert [frame.seconds for frame in read(path)[1]] == pytest.approx([0, 0.05, 0.15, 0.25])


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    pictures = [Image.new("RGBA", (16, 16), (200, 0, 0, alpha)) for alpha in (0, 255)]
    path = tmp_path / "a.webp"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, lossless=True)
    white, red = (frame.pixels[8, 8].tolist() for frame in read(path)[1])
    assert white == [255, 255, 255] and red == [200, 0, 0]


@pytest.mark.parametrize("size", [(49, 65), (1, 20), (17, 16)])
def test_odd_sizes_are_read(size: tuple[int, int], tmp_path: Path) -> None:
    frames = [np.full((*size, 3), grey, np.uint8) for grey in (0, 90, 250)]
    facts, found, _ = read(write_clip(tmp_path / "a.gif", frames))
    assert facts.size == size and len(found) == 3


def test_4k_is_read(tmp_path: Path) -> None:
    frames = [np.full((2160, 3840, 3), 90, np.uint8)] * 2
    facts, found, _ = read(write_clip(tmp_path / "a.avi", frames))
    assert facts.size == (2160, 3840) and found[1].pixels.shape == (576, 1024, 3)
    assert np.abs(found[1].pixels.astype(int) - 90).max() <= 3


def test_hdr_of_10_bits_becomes_srgb(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(made.HDR)
    facts, frames, notes = read(path)
    assert facts.size == (32, 32) and notes == (HDR,)
    assert frames[0].pixels.min() >= 250


def test_one_frame_is_a_clip(tmp_path: Path) -> None:
    facts, frames, _ = read(write_clip(tmp_path / "a.webm", moving_frames(1)))
    assert facts.frames == len(frames) == 1


def test_of_a_long_clip_only_the_beginning_is_read_and_a_note_says_so(tmp_path: Path) -> None:
    facts, frames, notes = read(write_clip(tmp_path / "a.avi"), seconds=0.5)
    assert facts.is_cut and facts.seconds == 0.5 and len(frames) == 5
    assert notes == (CUT.format(seconds=0.5),)


@pytest.mark.parametrize("suffix", ["avi", "mkv", "webm"])
def test_a_truncated_clip_gives_what_is_there_and_a_note(suffix: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / f"a.{suffix}", moving_frames(40))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, frames, notes = read(path)
    assert 5 < len(frames) < 35
    assert len(notes) == 1 and "damaged or incomplete: only its first" in notes[0]


def test_an_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-200])
    assert "damaged or incomplete" in refusal(path)


def test_a_clip_of_sound_only_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes().replace(b"vide", b"soun").replace(b"mp4v", b"mp4a"))
    assert "holds sound only" in refusal(path)


@pytest.mark.parametrize("content", [b"GIF87", b"\x89PNG\r\n\x1a\n", b"#EXTM3U\nhttp://127.0.0.1/a\n", b"x"])
def test_what_is_no_clip_is_refused_with_the_formats(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert refusal(path) in (
        f"This file is not a clip that can be read here. Please use {video.ACCEPTED}.",
        "This clip is damaged or incomplete and could not be read. Please save or download it again.",
    )


def test_an_empty_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert "empty" in refusal(tmp_path / "a.mp4")
    assert "could not be opened" in refusal(tmp_path / "b.mp4")


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "MAX_CLIP_BYTES", 1 << 20)
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes((1 << 20) + 1))
    assert refusal(path) == "This clip is too large: at most 1 MB are taken here."


@pytest.mark.parametrize("width, height", [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (5000, 4000)])
def test_absurd_sizes_are_refused(width: int, height: int, tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(raw_avi(width, height))
    assert "clip" in refusal(path)


def test_a_gif_of_absurd_size_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.gif")
    content = bytearray(path.read_bytes())
    struct.pack_into("<HH", content, 6, 65_535, 65_535)
    path.write_bytes(content)
    assert "The frames of this clip are too large" in refusal(path)


def test_an_endless_duration_in_the_header_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(raw_avi(64, 64, stated_frames=2**31 - 1))
    facts, frames, _ = read(path)
    assert facts.seconds is None and facts.frames is None and len(frames) == 1


def test_a_bomb_of_frames_ends_after_a_fixed_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(video, "MAX_FRAMES", 7)
    content = write_clip(tmp_path / "a.gif").read_bytes()
    assert len(list(Video(content, 1024, 60).frames(1))) == 7


def test_a_clip_that_is_slow_to_read_ends_early_and_a_note_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times = iter(range(0, 200, 2))
    monkeypatch.setattr(video.time, "process_time", lambda: next(times))
    clip = Video(write_clip(tmp_path / "a.avi").read_bytes(), 1024, 60)
    assert [frame.number for frame in clip.frames(1)] == [0, 1]
    assert clip.notes == ("This clip takes long to read, so only its first 0.2 seconds were looked at.",)


@pytest.mark.parametrize(
    "wish, sentence",
    [
        ({"signal": signal.SIGSEGV}, str(damaged("clip"))),
        ({"signal": signal.SIGXCPU}, str(too_slow("clip"))),
        ({"signal": signal.SIGKILL}, str(too_much_memory("clip"))),
        ({"exit": os.EX_OSERR}, str(too_much_memory("clip"))),
        ({"reply": {"refused": "Not this one."}}, "Not this one."),
    ],
)
def test_a_child_that_dies_ends_in_one_sentence(
    wish: dict[str, object], sentence: str, tmp_path: Path, odd: Client
) -> None:
    path = tmp_path / "a.avi"
    path.write_text(json.dumps(wish))
    with odd.talk(path, {"kind": "clip"}, 10) as talk, pytest.raises(ImageError) as caught:
        talk.reply()
    assert str(caught.value) == sentence


def test_a_child_that_hangs_is_given_up(tmp_path: Path, odd: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.2)
    path = tmp_path / "a.avi"
    path.write_text(json.dumps({"hang": True}))
    with odd.talk(path, {"kind": "clip"}, 10) as talk, pytest.raises(ImageError, match="too long"):
        talk.reply()


def test_a_worker_gives_the_same_frames_as_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.webm")
    usual = read(path, count=5)
    monkeypatch.setattr(clips, "client", lambda: Client(forks=False))
    facts, frames, notes = read(path, count=5)
    assert (facts, notes) == (usual[0], usual[2])
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(frames, usual[1], strict=True))


def test_photos_are_read_while_clips_are_open(tmp_path: Path) -> None:
    from photo.images import read_image

    path, photo = write_clip(tmp_path / "a.avi"), tmp_path / "a.png"
    Image.new("RGB", (4, 4), "red").save(photo)
    with open_clip(path, 64) as first, open_clip(path, 64) as second:
        one, two = first.frames(), second.frames()
        for _ in range(3):
            assert next(one)[0].number == next(two)[0].number
            assert read_image(photo)[0, 0].tolist() == [255, 0, 0]


def facts_reply(**changed: object) -> dict[str, object]:
    reply = {"shape": [6, 8], "size": [6, 8], "rate": 10.0, "seconds": 1.0, "format": "MP4", "notes": []}
    return reply | changed


@pytest.mark.parametrize(
    "changed",
    [
        {"shape": [6, 9]}, {"size": [10_000, 10_000]}, {"rate": float("nan")}, {"rate": None},
        {"seconds": -1}, {"seconds": float("inf")}, {"format": "EXE"}, {"notes": "x"},
    ],
)  # fmt: skip
def test_impossible_facts_are_a_fault(changed: dict[str, object]) -> None:
    with pytest.raises(DecoderFault):
        clips._facts(facts_reply(**changed), 1024, 60)
    assert isinstance(clips._facts(facts_reply(), 1024, 60)[0], ClipFacts)


@pytest.mark.parametrize(
    "reply",
    [{"frames": []}, {"frames": [[0, 0.0], [1, 1.0]]}, {"frames": [["a", 0]]}, {"frames": [[1]]}, {}],
)
def test_impossible_frames_are_a_fault(reply: dict[str, object]) -> None:
    with pytest.raises(DecoderFault):
        clips._told(reply, 1)
